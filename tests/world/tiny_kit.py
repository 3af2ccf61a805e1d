"""A head kit small enough to write in a test: an egg with a neck and bulging eyeballs, 68 landmarks, three expressions, two shapes."""

from __future__ import annotations

import dataclasses

import numpy as np

from slotid.world.kit import Kit
from slotid.world.rig import EYE_L, EYE_R, FACE

ROWS, COLS = 26, 32
EYE = 1.3  # cm, radius of an eyeball

# Multi-PIE landmarks roughly where a face has them, x y in cm; depth comes from the egg.
_JAW = [(-7.0 * np.cos(a), 3.5 - 10.5 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
_BROWS = [(x, 6 + 0.3 * np.sin(k)) for x, k in zip((-5.8, -4.9, -3.8, -2.4, -1.2), range(5), strict=True)]
_BROWS += [(-x, y) for x, y in _BROWS[::-1]]
_NOSE = [(0, 3.7), (0, 2.6), (0, 1.6), (0, 0.4), (-1.2, -1.1), (-0.6, -1.1), (0, -1.2), (0.6, -1.1), (1.2, -1.1)]
_EYE = [(-4.4, 3.4), (-3.8, 3.9), (-2.8, 3.9), (-1.8, 3.3), (-2.7, 3.1), (-3.8, 3.1)]
_EYES = _EYE + [(-x, y) for x, y in (_EYE[3], _EYE[2], _EYE[1], _EYE[0], _EYE[5], _EYE[4])]
_LIPS = [(3.0 * -np.cos(a), -3.5 + 1.0 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 13)[:12]]
_INNER = [(2.2 * -np.cos(a), -3.5 + 0.2 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 9)[:8]]
MARKS = np.array(_JAW + _BROWS + _NOSE + _EYES + _LIPS + _INNER)


def _lattice(height, radius):
    """Heights, angles, distances and triangles of a turned surface with a seam at the back, so that it unwraps."""
    y, a = np.meshgrid(height, np.linspace(-np.pi, np.pi, COLS), indexing="ij")
    i, j = np.meshgrid(np.arange(len(height) - 1), np.arange(COLS - 1), indexing="ij")
    k = i * COLS + j
    faces = np.stack([np.stack([k, k + 1, k + COLS], -1), np.stack([k + 1, k + COLS + 1, k + COLS], -1)], 2).reshape(-1, 3)
    return y, a, np.repeat(radius[:, None], COLS, 1), faces.astype(np.int32)


def _ball(centre, radius):
    up = np.linspace(-np.pi / 2, np.pi / 2, 12)
    y, a, r, faces = _lattice(radius * np.sin(up), radius * np.cos(up) + 1e-3)
    return np.stack([r * np.sin(a), y, r * np.cos(a)], -1).reshape(-1, 3) + centre, faces


def tiny_kit() -> Kit:
    """The egg: rows from the shoulders to the crown."""
    height = np.linspace(-19, 14.4, ROWS)
    y, a, r, faces = _lattice(
        height, np.interp(height, [-19, -14, -9, -6, 0, 6, 11, 14, 14.4], [12, 10, 5.6, 7.0, 8.4, 8.8, 6.8, 2.2, 0.3])
    )
    nose = 2.2 * np.exp(-((a / 0.16) ** 2) - ((y - 0.4) / 1.3) ** 2)
    points = np.stack([0.92 * r * np.sin(a), y, (1.12 * r + nose) * np.cos(a) + 0.5], -1).reshape(-1, 3)
    uv = np.stack([(a + np.pi) / (2 * np.pi) * 0.98 + 0.01, (y + 19) / 33.4 * 0.98 + 0.01], -1).reshape(-1, 2).astype(np.float32)
    front = np.where(points[:, 2] > 0, 0.0, 1e6)
    marks = np.array([np.argmin((points[:, 0] - x) ** 2 + (points[:, 1] - h) ** 2 + front) for x, h in MARKS], np.int32)
    parts, material = [(0, len(points), FACE)], np.zeros(len(faces), np.int16)
    for code, lids in ((EYE_L, slice(42, 48)), (EYE_R, slice(36, 42))):
        ball, around = _ball(points[marks[lids]].mean(0) - [0, 0, 0.3], EYE)
        parts.append((len(points), len(points) + len(ball), code))
        faces = np.concatenate([faces, around + len(points)])
        points = np.concatenate([points, ball])
        material = np.concatenate([material, np.full(len(around), code - EYE_L + 1, np.int16)])
    points = points.astype(np.float32)
    low = np.clip((-2.0 - points[:, 1]) / 4, 0, 1) * (points[:, 2] > 2) * (points[:, 1] > -9)
    jaw = np.stack([0 * low, -2.0 * low, -0.3 * low], 1)
    smile = np.stack([0.6 * np.sign(points[:, 0]) * low, 0.8 * low, 0 * low], 1) * (points[:, :1] > 0)
    expr = np.stack([jaw, smile, smile * [-1, 1, 1]]).astype(np.float32)
    identity = np.zeros((2, len(points), 3), np.float32)
    identity[0] = points * [0.05, 0, 0]
    identity[1] = points * [0, 0.03, 0]
    return Kit(
        neutral=points,
        identity=identity,
        expr=expr,
        expr_names=("jawOpen", "mouthSmile_L", "mouthSmile_R"),
        faces=faces.astype(np.int32),
        face_material=material,
        materials=("M_Face", "M_EyeLeft", "M_EyeRight"),
        uv=uv,
        faces_uv=np.where(faces < len(uv), faces, 0).astype(np.int32),
        landmarks68=marks,
        parts=np.array(parts, np.int32),
    )


def write_tiny_kit(path) -> str:
    """The tiny kit as the file that ``load_kit`` reads; its path."""
    np.savez(path, **{field.name: getattr(tiny_kit(), field.name) for field in dataclasses.fields(Kit)})
    return str(path)
