"""Films to show around: an animated GIF, and several clips side by side with captions. Composed with moviepy, loaded only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slotid.clip import resample
from slotid.clip_write import whole_or_nothing, write_clip
from slotid.types import Clip, SlotIDError

PAPER, INK, GAP = (255, 255, 255), "#222222", 8


def write_gif(path: str | Path, clip: Clip, fps: float = 12.0, height: int | None = None) -> Path:
    """Write an endless GIF, whole or not at all.

    Args:
        path: ends in .gif; its folder must exist.
        clip: resampled to ``fps`` (1 to 50: browsers play nothing faster), or to the nearest rate that a GIF can hold (12.5 for 12).
        height: pixels; None as it is.
    """
    from moviepy import ImageSequenceClip

    path = Path(path).expanduser()
    if path.suffix.lower() != ".gif":
        raise SlotIDError(f"write_gif writes gif, but {path.name} does not end in .gif; change the name.")
    if not 1 <= fps <= 50:
        raise SlotIDError(f"write_gif got {fps} frames per second; give 1 to 50.")
    fps = 100 / round(100 / fps)  # a GIF counts in hundredths of a second: at another rate it would play too fast or too slow
    frames = resample(clip, fps).frames
    film = ImageSequenceClip(list(frames), fps=fps)
    if height is not None and height != frames.shape[1]:
        film = film.resized(height=height)
    with whole_or_nothing(path) as temporary:
        film.write_gif(str(temporary), fps=fps, loop=0, logger=None)
    return path


def write_side_by_side(
    path: str | Path,
    clips: Sequence[Clip],
    captions: Sequence[str],
    request_meta: Mapping[str, Any] | None = None,
    fps: float = 12.0,
    height: int = 256,
    seconds: float | None = None,
) -> Path:
    """Write clips in a row, each with its caption below, as mp4 or (by the name's ending) as GIF.

    Args:
        path: ends in .mp4 or .gif.
        clips: at least one, of any size and rate; scaled to ``height``.
        captions: one per clip, wrapped to the clip's width.
        request_meta: kept in an mp4 as in :func:`slotid.clip.write_clip`.
        seconds: length; None: as long as the last clip. Shorter clips start over.
    """
    path = Path(path).expanduser()
    if not clips or len(clips) != len(captions):
        raise SlotIDError(f"write_side_by_side got {len(clips)} clips and {len(captions)} captions; give as many captions as clips.")
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise SlotIDError(f"{path.name} ends in neither .mp4 nor .gif; change the name.")
    even = [resample(clip, fps) for clip in clips]
    count = len(even[-1].frames) if seconds is None else max(1, round(seconds * fps))
    frames = _compose(even, captions, fps, height, count)
    if path.suffix.lower() == ".gif":
        return write_gif(path, Clip(frames, np.arange(len(frames)) / fps), fps)
    return write_clip(path, frames, request_meta, fps)


def _compose(clips: Sequence[Clip], captions: Sequence[str], fps: float, height: int, count: int) -> np.ndarray:
    from moviepy import CompositeVideoClip, ImageSequenceClip, TextClip

    left, row, texts, under = GAP, [], [], 0
    for clip, caption in zip(clips, captions, strict=True):
        looped = [clip.frames[k % len(clip.frames)] for k in range(count)]
        film = ImageSequenceClip(looped, fps=fps).resized(height=height).with_position((left, GAP))
        row.append(film)
        if caption.strip():
            size = max(12, height // 16)
            # moviepy's own caption mode breaks inside words and cuts descenders off: wrap here, and leave a margin.
            lines = _wrap(caption, size, film.w)
            text = TextClip(text=lines, font_size=size, color=INK, method="label", text_align="center", margin=(0, size // 2))
            texts.append(text.with_position((left + (film.w - text.w) // 2, GAP + height)).with_duration(count / fps))
            under = max(under, text.h)
        left += film.w + GAP
    page = CompositeVideoClip([*row, *texts], size=(left, height + under + 2 * GAP), bg_color=PAPER).with_duration(count / fps)
    return np.stack([page.get_frame((k + 0.5) / fps) for k in range(count)]).astype(np.uint8)


def _wrap(caption: str, size: int, width: int) -> str:
    """Break at spaces so that every line fits into ``width`` pixels; only a word that is longer by itself is broken."""
    from PIL import ImageFont

    font, lines = ImageFont.load_default(size), [""]
    for word in caption.split():
        while font.getlength(word) > width and len(word) > 1:
            fits = max(1, int(len(word) * width / font.getlength(word)) - 1)
            lines += [word[:fits]]
            word = word[fits:]
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    return "\n".join(line for line in lines if line)
