"""Curves of expression and head that MediaPipe measures in a film, free of the size and place of the face."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from slotid.face.quiet import quiet

# MediaPipe mesh points. "Left" is the person's left. Rigid ones hardly move with expression.
_RIGID = np.array([6, 168, 197, 195, 5, 33, 133, 362, 263, 10, 151, 127, 356, 234, 454, 9, 8])
_POINTS = {
    "corner_right": 61,
    "corner_left": 291,
    "lip_top": 13,
    "lip_bottom": 14,
    "upper_lip": 0,
    "lower_lip": 17,
    "upper_right": 39,
    "upper_left": 269,
    "lower_right": 181,
    "lower_left": 405,
    "chin": 152,
    "cheek_right": 50,
    "cheek_left": 280,
    "brow_in_right": 55,
    "brow_in_left": 285,
    "brow_mid_right": 105,
    "brow_mid_left": 334,
    "brow_out_right": 70,
    "brow_out_left": 300,
    "lid_up_right": 159,
    "lid_up_left": 386,
    "lid_low_right": 145,
    "lid_low_left": 374,
    "nostril_right": 64,
    "nostril_left": 294,
}


class CurveReader:
    """Use as a context manager. ``curves(frames)`` tracks one face with MediaPipe's FaceMesh and returns what moves in it."""

    def __enter__(self) -> CurveReader:
        from mediapipe.python.solutions.face_mesh import FaceMesh

        with quiet():
            self._mesh = FaceMesh(static_image_mode=False, refine_landmarks=True, max_num_faces=1)
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))
        return self

    def __exit__(self, *error: object) -> None:
        self._mesh.close()

    def curves(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """frames (T, H, W, 3) uint8 to face (T, C) in face widths, head (T, 3) degrees yaw, pitch, roll, seen (T,) bool.

        Yaw and pitch are relative to the clip's own middle; roll is true to the picture. All zero when no frame shows a face.
        """
        height, width = frames.shape[1:3]
        points = np.full((len(frames), 478, 3), np.nan)
        for index, frame in enumerate(np.ascontiguousarray(frames)):
            with quiet() if index == 0 else nullcontext():
                if index == 0:
                    self._mesh.reset()  # another face: forget the one before
                found = self._mesh.process(frame).multi_face_landmarks
            if found:
                points[index] = [(p.x * width, -p.y * height, -p.z * width) for p in found[0].landmark]
        seen = np.isfinite(points[:, 0, 0])
        if not seen.any():
            return np.zeros((len(frames), len(self._face(np.zeros((478, 3)))))), np.zeros((len(frames), 3)), seen
        nearest = np.abs(np.arange(len(frames))[:, None] - np.flatnonzero(seen)[None]).argmin(axis=1)
        points = points[np.flatnonzero(seen)[nearest]]
        middle = np.median(points, axis=0)
        face, head = [], []
        for shape in points:
            rotation, aligned = _onto(shape, middle)
            face.append(self._face(aligned))
            yaw = np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2]))
            pitch = np.degrees(np.arcsin(np.clip(rotation[1, 2], -1, 1)))
            across = shape[[362, 263]].mean(axis=0) - shape[[33, 133]].mean(axis=0)
            head.append((yaw, pitch, -np.degrees(np.arctan2(across[1], across[0]))))
        return np.array(face), np.array(head), seen

    @staticmethod
    def _face(shape: np.ndarray) -> np.ndarray:
        """Heights and widths of lips, brows, lids and cheeks of one aligned shape, in distances of the outer eye corners."""
        unit = max(float(np.linalg.norm(shape[33] - shape[263])), 1e-9)
        p = {name: shape[number] / unit for name, number in _POINTS.items()}
        values = [p["lip_top"][1] - p["lip_bottom"][1], p["corner_left"][0] - p["corner_right"][0], p["chin"][1], p["chin"][0]]
        values += [
            p["upper_lip"][1],
            p["lower_lip"][1],
            p["upper_lip"][2],
            p["lower_lip"][2],
            (p["corner_left"][0] + p["corner_right"][0]) / 2,
        ]
        for name in ("corner", "upper", "lower", "cheek", "brow_in", "brow_mid", "brow_out", "nostril"):
            left, right = p[name + "_left"][1], p[name + "_right"][1]
            values += [(left + right) / 2, left - right]
        left, right = (p["lid_up_" + side][1] - p["lid_low_" + side][1] for side in ("left", "right"))
        values += [(left + right) / 2, left - right, (p["lid_low_left"][1] + p["lid_low_right"][1]) / 2]
        return np.array(values)


def _onto(shape: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity that lays the rigid points of ``shape`` on those of ``middle`` (Kabsch/Umeyama): rotation of the head, aligned shape."""
    a, b = shape[_RIGID], middle[_RIGID]
    a0, b0 = a.mean(axis=0), b.mean(axis=0)
    u, s, vt = np.linalg.svd((a - a0).T @ (b - b0))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt)) or 1.0])
    turn = u @ flip @ vt  # row vectors: (a - a0) @ turn is aligned
    scale = (s * np.diag(flip)).sum() / max(((a - a0) ** 2).sum(), 1e-12)
    return turn, (shape - a0) @ turn * scale + b0
