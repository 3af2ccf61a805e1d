"""Hair, brows and beard as strands that grow out of the skin: real silhouettes, because every strand is there.

A strand starts at a root on the person's own skin, leaves it along the skin's normal and the comb, bends under gravity and curl, and is
pushed out of head, neck and clothes (``Collider``). Strands are drawn as ribbons (``raster.draw_strands``) and lit like fibres
(Kajiya and Kay, "Rendering fur with three dimensional textures", SIGGRAPH 1989). Positions are centimetres in the rest pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from slotid.world.compiled import jit
from slotid.world.rig import Rig

CENTRE = np.array([0.0, 4.5, -0.8])  # of the skull, from where "outwards" is measured


@dataclass(frozen=True, eq=False)
class Strands:
    """P points in chains; N segments, segment s runs from point first[s] to the next."""

    points: np.ndarray  # (P, 3) float32 rest pose
    first: np.ndarray  # (N,) int32
    half: np.ndarray  # (P,) float32 half width, cm
    along: np.ndarray  # (P,) float32 0 root to 1 tip
    tint: np.ndarray  # (P,) float32 brightness factor of the strand
    normal: np.ndarray  # (P, 3) float32 outwards of the hair's volume
    root: np.ndarray  # (P,) int32 skin vertex that carries the strand
    share: np.ndarray  # (P,) float32 of the head's turn
    kind: np.ndarray  # (P,) int8: 0 scalp, 1 brow, 2 beard, 3 lash


@dataclass(frozen=True)
class Style:
    """How a style grows; lengths in cm."""

    count: int
    length: tuple[float, float]
    steps: int
    comb: str  # forward, back, part, crown, bun, tail, radial
    lift: float  # how far strands stand off the skin at the root
    stiff: float  # how long they keep their direction
    gravity: float
    volume: float  # thickest layer over the skin
    curl: float = 0.0  # radius of the helix
    turns: float = 0.0  # of the helix
    half: float = 0.12
    cut: float = -99.0  # height below which nothing hangs
    fringe: float | None = None  # height at which hair over the forehead is cut
    clear: bool = False  # hair hangs beside the face, never over it
    recede: float = 0.0


STYLES = {
    "buzz": Style(3600, (0.35, 0.7), 2, "forward", 0.9, 0.9, 0.0, 0.35, half=0.085),
    "short": Style(3400, (1.8, 3.2), 4, "forward", 0.55, 0.55, 0.10, 0.9, half=0.10, fringe=9.2),
    "quiff": Style(3200, (3.0, 5.0), 5, "quiff", 0.9, 0.62, 0.05, 1.2, half=0.11),
    "side_part": Style(3300, (4.5, 6.5), 6, "part", 0.5, 0.5, 0.14, 1.1, half=0.11, fringe=9.6, cut=-1.0),
    "slick_back": Style(3000, (6.0, 9.0), 7, "back", 0.4, 0.45, 0.10, 0.7, half=0.10, cut=-4.5),
    "fringe": Style(3300, (8.0, 10.0), 8, "crown", 0.5, 0.45, 0.30, 1.2, half=0.12, fringe=7.3, cut=-2.5),
    "receding": Style(2300, (1.5, 2.6), 4, "forward", 0.5, 0.5, 0.12, 0.7, half=0.085, recede=1.0),
    "bob": Style(3000, (15.0, 20.0), 12, "part", 0.5, 0.45, 0.45, 1.6, half=0.15, cut=-6.0, clear=True),
    "long": Style(2900, (28.0, 36.0), 15, "part", 0.45, 0.45, 0.55, 1.6, half=0.17, cut=-17.0, clear=True),
    "wavy": Style(2700, (24.0, 32.0), 16, "part", 0.55, 0.45, 0.5, 2.3, 0.55, 4.5, half=0.18, cut=-15.0, clear=True),
    "bun": Style(3000, (9.0, 13.0), 8, "bun", 0.35, 0.3, 0.0, 0.55, half=0.11),
    "ponytail": Style(2900, (9.0, 13.0), 8, "tail", 0.35, 0.3, 0.0, 0.6, half=0.11),
    "curly": Style(2100, (8.0, 13.0), 19, "crown", 0.9, 0.7, 0.22, 2.6, 0.62, 3.4, half=0.15, cut=-5.5, clear=True, fringe=7.6),
    "afro": Style(3300, (4.0, 8.0), 11, "radial", 1.0, 0.85, 0.0, 1.0, 0.50, 2.6, half=0.13),
}


@jit
def smooth(a, b, x):
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@jit
def scalp(x, y, z, high, recede):
    """0..1 how much hair grows at a point of the mean head; high 0..1 moves the hairline up, recede 0..1 opens temples and crown."""
    ax = abs(x)
    front = 10.6 + 1.1 * high - 0.010 * ax * ax + 2.3 * recede * math.exp(-(((ax - 3.6) / 2.2) ** 2)) + 0.7 * recede
    temple = 3.7 + 0.16 * (y - 4.0) - 0.7 * high - 1.6 * recede  # z in front of which no hair grows at the side
    if y > 7.0:
        limit = temple + max(y - 7.0, 0.0) ** 2 * 0.34
        side = smooth(limit + 0.5, limit - 0.5, z)
        top = smooth(front - 0.35, front + 0.35, y)
        grown = max(side, top)
    elif y > 0.6:
        grown = smooth(temple + 0.4, temple - 0.4, z) * smooth(0.6, 1.6, y + (0.8 if z < -2.0 else 0.0))
    else:
        grown = smooth(-2.9, -3.7, z) * smooth(-5.6, -4.4, y)
    grown *= smooth(0.9, 1.15, math.hypot((y - 1.2) / 2.9, (z + 0.5) / 2.4)) if ax > 6.3 else 1.0  # the ear and its root
    if ax > 7.5 and y < 4.3 and z > -3.4:  # its rim, which stands out farther than the skull there
        grown = 0.0
    if recede > 0:
        bald = math.exp(-((x / 4.2) ** 2 + ((z + 4.0) / 4.0) ** 2)) * smooth(9.0, 12.0, y)
        grown *= 1 - recede * 0.95 * bald
    return grown


@jit
def bearded(x, y, z, code):
    """0..1 how much beard grows at a point of the mean head: code 1 stubble, 2 moustache, 3 goatee, 4 short beard, 5 full beard."""
    ax = abs(x)
    lip = smooth(-1.35, -1.75, y) * smooth(-3.3, -2.9, y + 0.07 * ax * ax * 0.5) * smooth(3.4, 2.7, ax) * smooth(8.0, 9.0, z)
    corner = smooth(0.55, 0.25, abs(ax - 3.15)) * smooth(-6.0, -5.4, y) * smooth(-2.0, -2.7, y) * smooth(7.5, 8.5, z)
    chin = smooth(2.9, 2.2, ax) * smooth(-5.0, -5.4, y) * smooth(-8.6, -8.0, y) * smooth(5.5, 7.0, z)
    soul = smooth(0.8, 0.4, ax) * smooth(-4.4, -4.8, y) * smooth(-5.6, -5.2, y) * smooth(8.0, 9.0, z)
    edge = -4.3 + 0.155 * max(ax - 2.8, 0.0) ** 2 + 0.10 * max(ax - 2.8, 0.0)  # the cheek line rises to the sideburn
    cheek = smooth(edge + 0.35, edge - 0.35, y) * smooth(2.7, 3.3, ax) + (smooth(-4.6, -5.1, y) if ax < 3.3 else 0.0)
    under = smooth(-9.2, -8.2, y - 0.25 * max(8.0 - z, 0.0) * -1.0)
    jaw = min(cheek, 1.0) * under * smooth(1.9, 2.6, z) * smooth(8.6, 8.0, ax) * smooth(1.9, 1.2, y)
    if code == 2:
        return lip
    if code == 3:
        return max(max(lip, chin), max(corner, soul))
    return max(max(lip, jaw), max(corner * 0.9, soul)) * (1.0 if code >= 3 else 0.9)


@jit
def fringe_free(x, y, fringe):
    """Whether hair at this place belongs to the sides, which are combed back, and not to a fringe over the forehead."""
    return y < 10.5 and (abs(x) > 5.2 or fringe < -90 or y < fringe - 1.0)


@dataclass(frozen=True, eq=False)
class Collider:
    """What hair lies on: distances from the skull's centre (above the ears) and from the upright axis of the neck (below)."""

    ball: np.ndarray  # (24, 48) elevation x azimuth
    tube: np.ndarray  # (27, 48) height x azimuth, rows from -23 cm up in cm


def collider(points: np.ndarray) -> Collider:
    """From the points (N, 3) of skin without ears, and clothes."""
    ball, tube = np.zeros((24, 48), np.float32), np.zeros((27, 48), np.float32)
    d = points - CENTRE
    r = np.linalg.norm(d, axis=1)
    el = np.clip(((np.arcsin(d[:, 1] / np.maximum(r, 1e-6)) / np.pi + 0.5) * 24).astype(int), 0, 23)
    az = ((np.arctan2(d[:, 0], d[:, 2]) / (2 * np.pi) + 0.5) * 48).astype(int) % 48
    head = points[:, 1] > -2
    np.maximum.at(ball, (el[head], az[head]), r[head])
    row = np.clip((points[:, 1] + 23).astype(int), 0, 26)
    flat = np.hypot(d[:, 0], d[:, 2])
    np.maximum.at(tube, (row, az), flat)
    for grid in (ball, tube):  # fill empty cells from their neighbours
        for _ in range(6):
            near = np.max([np.roll(grid, 1, 1), np.roll(grid, -1, 1), np.vstack([grid[1:], grid[-1:]])], axis=0)
            grid[:] = np.where(grid == 0, near, grid)
    return Collider(ball, tube)


@jit
def _bilinear(grid, a, b):
    rows, cols = grid.shape
    a = min(max(a - 0.5, 0.0), rows - 1.001)
    b = b - 0.5
    i, j = int(a), int(math.floor(b))
    fa, fb = a - i, b - j
    j0, j1 = j % cols, (j + 1) % cols
    return (grid[i, j0] * (1 - fb) + grid[i, j1] * fb) * (1 - fa) + (grid[i + 1, j0] * (1 - fb) + grid[i + 1, j1] * fb) * fa


@jit
def _grow(root, normal, comb, length, layer, lift, stiff, gravity, cut, fringe, clear, goal, has_goal, curl, turns, phase, ball, tube, out):
    """Grow n strands of K points; a strand that is cut ends there, its remaining points pile up at the tip."""
    n, steps = out.shape[0], out.shape[1]
    for s in range(n):
        px, py, pz = root[s, 0], root[s, 1], root[s, 2]
        dx = normal[s, 0] * lift + comb[s, 0]
        dy = normal[s, 1] * lift + comb[s, 1]
        dz = normal[s, 2] * lift + comb[s, 2]
        step = length[s] / (steps - 1)
        ended = False
        out[s, 0, 0], out[s, 0, 1], out[s, 0, 2] = px - normal[s, 0] * 0.1, py - normal[s, 1] * 0.1, pz - normal[s, 2] * 0.1
        front = clear[s]
        for k in range(1, steps):
            if not ended:
                m = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
                dx, dy, dz = dx / m, dy / m, dz / m
                if has_goal:
                    gx, gy, gz = goal[0] - px, goal[1] - py, goal[2] - pz
                    g = math.sqrt(gx * gx + gy * gy + gz * gz) + 1e-9
                    cx, cy, cz = gx / g, gy / g, gz / g
                    if g < step:
                        ended = True
                else:
                    fade = max(1.0 - k * step / 6.5, 0.0)
                    cx, cy, cz = comb[s, 0] * fade, comb[s, 1] * fade, comb[s, 2] * fade
                dx = stiff * dx + (1 - stiff) * cx
                dy = stiff * dy + (1 - stiff) * cy - gravity
                dz = stiff * dz + (1 - stiff) * cz
                m = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
                qx, qy, qz = px + dx / m * step, py + dy / m * step, pz + dz / m * step
                if front != 0 and qy < 9.6 and qz > 1.5:  # beside the face
                    wide = 6.6 + 0.5 * layer[s] - 1.2 * smooth(-2.0, -9.0, qy) + 0.9 * smooth(9.6, 6.0, qy) - 0.9
                    if abs(qx) < wide:
                        qx = front * wide
                back = 2.2 + 0.45 * max(qy - 3.5, 0.0) + 0.25 * max(qy - 7.5, 0.0) ** 2
                if qz > back and fringe_free(qx, qy, fringe):  # cheeks stay free, so that a turned face is still seen
                    qz = max(back, qz - step)
                rx, ry, rz = qx, qy - 4.5, qz + 0.8
                az = (math.atan2(rx, rz) / (2 * math.pi) + 0.5) * 48
                grow = layer[s] * min(k * 2.0 / steps, 1.0)
                if qy > 0.5:
                    r = math.sqrt(rx * rx + ry * ry + rz * rz) + 1e-9
                    el = (math.asin(ry / r) / math.pi + 0.5) * 24
                    need = _bilinear(ball, el, az) + 0.1 + grow
                    if r < need:
                        qx, qy, qz = rx * need / r, ry * need / r + 4.5, rz * need / r - 0.8
                if qy <= 2.0:
                    r = math.sqrt(rx * rx + rz * rz) + 1e-9
                    need = (_bilinear(tube, qy + 23.0, az) + 0.15 + grow) * smooth(2.0, 0.5, qy)
                    if r < need:
                        qx, qz = rx * need / r, rz * need / r - 0.8
                if qy < cut[s]:
                    ended = True
                if fringe > -90 and qz > 3.0 and abs(qx) < 6.4 and qy < fringe + 0.5 * phase[s, 1]:
                    ended = True
                dx, dy, dz = qx - px, qy - py, qz - pz
                px, py, pz = qx, qy, qz
            out[s, k, 0], out[s, k, 1], out[s, k, 2] = px, py, pz
        if curl > 0:  # a helix around the strand's own course
            bx, by, bz = out[s, 0, 0], out[s, 0, 1], out[s, 0, 2]
            for k in range(1, steps):
                tx, ty, tz = out[s, k, 0] - bx, out[s, k, 1] - by, out[s, k, 2] - bz
                bx, by, bz = out[s, k, 0], out[s, k, 1], out[s, k, 2]
                m = math.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
                if m < 1e-6:
                    continue
                tx, ty, tz = tx / m, ty / m, tz / m
                ux, uy, uz = ty * 0.35 - tz * 0.3, tz * 0.9 - tx * 0.35, tx * 0.3 - ty * 0.9
                m = math.sqrt(ux * ux + uy * uy + uz * uz) + 1e-9
                ux, uy, uz = ux / m, uy / m, uz / m
                vx, vy, vz = ty * uz - tz * uy, tz * ux - tx * uz, tx * uy - ty * ux
                a = turns * 2 * math.pi * k / (steps - 1) + phase[s, 0]
                w = curl * min(3.0 * k / steps, 1.0)
                p, q = math.cos(a) * w, math.sin(a) * w
                out[s, k, 0] += p * ux + q * vx
                out[s, k, 1] += p * uy + q * vy
                out[s, k, 2] += p * uz + q * vz


def _roots(rng, rig: Rig, points, normals, density: np.ndarray, count: int):
    """Random places on triangles, as often as ``density`` (F,) per area asks: position, normal, mean-head position, skin vertex."""
    tri = rig.faces
    a, b, c = (points[tri[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density
    total = area.sum()
    if total <= 0 or count <= 0:
        return None
    f = np.searchsorted(np.cumsum(area) / total, (np.arange(count) + rng.random(count)) / count).clip(0, len(tri) - 1)
    u = rng.random((count, 2))
    u = np.where(u.sum(1, keepdims=True) > 1, 1 - u, u)
    w = np.stack([1 - u.sum(1), u[:, 0], u[:, 1]], 1)[:, :, None]
    corners = tri[f]
    normal = (normals[corners] * w).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return (points[corners] * w).sum(1), normal, (rig.neutral[corners] * w).sum(1), corners[:, 0]
