"""The one frame that shows a person best: frontal, sharp, unhidden, neutral."""

from __future__ import annotations

import numpy as np

from slotid.types import FaceTrack, SlotIDError


def anchor_scores(track: FaceTrack) -> np.ndarray:
    """(T,) 0 bad to 1 perfect; NaN where the face is not seen. A product: one grave fault is enough to lose."""
    q = track.quality
    if not track.seen.any():
        return np.full(len(track.seen), np.nan)
    turned = np.sqrt(q.yaw**2 + q.pitch**2 + (0.5 * q.roll) ** 2)  # a tilt hides nothing
    sharp = q.sharpness / max(1e-6, float(np.nanmax(q.sharpness)))
    open_eyes = np.clip(q.eyes / max(1e-6, float(np.nanmedian(q.eyes))), 0, 1)
    light = np.exp(-0.5 * ((q.light - 0.5) / 0.3) ** 2)
    neutral = np.exp(-0.5 * ((q.mouth / 0.15) ** 2 + (q.smile / 0.1) ** 2))
    scores = np.exp(-0.5 * (turned / 15) ** 2) * np.clip(sharp, 0, 1) * open_eyes**2 * light * (0.3 + 0.7 * neutral)
    return np.where(track.seen, scores, np.nan)


def anchor_frame(track: FaceTrack) -> int:
    """The index of the best frame of a track."""
    scores = anchor_scores(track)
    if not np.isfinite(scores).any():
        raise SlotIDError("The track has no frame in which the face is seen; give a clip with a visible face.")
    return int(np.nanargmax(scores))
