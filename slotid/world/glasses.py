"""Frames of glasses, bent to fit the person: two rims, a bridge, two arms to the ears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotid.world.looks import Looks
from slotid.world.rig import Rig


@dataclass(frozen=True, eq=False)
class Frame:
    """A mesh at rest, cm."""

    points: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32


def _tube(spine: np.ndarray, radius: float, closed: bool, around: int = 5) -> tuple[np.ndarray, np.ndarray]:
    n = len(spine)
    ahead = np.roll(spine, -1, 0) - np.roll(spine, 1, 0)
    if not closed:
        ahead[0], ahead[-1] = spine[1] - spine[0], spine[-1] - spine[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    ref = np.where(np.abs(ahead[:, 2:]) > 0.8, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    a = np.cross(ahead, ref)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(ahead, a)
    t = np.arange(around) / around * 2 * np.pi
    p = spine[:, None] + radius * (np.cos(t)[None, :, None] * a[:, None] + np.sin(t)[None, :, None] * b[:, None])
    i, j = np.meshgrid(np.arange(n if closed else n - 1), np.arange(around), indexing="ij")
    q, r = (i + 1) % n, (j + 1) % around
    f = np.stack(
        [np.stack([i * around + j, q * around + j, i * around + r], -1), np.stack([i * around + r, q * around + j, q * around + r], -1)], 2
    )
    return p.reshape(-1, 3), f.reshape(-1, 3)


def bend(looks: Looks, skin: np.ndarray, rig: Rig) -> Frame:
    """Glasses for this person's skin at rest (V, 3); an empty mesh without glasses."""
    if looks.glasses == "none" or len(rig.part) < 5000:
        return Frame(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    marks = skin[rig.landmarks]
    radius = {"round": 0.13, "square": 0.17, "thin": 0.075}[looks.glasses]
    power = {"round": 2.0, "square": 4.0, "thin": 2.8}[looks.glasses]
    parts = []
    front = max(marks[27, 2] + 0.35, marks[17:27, 2].max() + 0.15, marks[36:48, 2].max() + 1.1)
    rims = []
    for sign, who in ((-1, slice(36, 42)), (1, slice(42, 48))):
        c = marks[who].mean(0)
        t = np.arange(28) / 28 * 2 * np.pi
        w, h = 2.35, (2.0 if looks.glasses == "round" else 1.65)
        x = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / power) * w
        y = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / power) * h
        cx = sign * max(abs(c[0]), 2.75 + 0.25)
        spine = np.stack([cx + x, c[1] - 0.15 + y, front - 0.05 * np.abs(cx + x) - 0.022 * (cx + x) ** 2 + 0.2], 1)
        rims.append((spine, cx, c[1]))
        parts.append(_tube(spine, radius, True))
        outer = spine[0 if sign > 0 else 14] + np.array([0, 0.5, 0.0])
        side = skin[
            (np.abs(rig.neutral[:, 1] - 3.3) < 1.2)
            & (np.abs(rig.neutral[:, 2]) < 1.5)
            & (np.sign(rig.neutral[:, 0]) == sign)
            & (rig.part <= 1)
        ]
        width = np.quantile(np.abs(side[:, 0]), 0.5) if len(side) else 7.6
        ear = np.array([sign * (width + 0.25), outer[1] + 0.3, -0.5])
        mid = np.array([sign * max(abs(outer[0]) + 0.35, width + 0.1), outer[1] + 0.1, outer[2] - 1.6])
        s = np.linspace(0, 1, 9)[:, None]
        parts.append(_tube(outer * (1 - s) ** 2 + 2 * mid * s * (1 - s) + ear * s**2, radius * 0.9, False))
    s = np.linspace(-1, 1, 7)
    inner = rims[1][1] - 2.35
    y = (rims[0][2] + rims[1][2]) / 2
    parts.append(_tube(np.stack([inner * s, y + 0.45 + 0.25 * (1 - s**2), front + 0.12 + 0.12 * (1 - s**2)], 1), radius * 0.9, False))
    base, points, faces = 0, [], []
    for p, f in parts:
        points.append(p)
        faces.append(f + base)
        base += len(p)
    return Frame(np.concatenate(points).astype(np.float32), np.concatenate(faces).astype(np.int32))
