"""Is something held before the face? The mesh is drawn even over a hand or a phone, so the picture beneath it is asked.

A face has its own pattern of light and dark between neighbouring points of the mesh: lash against lid, lip against chin, nostril
against cheek. The mesh follows pose and expression, so the pattern stays when the face moves; a lamp makes it weaker or stronger as a
whole. A cover has no such pattern or another one, also where it has the very colour of the skin.
"""

from __future__ import annotations

import numpy as np

from slotid.face.align import crop
from slotid.face.detect import OVAL
from slotid.face.pose import frontal, head_pose

# Where a face has a pattern: points whose mean is the middle of each region, and its reach in distances of the outer eye corners.
REGIONS = (
    ((33, 133, 159, 145, 70, 63, 105, 66, 107), 0.42),  # the person's right eye with its brow: a blink does not change the brow
    ((263, 362, 386, 374, 300, 293, 334, 296, 336), 0.42),
    ((1, 4, 98, 327, 2), 0.30),  # nose
    ((61, 291, 0, 17, 13, 14), 0.42),  # mouth
)
POINTS = 468  # the mesh without irises
NEIGHBOURS = 6
PIXELS, MARGIN, BLUR = 72, 1.1, 0.7  # side of the picture that is asked, its size over the face's, smoothing in its pixels
FAINT = 0.3  # a pattern weaker than this share of the usual one counts as if it were that strong: noise on a flat cover is no pattern
LOST, ONE_OF_TWO_LOST = 0.25, 0.3  # agreement with the usual pattern (1 is the same) below which a region is lost
FACING = 35.0  # degrees of yaw and pitch up to which a frame tells what is usual
TURNED = 45.0  # ... and up to which it is asked: a mesh over a hand often looks up; beyond, points slide over the far cheek
ENOUGH = 8  # facing frames, to know what is usual


def hidden_frames(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """frames (T, H, W, 3) uint8, landmarks (T, 478, 3) pixels with NaN where unseen -> (T,) bool, True where the face is covered.

    Covered: the pattern of the mouth, of both eyes, or of any two regions is lost against the track's own median. So what
    hides a face must do so in less than half of the frames, and what is always there (glasses, a mask) hides nothing.
    """
    hidden = np.zeros(len(frames), bool)
    known = np.flatnonzero(np.isfinite(landmarks[:, 0, 0]))
    yaw, pitch, _ = head_pose(landmarks[known])
    turned = np.maximum(np.abs(yaw), np.abs(pitch))
    known, turned = known[turned < TURNED], turned[turned < TURNED]
    facing = turned < FACING
    if facing.sum() < ENOUGH:
        return hidden
    first, second, region = _neighbours(np.median(frontal(landmarks[known[facing]]), 0)[:POINTS, :2])
    luma = np.stack([_luma_at(frames[k], landmarks[k]) for k in known])
    pattern = luma[:, first] - luma[:, second]
    usual = np.median(pattern[facing], 0)
    agreement = np.empty((len(known), len(REGIONS)))
    for number in range(len(REGIONS)):
        here = region == number
        size = max(float(np.linalg.norm(usual[here])), 1e-6)
        strength = np.maximum(np.linalg.norm(pattern[:, here], axis=1), FAINT * size)
        agreement[:, number] = pattern[:, here] @ usual[here] / (size * strength)
    eyes_lost, mouth_lost = (agreement[:, :2] < LOST).all(1), agreement[:, 3] < LOST
    hidden[known] = eyes_lost | mouth_lost | ((agreement < ONE_OF_TWO_LOST).sum(1) >= 2)
    return hidden


def _neighbours(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 2) frontal points -> numbers (P,), (P,) of neighbouring points, once each, and (P,) the region between them; pairs elsewhere
    (cheeks, forehead, jaw: no pattern of their own) are left out."""
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    first, second = np.repeat(np.arange(len(flat)), NEIGHBOURS), np.argsort(apart, 1)[:, :NEIGHBOURS].ravel()
    pairs = np.unique(np.sort(np.stack([first, second], 1), 1), axis=0)
    middle = flat[pairs].mean(1)
    away = np.stack([np.linalg.norm(middle - flat[list(points)].mean(0), axis=1) / reach for points, reach in REGIONS], 1)
    inside = away.min(1) < 1
    return pairs[inside, 0], pairs[inside, 1], away.argmin(1)[inside]


def _luma_at(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(H, W, 3), (478, 3) -> (POINTS,) float32 lightness under the mesh, the face always equally large."""
    import cv2

    low, high = points[OVAL, :2].min(0), points[OVAL, :2].max(0)
    centre, side = (low + high) / 2, MARGIN * float((high - low).max())
    corner = centre - side / 2
    small = crop(frame[None], np.concatenate([corner, corner + side])[None], PIXELS)[0]
    light = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    at = ((points[:POINTS, :2] - corner) / side * PIXELS - 0.5).astype(np.float32)
    smooth = cv2.GaussianBlur(light, (0, 0), BLUR)
    x, y = np.ascontiguousarray(at[None, :, 0]), np.ascontiguousarray(at[None, :, 1])
    return cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
