"""A track cut in two, so that a person can be held against himself."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slotid.types import FaceTrack


def halves(face: FaceTrack) -> tuple[FaceTrack, FaceTrack]:
    """First and second half by time, each with its quality; both keep their seconds."""
    middle = len(face.seconds) // 2

    def part(cut: slice) -> FaceTrack:
        quality = replace(face.quality, **{f.name: getattr(face.quality, f.name)[cut] for f in fields(face.quality)})
        arrays = {name: getattr(face, name)[cut] for name in ("crops", "boxes", "landmarks", "seen", "seconds")}
        return replace(face, quality=quality, **arrays)

    return part(slice(0, middle)), part(slice(middle, None))
