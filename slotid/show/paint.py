"""Shared colours and the few ways a drawing becomes a file or a piece of a page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np

# One colour a slot: told apart by most colour-blind eyes (after Okabe and Ito 2008), readable on white and on near-black.
SLOT_COLOURS = ("#3D7DE0", "#E2812F", "#20A37A", "#D4578E", "#8B6BE0", "#C79A1B", "#22A5C4", "#D2603F")
GOOD, WEAK = "#1E9E6A", "#D9822B"

# Inline drawings take the page's text colour; a drawing opened on its own follows the reader's light or dark setting.
_ALONE = "<style>svg{color:#1f2328;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e6e8eb;background:#101318}}</style>"


def slot_colour(slot: int) -> str:
    """The colour of slot number ``slot`` (0-based) as ``#rrggbb``; repeats after eight."""
    return SLOT_COLOURS[slot % len(SLOT_COLOURS)]


def rgb(colour: str) -> np.ndarray:
    """``#rrggbb`` as (3,) float32, 0 to 255."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def escape(text: object) -> str:
    """Text made safe inside a page."""
    return html.escape(str(text), quote=True)


def svg(width: float, height: float, body: Sequence[str], title: str, note: str = "") -> str:
    """An inline SVG that scales with its place; ``title`` is its alt text."""
    label = escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width:{1.25 * width:g}px" role="img" aria-label="{label}" '
        f'font-family="system-ui, sans-serif" fill="currentColor"><title>{label}</title>{f"<desc>{escape(note)}</desc>" if note else ""}'
        f"{''.join(body)}</svg>"
    )


def alone(drawing: str) -> str:
    """The same drawing as a file of its own, with a background and a text colour for light and dark readers."""
    start = drawing.index(">") + 1
    return drawing[:start] + _ALONE + drawing[start:]


def jpeg(picture: np.ndarray, quality: int = 82) -> bytes:
    """(H, W, 3) uint8 as JPEG bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def webp(frames: np.ndarray, seconds: np.ndarray | None = None, fps: float = 8.0, quality: int = 78) -> bytes:
    """(T, H, W, 3) uint8 as an animated WebP that loops; ``seconds`` gives true times, otherwise ``fps``."""
    from PIL import Image

    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    if seconds is not None and len(pictures) > 1:
        gaps = np.diff(np.asarray(seconds, np.float64))
        millis = [max(20, round(1000 * gap)) for gap in (*gaps, np.median(gaps))]
    else:
        millis = [max(20, round(1000 / fps))] * len(pictures)
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=millis if len(millis) > 1 else millis[0],
        loop=0,
        quality=quality,
        method=1,
    )
    return buffer.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a ``data:`` address, so that a page holds its pictures itself and no file of a face is left behind."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def resize(pictures: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """(T, H, W, 3) uint8 to (T, height, width, 3) uint8, area-averaged."""
    from PIL import Image

    width = width or round(pictures.shape[2] * height / pictures.shape[1])
    return np.stack([np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)) for picture in pictures])
