"""People whom a film should *not* be like: the examples. Their likeness to a reference is the floor of the likeness plot."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.types import FaceTrack

SECONDS = 1.5  # of each example: enough for a mean


class Strangers:
    """Face tracks of the examples by name, followed when first asked for and kept: they belong to nobody."""

    def __init__(self, clips: Mapping[str, str]):
        self._clips = dict(clips)
        self._tracks: dict[str, FaceTrack] | None = None
        self._lock = threading.Lock()

    def tracks(self) -> dict[str, FaceTrack]:
        """Follows all of them once (about a third of a second each)."""
        from slotid.clip import read_clip
        from slotid.face.track import track_face

        with self._lock:
            if self._tracks is None:
                self._tracks = {}
                for name, path in self._clips.items():
                    try:
                        self._tracks[name] = track_face(read_clip(path, max_seconds=SECONDS))
                    except SlotIDError:  # an example without a face is no stranger
                        continue
            return self._tracks

    def floor(self, face: FaceTrack, but: str | None = None) -> float | None:
        """Mean likeness of the strangers to ``face``; ``but``: the name of the one who is no stranger. None where there is nobody."""
        from slotid.face.likeness import likeness

        means = []
        for name, other in self.tracks().items():
            values = likeness(face, other)
            if name != but and np.isfinite(values).any():
                means.append(float(np.nanmean(values)))
        return float(np.mean(means)) if means else None
