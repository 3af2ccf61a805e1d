"""What was found in the reference clip: the face's box in the picture, the crop, the anchor frame, everybody in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slotid.show.paint import GOOD, data_uri, escape, jpeg, rgb, slot_colour, webp

if TYPE_CHECKING:
    from slotid.types import Clip, FaceTrack


def boxed(clip: Clip, face: FaceTrack, side: int = 400, most: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """The clip, at most ``side`` px and ``most`` frames, with the crop's frame drawn in: (frames (N, h, w, 3) uint8, seconds (N,)).

    Frames of the track that are not seen get a broken frame in grey.
    """
    from PIL import Image, ImageDraw

    picks = np.unique(np.linspace(0, len(face.seconds) - 1, min(most, len(face.seconds))).round().astype(int))
    frames = []
    scale = min(1.0, side / max(clip.frames.shape[1:3]))
    width, height = max(2, round(clip.frames.shape[2] * scale)), max(2, round(clip.frames.shape[1] * scale))
    for index in picks:
        source = int(np.abs(clip.seconds - face.seconds[index]).argmin())
        picture = Image.fromarray(clip.frames[source]).resize((width, height), Image.Resampling.BILINEAR)
        seen = bool(face.seen[index])
        box = [float(v) * scale for v in face.boxes[index]]
        pen = ImageDraw.Draw(picture)
        colour = tuple(int(v) for v in rgb(GOOD)) if seen else (150, 150, 150)
        pen.rounded_rectangle([box[0], box[1], box[2], box[3]], radius=8, outline=colour, width=3 if seen else 1)
        frames.append(np.asarray(picture))
    return np.stack(frames), face.seconds[picks]


def people(clip: Clip, boxes: np.ndarray, chosen: int = 0, side: int = 480) -> np.ndarray:
    """The clip's first frame with a numbered box around each person: (h, w, 3) uint8 at full proportion."""
    from PIL import Image, ImageDraw, ImageFont

    scale = side / max(clip.frames.shape[1:3])
    size = (max(2, round(clip.frames.shape[2] * scale)), max(2, round(clip.frames.shape[1] * scale)))
    picture = Image.fromarray(clip.frames[0]).resize(size, Image.Resampling.LANCZOS)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=18)
    for number, box in enumerate(np.asarray(boxes, np.float64) * scale):
        colour = slot_colour(2 if number == chosen else 1)
        pen.rounded_rectangle([float(v) for v in box], radius=8, outline=colour, width=4 if number == chosen else 2)
        x, y = float(np.clip(box[0], 0, size[0] - 30)), float(np.clip(box[1], 0, size[1] - 26))
        pen.rounded_rectangle([x, y, x + 26, y + 24], radius=6, fill=colour)
        pen.text((x + 13, y + 12), str(number + 1), fill="white", font=font, anchor="mm")
    return np.asarray(picture)


def reference_html(clip: Clip, face: FaceTrack, anchor: int) -> str:
    """Three pictures side by side: the clip with the box, the crop as the slots get it, the anchor frame."""
    frames, seconds = boxed(clip, face)
    picks = np.unique(np.linspace(0, len(face.seconds) - 1, min(40, len(face.seconds))).round().astype(int))
    crops = face.crops[picks]
    missing = int((~face.seen).sum())
    found = f"Found in {int(face.seen.sum())} of {len(face.seen)} frames" + (
        f"; {missing} hidden or lost, they get no weight" if missing else ""
    )
    cells = [
        ("wide", data_uri(webp(frames, seconds), "webp"), "The clip with a frame around the face that is read", found),
        ("square", data_uri(webp(crops, face.seconds[picks]), "webp"), "The face crop through time", "The crop that the slots read"),
        ("square", data_uri(jpeg(face.crops[anchor], 92), "jpeg"), f"The anchor frame at {face.seconds[anchor]:.1f} seconds",
         f"Anchor: the clearest calm frame, {face.seconds[anchor]:.1f} s"),
    ]  # fmt: skip
    figures = [
        f'<figure class="{kind}"><img src="{picture}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
        for kind, picture, alt, caption in cells
    ]
    return f'<div class="look">{"".join(figures)}</div>'
