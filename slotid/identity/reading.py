"""From a face track to what an encoder reads: which frame is the anchor, and crops as tensors."""

from __future__ import annotations

import numpy as np

from slotid.pixels import in_bytes, signed
from slotid.types import FaceTrack


def choose_anchor(face: FaceTrack) -> int:
    """Index of the frame that shows the still look best: frontal, sharp, well lit, neutral, eyes open. Only seen frames count.

    Each quality is compared within the clip; NaN counts as the worst. Degrees over 30 weigh as one whole point.
    """
    q = face.quality

    def rank(values, higher_is_better: bool = True) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        good = np.isfinite(values) & face.seen
        low, high = (values[good].min(), values[good].max()) if good.any() else (0.0, 1.0)
        scaled = (values - low) / (high - low) if high > low else np.ones_like(values)
        return np.where(np.isfinite(scaled), scaled if higher_is_better else 1 - scaled, 0.0)

    degrees = np.nan_to_num(np.abs(q.yaw) + np.abs(q.pitch) + 0.5 * np.abs(q.roll), nan=180.0)
    score = -degrees / 30 + 0.5 * rank(q.sharpness) + 0.3 * rank(q.eyes) + 0.3 * rank(q.mouth, False) + 0.3 * rank(np.abs(q.smile), False)
    score = score - np.abs(np.nan_to_num(q.light, nan=0.0) - 0.5)
    return int(np.argmax(np.where(face.seen, score, -np.inf)))


def crops_to_video(crops: np.ndarray, size: int):
    """(T, C, C, 3) uint8 -> (T, 3, 1, size, size) float in [-1, 1]: every crop a video of one frame."""
    import torch.nn.functional as F

    video = signed(crops)
    if video.shape[-1] != size:
        video = F.interpolate(video, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return video[:, :, None]


def small_crops(crops: np.ndarray, size: int) -> np.ndarray:
    """(T, C, C, 3) uint8 -> (T, size, size, 3) uint8, for display."""
    return in_bytes(crops_to_video(crops, size)[:, :, 0])
