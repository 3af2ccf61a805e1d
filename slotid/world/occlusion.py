"""How much of the sky each point sees: depth maps from many directions, once per person and scene, hair and clothes included."""

from __future__ import annotations

import numpy as np

from slotid.world.compiled import jit
from slotid.world.hair import Strands
from slotid.world.raster import FAR, draw_depth, draw_strand_depth, project_flat

HALF = 21.0  # cm that a map shows on each side of the head
MIDDLE = np.array([0.0, 1.0, 0.0], np.float32)


def frame_along(direction: np.ndarray) -> np.ndarray:
    """(3, 3) float32 rows right, up, back of a camera that looks against ``direction`` (unit, towards the light)."""
    d = np.asarray(direction, np.float64)
    up = np.array([0.0, 1.0, 0.0]) if abs(d[1]) < 0.95 else np.array([0.0, 0.0, 1.0])
    right = np.cross(up, d)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(d, right), d]).astype(np.float32)


def spread(count: int) -> np.ndarray:
    """(count, 3) directions spread evenly over the sphere (Fibonacci), those from far below left out."""
    k = np.arange(count) + 0.5
    y = 1 - 1.75 * k / count
    a = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - y**2)
    return np.stack([r * np.cos(a), y, r * np.sin(a)], 1)


@jit
def _gather(p, normal, direction, depth, bias, use_normal, total, open_):
    height, width = depth.shape
    for i in range(p.shape[0]):
        facing = 1.0
        if use_normal:
            facing = normal[i, 0] * direction[0] + normal[i, 1] * direction[1] + normal[i, 2] * direction[2]
            if facing <= 0.02:
                continue
        x, y = int(p[i, 0]), int(p[i, 1])
        seen = 1.0
        if 0 <= x < width and 0 <= y < height:
            d = p[i, 2] - depth[y, x]
            seen = 1.0 - min(max((d - bias) / bias, 0.0), 1.0)
        total[i] += facing
        open_[i] += facing * seen


def sky_share(points, normals, faces, blockers, strands: Strands, count: int = 26, size: int = 84) -> tuple[np.ndarray, np.ndarray]:
    """Shares 0..1 of the sky seen by mesh points (V,) and strand points (P,). ``blockers`` (F,) bool: triangles that cast."""
    tri = np.ascontiguousarray(faces[blockers])
    hair = strands.points
    mesh_total, mesh_open = np.full(len(points), 1e-3, np.float32), np.full(len(points), 1e-3, np.float32)
    hair_total, hair_open = np.full(len(hair), 1e-3, np.float32), np.full(len(hair), 1e-3, np.float32)
    flat, flat_hair = np.empty((len(points), 3), np.float32), np.empty((len(hair), 3), np.float32)
    centred, centred_hair = points - MIDDLE, hair - MIDDLE
    skip = 2 if len(strands.first) > 12000 else 1
    for direction in spread(count):
        cam = frame_along(direction)
        scale = np.float32(size / (2 * HALF))
        depth = np.full((size, size), FAR, np.float32)
        project_flat(centred, cam, scale, np.float32(size / 2), flat)
        draw_depth(flat, tri, depth)
        if len(hair):
            project_flat(centred_hair, cam, scale, np.float32(size / 2), flat_hair)
            draw_strand_depth(flat_hair, strands.first, skip, depth)
            _gather(flat_hair, strands.normal, direction.astype(np.float32), depth, 0.75, False, hair_total, hair_open)
        _gather(flat, normals, direction.astype(np.float32), depth, 0.55, True, mesh_total, mesh_open)
    return mesh_open / mesh_total, hair_open / hair_total
