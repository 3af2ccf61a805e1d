"""What was found in the reference clip: the face's box in the picture, the crop, the anchor frame, everybody in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slotid.show.paint import GOOD, data_uri, escape, jpeg, resize, rgb, webp

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


def people_html(clip: Clip, boxes: np.ndarray, chosen: int = 0, side: int = 560) -> str:
    """The clip's first frame with a button over each person's face, numbered; the chosen one is pressed.

    ``boxes`` (P, 4) in the clip's pixels. The buttons carry ``data-pick``, their number from 0.
    """
    height, width = clip.frames.shape[1:3]
    scale = min(1.0, side / max(height, width))
    picture = resize(clip.frames[:1], max(2, round(height * scale)), max(2, round(width * scale)))[0]
    buttons = []
    for number, box in enumerate(np.asarray(boxes, np.float64)):
        x0, x1 = np.clip(box[[0, 2]] / width * 100, 0, 100)
        y0, y1 = np.clip(box[[1, 3]] / height * 100, 0, 100)
        place = f"left:{x0:.1f}%;top:{y0:.1f}%;width:{x1 - x0:.1f}%;height:{y1 - y0:.1f}%"
        pressed = "true" if number == chosen else "false"
        words = f"Person {number + 1}" + (", who was read" if number == chosen else ", read this one")
        about = f'data-pick="{number}" style="{place}" aria-pressed="{pressed}" aria-label="{words}"'
        buttons.append(f'<button type="button" {about}>{number + 1}</button>')
    image = f'<img src="{data_uri(jpeg(picture, 88), "jpeg")}" alt="The first frame with everybody in view">'
    return f'<div class="crowd">{image}{"".join(buttons)}</div>'


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
        ("square", data_uri(webp(crops, face.seconds[picks]), "webp"), "The face crop through time", "The crop, as the slots read it"),
        ("square", data_uri(jpeg(face.crops[anchor], 92), "jpeg"), f"The anchor frame at {face.seconds[anchor]:.1f} seconds",
         f"The anchor: clearest calm frame, at {face.seconds[anchor]:.1f} s"),
    ]  # fmt: skip
    figures = [
        f'<figure class="{kind}"><img src="{picture}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
        for kind, picture, alt, caption in cells
    ]
    return f'<div class="look">{"".join(figures)}</div>'
