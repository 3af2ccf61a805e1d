"""Clothes as geometry: a garment lofted around the person's own neck and out over shoulders that the face model does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AROUND = 72  # points around the body
AXIS_Z = -0.8  # the body's upright axis


@dataclass(frozen=True, eq=False)
class Garment:
    """A mesh at rest. ``detail`` per vertex: angle around the body, distance below the collar in cm, kind (0 cloth, 1 collar, 2 cord)."""

    points: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32
    detail: np.ndarray  # (V, 3) float32
    share: np.ndarray  # (V,) float32 of the head's turn: a collar gives a little
    neckline: np.ndarray  # (AROUND,) height of the collar's edge, above which skin shows
    ring: np.ndarray  # (AROUND,) distance of the collar's outer edge from the upright axis: skin farther out lies under cloth


# garment: collar height at the nape, at the sides, at the front (cm); gap between neck and collar; thickness of the collar
_CUT = {
    "tshirt": (-8.6, -10.4, -13.0, 0.5, 0.35),
    "vneck": (-8.8, -10.6, -16.6, 0.5, 0.3),
    "shirt": (-8.0, -9.4, -12.2, 0.7, 0.3),
    "hoodie": (-8.0, -9.8, -12.8, 1.0, 0.8),
    "sweater": (-7.0, -7.9, -9.3, 0.45, 0.6),
    "jacket": (-8.2, -9.8, -15.8, 0.7, 0.5),
}


def _grid_faces(rows: int, around: int = AROUND) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    c, d = a + around, b + around
    return np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], 2).reshape(-1, 3)


def neck_profile(skin: np.ndarray) -> np.ndarray:
    """(24, AROUND) distance of the skin (N, 3) from the upright axis, rows 1 cm from -20 cm up; holes filled from the neighbours."""
    low = skin[skin[:, 1] < 4]
    out = np.zeros((24, AROUND))
    row = np.clip((low[:, 1] + 20).astype(int), 0, 23)
    angle = ((np.arctan2(low[:, 0], low[:, 2] - AXIS_Z) / (2 * np.pi)) % 1 * AROUND).astype(int) % AROUND
    np.maximum.at(out, (row, angle), np.hypot(low[:, 0], low[:, 2] - AXIS_Z))
    for _ in range(AROUND // 2):
        near = np.maximum(np.roll(out, 1, 1), np.roll(out, -1, 1))
        out = np.where(out == 0, near, out)
    out = np.where(out == 0, out.max(), out)
    return (out + np.roll(out, 1, 1) + np.roll(out, -1, 1)) / 3


def sew(garment: str, skin: np.ndarray, seed: int) -> Garment:
    """The garment for a person whose skin at rest (without the face, N x 3 cm) it must enclose."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 3, 5])))
    nape, side, front, gap, thick = _CUT[garment]
    angle = np.arange(AROUND) / AROUND * 2 * np.pi  # 0 is the front
    facing = np.cos(angle)
    neckline = np.where(
        facing > 0,
        side + (front - side) * np.maximum(facing, 0) ** (1.1 if garment in ("vneck", "jacket") else 2.0),
        side + (nape - side) * facing**2,
    )
    neckline = neckline + rng.normal(0, 0.15)
    profile = neck_profile(skin)

    def neck(height: np.ndarray) -> np.ndarray:
        f = np.clip(height + 20 - 0.5, 0, 22.999)
        i = f.astype(int)
        j = np.arange(AROUND)
        return profile[i, j] * (1 - (f - i)) + profile[i + 1, j] * (f - i)

    reach = np.maximum(np.maximum(neck(neckline), neck(neckline - 0.8)), neck(neckline + 0.6))
    reach = np.maximum(reach, np.maximum(np.roll(reach, 1), np.roll(reach, -1)))
    inner = np.minimum(reach, 12.5) + 0.5 * gap + 0.1
    width, depth = 20.5 + rng.uniform(-1.5, 1.5), 10.0 + rng.uniform(-0.6, 0.8)
    torso = (np.abs(np.sin(angle) / width) ** 2.6 + np.abs(facing / depth) ** 2.6) ** (-1 / 2.6)
    rows, details = [], []
    if garment in ("tshirt", "vneck", "sweater", "hoodie", "shirt", "jacket"):  # the rolled edge of the collar, inside to outside
        for a in np.linspace(-0.6, np.pi, 6):
            rows.append((inner + thick * (0.5 - 0.5 * np.cos(a)), neckline + thick * np.sin(a) * 0.8 - (1.2 if a < 0 else 0)))
            details.append((np.full(AROUND, 0.2 * a), 1))
    below = neckline - 1.6 * min(thick + 0.6, 1.2)
    rows.append((np.maximum(inner + thick + 0.1, np.minimum(neck(below), 14) + 0.45), below))
    details.append((np.full(AROUND, 1.5), 1 if garment in ("tshirt", "sweater", "hoodie") else 0))
    start_r, start_y = rows[-1]
    for s in np.linspace(0.08, 1, 16):
        r = start_r + (torso - start_r) * np.sin(s * np.pi / 2) ** 0.9
        lateral = np.abs(np.sin(angle)) * r
        shoulder = -10.6 - 0.34 * np.maximum(lateral - 5.5, 0) - 0.02 * np.maximum(lateral - 14, 0) ** 2.4  # slope of the trapezius
        chest = start_y - 14 * s
        blend = np.abs(np.sin(angle)) ** 1.4
        y = np.minimum(start_y - 0.25, shoulder * blend + chest * (1 - blend))
        y = y * (1 - s**6) + (y - 6) * s**6
        covered = neck(y) + 0.45 * (y > -19.5)
        r = np.maximum(r, np.where(y > -19.4, np.minimum(covered, torso + 1), 0))
        rows.append((r, y))
        details.append((start_y - y + 2, 0))
    r, y = rows[-1]
    rows.append((torso * 1.02, y - 12))
    details.append((start_y - y + 14, 0))
    grid = np.stack([np.stack([r * np.sin(angle), np.broadcast_to(y, AROUND), r * facing + AXIS_Z], 1) for r, y in rows])
    detail = np.stack([np.stack([angle, np.broadcast_to(d, AROUND), np.full(AROUND, k)], 1) for d, k in details])
    points, faces, details_all = [grid.reshape(-1, 3)], [_grid_faces(len(rows))], [detail.reshape(-1, 3)]

    def add(p: np.ndarray, f: np.ndarray, kind: float) -> None:
        base = sum(len(q) for q in points)
        points.append(p)
        faces.append(f + base)
        details_all.append(np.concatenate([np.full((len(p), 1), 0.0), np.full((len(p), 1), 1.0), np.full((len(p), 1), kind)], 1))

    if garment in ("shirt", "jacket"):
        for sign in (-1, 1):
            add(*_lapel(sign, angle, inner + thick, neckline, garment), 1)
    if garment == "hoodie":
        add(*_hood(inner, neckline), 0)
        for sign in (-1, 1):
            x = 2.4 * sign
            top = np.array([x, neckline[0] - 1.2, inner[0] + AXIS_Z + thick + 0.45])
            end = top + np.array([0.5 * sign, -7.0, 1.7])
            add(*_cord(top, end, 0.22), 2)
    pts = np.concatenate(points).astype(np.float32)
    det = np.concatenate(details_all).astype(np.float32)
    fac = np.concatenate(faces).astype(np.int32)
    return Garment(pts, fac, det, np.zeros(len(pts), np.float32), neckline, inner + thick)


def _lapel(sign: int, angle, edge, neckline, garment: str) -> tuple[np.ndarray, np.ndarray]:
    """One half of a folded collar: a band that stands on the neckline, folds outwards and ends in a point in front."""
    n = 15
    theta = np.linspace(np.pi, 0.10, n)
    at = np.interp(theta, angle, edge)
    high = np.interp(theta, angle, neckline)
    tip = np.linspace(0, 1, n) ** 2.0
    fall = (2.3 if garment == "shirt" else 2.6) + (2.0 if garment == "shirt" else 5.0) * tip
    spread = 0.75 + 0.9 * tip
    ring = []
    for out, drop in ((0.0, -0.9), (0.25, 0.55), (0.55, 0.35), (spread, -0.55 * fall), (spread + 0.15, -fall)):
        r = at + out + (0.12 if np.ndim(out) else 0)
        lean = theta + (0.32 * tip if np.ndim(out) else 0)
        ring.append(np.stack([sign * r * np.sin(lean), high + drop, r * np.cos(lean) + AXIS_Z], 1))
    grid = np.stack(ring)
    grid[:, :, 2] += 0.25
    rows = len(grid)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(n - 1), indexing="ij")
    a = i * n + j
    f = np.stack([np.stack([a, a + n, a + 1], -1), np.stack([a + 1, a + n, a + n + 1], -1)], 2).reshape(-1, 3)
    return grid.reshape(-1, 3), f if sign < 0 else f[:, ::-1]


def _hood(inner, neckline) -> tuple[np.ndarray, np.ndarray]:
    """The hood lying around the nape: half a ring, thickest behind."""
    n, m = 33, 12
    theta = np.linspace(0.32 * np.pi, 1.68 * np.pi, n)
    full = np.arange(AROUND) / AROUND * 2 * np.pi
    r = np.interp(theta, full, inner) + 1.1
    y = np.interp(theta, full, neckline) - 0.4
    fat = 0.5 + 1.9 * np.sin((theta - theta[0]) / (theta[-1] - theta[0]) * np.pi) ** 1.2
    t = np.arange(m) / m * 2 * np.pi
    rr = r[:, None] + fat[:, None] * (0.55 + 0.75 * np.cos(t))
    yy = y[:, None] + fat[:, None] * 0.75 * np.sin(t) + 0.12 * fat[:, None]
    p = np.stack([rr * np.sin(theta)[:, None], yy, rr * np.cos(theta)[:, None] + AXIS_Z], -1)
    return p.reshape(-1, 3), _grid_faces(n, m)


def _cord(top, end, radius: float) -> tuple[np.ndarray, np.ndarray]:
    n, m = 6, 6
    s = np.linspace(0, 1, n)[:, None]
    spine = top + (end - top) * s + np.array([0, 0, 0.3]) * np.sin(s * np.pi)
    t = np.arange(m) / m * 2 * np.pi
    p = spine[:, None] + radius * np.stack([np.cos(t), np.zeros(m), np.sin(t)], -1)[None]
    return p.reshape(-1, 3), _grid_faces(n, m)
