"""Film strips: a clip as a row of its frames, clips under one another with captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slotid.show.paint import resize


def strip(frames: np.ndarray, count: int = 8, height: int = 128, gap: int = 3) -> np.ndarray:
    """``count`` frames spread over the clip, side by side on white. (T, H, W, 3) uint8 -> (height, ..., 3) uint8."""
    frames = np.asarray(frames)
    picks = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    pictures = resize(frames[picks], height)
    wall = np.full((height, gap, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, wall)]
    return np.concatenate(parts[:-1], axis=1)


def strips(rows: Sequence[tuple[str, np.ndarray]], count: int = 8, height: int = 128, gap: int = 4) -> np.ndarray:
    """Captioned strips under one another: ``rows`` of (caption, frames (T, H, W, 3)). Returns (H, W, 3) uint8 on white."""
    from PIL import Image, ImageDraw, ImageFont

    drawn = [(caption, strip(frames, count, height)) for caption, frames in rows]
    width = max(picture.shape[1] for _, picture in drawn)
    line = 22
    sheet = Image.new("RGB", (width, sum(picture.shape[0] + line + gap for _, picture in drawn)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    y = 0
    for caption, picture in drawn:
        pen.text((2, y + 3), caption, fill=(40, 44, 52), font=font)
        sheet.paste(Image.fromarray(picture), (0, y + line))
        y += line + picture.shape[0] + gap
    return np.asarray(sheet)
