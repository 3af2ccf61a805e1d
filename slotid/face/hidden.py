"""Is something held before the face? The mesh is drawn even over a hand or a phone, so the colours beneath it are asked."""

from __future__ import annotations

import numpy as np

from slotid.face.align import crop
from slotid.face.detect import OVAL
from slotid.face.pose import head_pose

# Points of bare skin over the whole face: forehead, temples, nose, cheeks, around the mouth, chin, jaw.
SKIN = [
    *(10, 151, 9, 67, 297, 109, 338, 54, 284, 6, 197, 5, 4, 50, 280, 205, 425, 117, 346, 123, 352),
    *(164, 200, 199, 175, 207, 427, 214, 434, 135, 364),
]
# Where a bare face has colours of its own; a hand before it has skin's. Each group is asked by itself.
MARKS = [
    [70, 63, 105, 66, 107, 300, 293, 334, 296, 336],  # brows
    [0, 17, 37, 267, 84, 314, 39, 269, 181, 405],  # red of the lips
    [33, 133, 263, 362, 246, 466, 130, 359],  # corners of the eyes, dark with lashes even when closed
]
UNLIKE = 22.0  # CIELAB distance (lightness counts half) of a skin point from its own median colour
SHARE = 0.35  # hidden: more of the skin points than this are unlike themselves...
MARK_UNLIKE, MARK_SHARE, MARKS_LOST = 8.0, 0.6, 2  # ... or this many groups of marks have lost their colours
LIGHT = np.array([10.0, 8.0, 8.0])  # how far a change of light may move a whole face (half lightness, a, b)
TURNED = 35.0  # degrees; beyond it points slide over the far cheek and say nothing


def hidden_frames(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """frames (T, H, W, 3) uint8, landmarks (T, 478, 3) pixels with NaN where unseen -> (T,) bool, True where the face is covered.

    A change of light moves all points a little and together, which is taken out; a cover moves some of them, and far. A hand
    has the colour of skin but hides brows, lashes and lips.
    """
    import cv2

    known = np.flatnonzero(np.isfinite(landmarks[:, 0, 0]))
    hidden = np.zeros(len(frames), bool)
    if len(known) < 8:
        return hidden
    asked = SKIN + sum(MARKS, [])
    colours = np.empty((len(known), len(asked), 3), np.float32)
    for row, k in enumerate(known):
        flat = landmarks[k, :, :2]
        low, high = flat[OVAL].min(0), flat[OVAL].max(0)
        side = float((high - low).max())
        centre = (low + high) / 2
        box = np.concatenate([centre - side / 2, centre + side / 2])
        small = cv2.cvtColor(crop(frames[k : k + 1], box[None], 48)[0], cv2.COLOR_RGB2LAB).astype(np.float32)
        at = np.clip((flat[asked] - box[:2]) / side * 48, 0, 47).astype(int)
        colours[row] = small[at[:, 1], at[:, 0]] * np.array([0.5 * 100 / 255, 1, 1], np.float32)
    change = colours - np.median(colours, 0)
    change = change - np.clip(np.median(change[:, : len(SKIN)], 1, keepdims=True), -LIGHT, LIGHT)
    distance = np.linalg.norm(change, axis=-1)
    covered = (distance[:, : len(SKIN)] > UNLIKE).mean(1) > SHARE
    start, lost = len(SKIN), np.zeros(len(known), int)
    for group in MARKS:
        lost += (distance[:, start : start + len(group)] > MARK_UNLIKE).mean(1) > MARK_SHARE
        start += len(group)
    yaw, pitch, _ = head_pose(landmarks[known])
    facing = (np.abs(yaw) < TURNED) & (np.abs(pitch) < TURNED)
    hidden[known] = facing & (covered | (lost >= MARKS_LOST))
    return hidden
