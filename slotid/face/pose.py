"""Where a head looks, read from the mesh itself: no camera, no canonical model."""

from __future__ import annotations

import numpy as np

# Pairs (person's right, person's left) that lie level on a face and do not move with the jaw.
LEVEL = [(33, 263), (133, 362), (127, 356), (234, 454), (70, 300), (105, 334), (50, 280)]
UPRIGHT = [(10, 152), (151, 164)]  # from above to below on the midline


def head_frame(landmarks: np.ndarray) -> np.ndarray:
    """(..., 478, 3) mesh -> (..., 3, 3) rows: unit vectors of the head to the picture's right, down, and away from the viewer."""
    points = np.asarray(landmarks, np.float64)
    across = sum(_unit(points[..., b, :] - points[..., a, :]) for a, b in LEVEL)
    down = sum(_unit(points[..., b, :] - points[..., a, :]) for a, b in UPRIGHT)
    x = _unit(across)
    y = _unit(down - (down * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], -2)


def head_pose(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, 478, 3) -> yaw, pitch, roll (T,) degrees: positive to the picture's right, up, and clockwise in the picture. NaN stays NaN."""
    frame = head_frame(landmarks)
    forward = -frame[..., 2, :]
    yaw = np.degrees(np.arctan2(forward[..., 0], -forward[..., 2]))
    pitch = np.degrees(np.arcsin(np.clip(-forward[..., 1], -1, 1)))
    roll = np.degrees(np.arctan2(frame[..., 0, 1], frame[..., 0, 0]))
    return yaw, pitch, roll


def frontal(landmarks: np.ndarray) -> np.ndarray:
    """(..., 478, 3) -> the same mesh turned to look at the viewer; eyes' midpoint at 0, the outer eye corners 1 apart."""
    points = np.asarray(landmarks, np.float64)
    turned = np.einsum("...ij,...nj->...ni", head_frame(points), points)
    centre = (turned[..., [33, 133, 362, 263], :]).mean(-2, keepdims=True)
    scale = np.linalg.norm(turned[..., 263, :] - turned[..., 33, :], axis=-1)[..., None, None]
    return (turned - centre) / scale


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
