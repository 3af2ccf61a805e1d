"""Where to look: five points per frame become one slow square box per frame, and boxes become crops.

The same two functions serve MediaPipe tracks and rendered truth, so that training and use see the same framing.
The box is axis-aligned and follows the head slowly in place and size: nods, sways and tilts stay *inside* the crop,
where the encoder can see them as motion.
"""

from __future__ import annotations

import numpy as np

from slotid.types import SlotIDError

SIDE = 4.6  # box side over d, the distance from the midpoint of the eyes to the midpoint of the mouth: the whole head with hair
DOWN = 0.15  # box centre below the midpoint of the eyes, in d
SLOW = 0.5  # seconds, standard deviation of the Gaussian that smooths place and size
SLACK = 0.5  # the head may leave the box centre by this many d before the box hurries after it
HURRY = 0.12  # seconds, the smoothing of that hurry
WINDOW = 1.0  # seconds over which the upper quantile of d is taken
QUANTILE = 0.8  # upper: nodding shortens d in the picture, never lengthens it


def smooth_boxes(points5: np.ndarray, seconds: np.ndarray, seen: np.ndarray, shots: np.ndarray | None = None) -> np.ndarray:
    """Smooth square boxes that hold the whole head with hair.

    Args:
        points5: (T, 5, 2) pixels x y: left eye centre, right eye centre, nose tip, mouth left, mouth right ("left" in either
            convention, only midpoints are used); rows of unseen frames may hold anything, NaN too.
        seconds: (T,) true times, increasing.
        seen: (T,) bool, True where points5 is to be believed; at least one frame.
        shots: (T,) integer number of the camera shot of each frame; smoothing never crosses from one shot into another. None: one shot.

    Returns:
        (T, 4) float32 x0 y0 x1 y1 in the same pixels, square, may reach outside the picture. Zero-phase: no lag behind the head.
        Unseen frames are interpolated within their shot; a shot without any seen frame takes the nearest box in time.
    """
    points5, seconds, seen = np.asarray(points5, np.float64), np.asarray(seconds, np.float64), np.asarray(seen, bool)
    frames = len(seconds)
    if points5.shape != (frames, 5, 2) or seen.shape != (frames,):
        raise SlotIDError(
            f"smooth_boxes got points {points5.shape}, seconds {seconds.shape} and seen {seen.shape}; give (T, 5, 2), (T,) and (T,)."
        )
    if not seen.any():
        raise SlotIDError("smooth_boxes got no frame in which the face is seen; give at least one.")
    if not np.isfinite(points5[seen]).all():
        raise SlotIDError("smooth_boxes got points that are not finite in frames marked seen; mark those frames unseen.")
    shots = np.zeros(frames, int) if shots is None else np.asarray(shots)
    eyes = points5[:, :2].mean(1)
    d = np.linalg.norm(points5[:, 3:].mean(1) - eyes, axis=-1)

    boxes = np.full((frames, 4), np.nan)
    for shot in np.unique(shots[seen]):
        inside = shots == shot
        known = inside & seen
        t = seconds[inside]
        size = _quantile(d[known], seconds[known])
        size = _smooth(np.interp(t, seconds[known], size)[:, None], t, SLOW)[:, 0]
        head = np.stack([np.interp(t, seconds[known], eyes[known, k]) for k in range(2)], 1)
        centre = _smooth(head, t, SLOW)
        for _ in range(2):  # the second round takes up what the smoothing of the first left over
            ahead = head - centre
            distance = np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
            excess = ahead * np.maximum(0.0, 1.0 - SLACK * size[:, None] / distance)
            if excess.any():
                centre = centre + _smooth(excess, t, HURRY)
        centre = centre + np.stack([np.zeros_like(size), DOWN * size], 1)
        half = SIDE / 2 * size[:, None]
        boxes[inside] = np.concatenate([centre - half, centre + half], 1)
    missing = np.isnan(boxes[:, 0])
    if missing.any():
        have = np.flatnonzero(~missing)
        nearest = have[np.abs(seconds[missing][:, None] - seconds[have][None]).argmin(1)]
        boxes[missing] = boxes[nearest]
    return boxes.astype(np.float32)


def crop(frames: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Cut each box out of its frame at ``size`` x ``size``.

    Args:
        frames: (T, H, W, 3) uint8.
        boxes: (T, 4) x0 y0 x1 y1 in pixels of these frames, of any size, sub-pixel; where a box leaves the picture, the border is repeated.
        size: side of the crops in pixels.

    Returns:
        (T, size, size, 3) uint8. Shrinking averages areas (no aliasing), enlarging interpolates bicubically; boxes are never
        rounded to whole pixels, so a slowly moving box gives a steady picture.
    """
    frames, boxes = np.asarray(frames), np.asarray(boxes, np.float64)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or boxes.shape != (len(frames), 4) or size < 1:
        raise SlotIDError(
            f"crop got frames {frames.shape} {frames.dtype}, boxes {boxes.shape}, size {size}; give (T, H, W, 3) uint8, (T, 4), 1 or more."
        )
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise SlotIDError("crop got an empty or not finite box; boxes are x0 y0 x1 y1 with x1 > x0 and y1 > y0.")
    return (
        np.stack([_crop_one(frame, box, size) for frame, box in zip(frames, boxes, strict=True)])
        if len(frames)
        else np.zeros((0, size, size, 3), np.uint8)
    )


def _crop_one(frame: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    import cv2

    x0, y0, x1, y1 = box
    scale = max(x1 - x0, y1 - y0) / size
    # Shrinking: sample a grid k times finer bilinearly, then average k x k: an area resize that keeps sub-pixel boxes.
    k = max(1, min(8, int(np.ceil(scale))))
    fine = size * k
    sx, sy = (x1 - x0) / fine, (y1 - y0) / fine
    to_source = np.array([[sx, 0, x0 + sx / 2 - 0.5], [0, sy, y0 + sy / 2 - 0.5]])
    kind = cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_CUBIC
    picture = cv2.warpAffine(frame, to_source, (fine, fine), flags=kind | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return picture if k == 1 else cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def _quantile(d: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(N,) the QUANTILE of d within WINDOW seconds around each frame."""
    near = np.abs(seconds[:, None] - seconds[None]) <= WINDOW / 2
    return np.array([np.quantile(d[row], QUANTILE) for row in near])


def _smooth(values: np.ndarray, seconds: np.ndarray, sigma: float) -> np.ndarray:
    """(N, K) Gaussian smoothing over true time, by local straight lines (Cleveland 1979) so that the ends are not pulled inwards."""
    if len(seconds) < 3:
        return values
    gap = seconds[None] - seconds[:, None]
    weight = np.exp(-0.5 * (gap / sigma) ** 2)
    s0, s1, s2 = weight.sum(1), (weight * gap).sum(1), (weight * gap**2).sum(1)
    # A small ridge on the slope: with few frames the line must not swing. It does not change a constant.
    ridge = s2 + 1e-3 * sigma**2 * s0
    lines = (ridge[:, None] - gap * s1[:, None]) * weight
    total = ridge * s0 - s1**2
    return (lines / total[:, None]) @ values
