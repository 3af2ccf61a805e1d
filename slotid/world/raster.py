"""Geometry in numba: deform, turn, project, normals, and which triangle or strand each pixel sees.

Nothing here knows colours. A picture is a visibility buffer: per pixel a depth, a number (triangle, or ``strands_from`` + segment) and
two coordinates inside it; ``shade.py`` looks the rest up. All loops are sequential, so the same input gives the same bits.
"""

from __future__ import annotations

import math

import numpy as np

from slotid.world.compiled import jit

EMPTY = -1
FAR = np.float32(1e9)


@jit
def deform(base, start, index, offset, weights, out):
    """out = base + sum of weighted sparse expressions. start (E+1,), index (N,), offset (N, 3), weights (E,)."""
    out[:] = base
    for e in range(weights.shape[0]):
        w = weights[e]
        if abs(w) > 1e-4:
            for k in range(start[e], start[e + 1]):
                i = index[k]
                out[i, 0] += w * offset[k, 0]
                out[i, 1] += w * offset[k, 1]
                out[i, 2] += w * offset[k, 2]


@jit
def turn_some(points, which, centre, matrix):
    """Rotate the points numbered ``which`` about a centre, in place (eyeballs)."""
    for n in range(which.shape[0]):
        i = which[n]
        x, y, z = points[i, 0] - centre[0], points[i, 1] - centre[1], points[i, 2] - centre[2]
        for c in range(3):
            points[i, c] = centre[c] + matrix[c, 0] * x + matrix[c, 1] * y + matrix[c, 2] * z


def head_levels(yaw: float, pitch: float, roll: float, levels: int = 33) -> np.ndarray:
    """(levels, 3, 3) float32 rotations for 0..1 of the head's turn: degrees, yaw to the picture's right, pitch up, roll clockwise."""
    s = np.linspace(0, 1, levels)
    y, p, r = (np.radians(a) * s for a in (yaw, pitch, roll))
    zero, one = np.zeros_like(s), np.ones_like(s)
    about_y = np.array([[np.cos(y), zero, np.sin(y)], [zero, one, zero], [-np.sin(y), zero, np.cos(y)]]).transpose(2, 0, 1)
    about_x = np.array([[one, zero, zero], [zero, np.cos(p), np.sin(p)], [zero, -np.sin(p), np.cos(p)]]).transpose(2, 0, 1)
    about_z = np.array([[np.cos(r), np.sin(r), zero], [-np.sin(r), np.cos(r), zero], [zero, zero, one]]).transpose(2, 0, 1)
    return (about_y @ about_x @ about_z).astype(np.float32)


@jit
def turn_head(points, weight, levels, pivot, out):
    """Turn every point about the neck by its own share (weight 0..1) of the head's turn."""
    top = levels.shape[0] - 1
    for i in range(points.shape[0]):
        s = weight[i] * top
        k = min(int(s), top - 1)
        f = s - k
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        for c in range(3):
            a = levels[k, c, 0] * x + levels[k, c, 1] * y + levels[k, c, 2] * z
            b = levels[k + 1, c, 0] * x + levels[k + 1, c, 1] * y + levels[k + 1, c, 2] * z
            out[i, c] = pivot[c] + a + (b - a) * f


@jit
def follow_roots(rest, root, moved, skin_rest, out):
    """Strand points follow the skin point they grow from: out = rest + (moved - skin_rest)[root]."""
    for i in range(rest.shape[0]):
        r = root[i]
        for c in range(3):
            out[i, c] = rest[i, c] + moved[r, c] - skin_rest[r, c]


@jit
def project(points, cam, eye, scale, cx, cy, out):
    """out (N, 3): pixel x, pixel y (down), depth in cm. ``cam`` (3, 3) rows right, up, back; ``eye`` the camera; scale px per tangent."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - eye[0], points[i, 1] - eye[1], points[i, 2] - eye[2]
        u = cam[0, 0] * x + cam[0, 1] * y + cam[0, 2] * z
        v = cam[1, 0] * x + cam[1, 1] * y + cam[1, 2] * z
        d = -(cam[2, 0] * x + cam[2, 1] * y + cam[2, 2] * z)
        out[i, 0] = cx + scale * u / d
        out[i, 1] = cy - scale * v / d
        out[i, 2] = d


@jit
def project_flat(points, cam, scale, half, out):
    """Parallel projection along -cam[2] for shadow maps: pixel x, pixel y, depth growing away from the light."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        out[i, 0] = half + scale * (cam[0, 0] * x + cam[0, 1] * y + cam[0, 2] * z)
        out[i, 1] = half - scale * (cam[1, 0] * x + cam[1, 1] * y + cam[1, 2] * z)
        out[i, 2] = -(cam[2, 0] * x + cam[2, 1] * y + cam[2, 2] * z)


@jit
def vertex_normals(points, faces, out):
    """Area-weighted unit normals."""
    out[:] = 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(points.shape[0]):
        n = math.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + 1e-12
        out[i, 0] /= n
        out[i, 1] /= n
        out[i, 2] /= n


@jit
def draw_triangles(p, faces, cull, depth, number, bary):
    """Z-buffered triangles. p (V, 3) from ``project``; cull (F,) 1 drops triangles seen from behind; buffers (H, W), bary (H, W, 2)."""
    height, width = depth.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, qx, qy = p[a, 0], p[a, 1], p[b, 0], p[b, 1], p[c, 0], p[c, 1]
        area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)  # y points down: front faces have negative area
        if area == 0 or (area > 0 and cull[f] == 1):
            continue
        x0, x1 = max(int(math.ceil(min(ax, bx, qx) - 0.5)), 0), min(int(math.floor(max(ax, bx, qx) - 0.5)), width - 1)
        y0, y1 = max(int(math.ceil(min(ay, by, qy) - 0.5)), 0), min(int(math.floor(max(ay, by, qy) - 0.5)), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        inv = 1.0 / area
        za, zb, zc = p[a, 2], p[b, 2], p[c, 2]
        for y in range(y0, y1 + 1):
            py = y + 0.5
            for x in range(x0, x1 + 1):
                px = x + 0.5
                u = ((qx - px) * (ay - py) - (qy - py) * (ax - px)) * inv  # weight of b
                v = ((ax - px) * (by - py) - (ay - py) * (bx - px)) * inv  # weight of c
                if u >= 0 and v >= 0 and u + v <= 1:
                    z = za + u * (zb - za) + v * (zc - za)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        number[y, x] = f
                        bary[y, x, 0] = u
                        bary[y, x, 1] = v


@jit
def draw_strands(p, first, half, px_per_cm, least, deep, strands_from, depth, number, bary):
    """Z-buffered ribbons that face the camera. first (S,) segment start points; half (N,) half width in cm; least: smallest half width, px;
    deep: cm behind what is drawn already from which a segment is taken as hidden."""
    height, width = depth.shape
    for s in range(first.shape[0]):
        i = first[s]
        ax, ay, bx, by = p[i, 0], p[i, 1], p[i + 1, 0], p[i + 1, 1]
        ra, rb = max(half[i] * px_per_cm, least), max(half[i + 1] * px_per_cm, least)
        r = max(ra, rb)
        x0, x1 = max(int(math.ceil(min(ax, bx) - r - 0.5)), 0), min(int(math.floor(max(ax, bx) + r - 0.5)), width - 1)
        y0, y1 = max(int(math.ceil(min(ay, by) - r - 0.5)), 0), min(int(math.floor(max(ay, by) + r - 0.5)), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        dx, dy = bx - ax, by - ay
        inv = np.float32(1.0) / (dx * dx + dy * dy + np.float32(1e-9))
        inv_len = math.sqrt(inv)
        za, zb = p[i, 2], p[i + 1, 2]
        mx, my = min(max(int(0.5 * (ax + bx)), 0), width - 1), min(max(int(0.5 * (ay + by)), 0), height - 1)
        if min(za, zb) > depth[my, mx] + deep:  # well behind what is already there
            continue
        steep = abs(dy) > 1e-3
        slope = dx / dy if steep else 0.0
        reach_x = r / (abs(dy) * inv_len) if steep else 1e9
        for y in range(y0, y1 + 1):
            ey = y + np.float32(0.5) - ay
            xa, xb = x0, x1
            if steep:  # the row's own part of the ribbon
                mid = ax + ey * slope - 0.5
                xa, xb = max(xa, int(math.floor(mid - reach_x))), min(xb, int(math.ceil(mid + reach_x)))
            for x in range(xa, xb + 1):
                ex = x + np.float32(0.5) - ax
                t = min(max((ex * dx + ey * dy) * inv, np.float32(0.0)), np.float32(1.0))
                ox, oy = ex - t * dx, ey - t * dy
                reach = ra + t * (rb - ra)
                if ox * ox + oy * oy <= reach * reach:
                    z = za + t * (zb - za)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        number[y, x] = strands_from + s
                        bary[y, x, 0] = t
                        bary[y, x, 1] = (ex * dy - ey * dx) * inv_len / reach


@jit
def draw_depth(p, faces, depth):
    """Depth only, for shadow maps."""
    height, width = depth.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, qx, qy = p[a, 0], p[a, 1], p[b, 0], p[b, 1], p[c, 0], p[c, 1]
        area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
        if area == 0:
            continue
        x0, x1 = max(int(math.ceil(min(ax, bx, qx) - 0.5)), 0), min(int(math.floor(max(ax, bx, qx) - 0.5)), width - 1)
        y0, y1 = max(int(math.ceil(min(ay, by, qy) - 0.5)), 0), min(int(math.floor(max(ay, by, qy) - 0.5)), height - 1)
        inv = 1.0 / area
        za, zb, zc = p[a, 2], p[b, 2], p[c, 2]
        for y in range(y0, y1 + 1):
            py = y + 0.5
            for x in range(x0, x1 + 1):
                px = x + 0.5
                u = ((qx - px) * (ay - py) - (qy - py) * (ax - px)) * inv
                v = ((ax - px) * (by - py) - (ay - py) * (bx - px)) * inv
                if u >= 0 and v >= 0 and u + v <= 1:
                    z = za + u * (zb - za) + v * (zc - za)
                    if z < depth[y, x]:
                        depth[y, x] = z


@jit
def draw_strand_depth(p, first, skip, depth):
    """Every ``skip``-th segment as a line of pixels one wide, for shadow maps."""
    height, width = depth.shape
    for s in range(0, first.shape[0], skip):
        i = first[s]
        ax, ay, az = p[i, 0], p[i, 1], p[i, 2]
        dx, dy, dz = p[i + 1, 0] - ax, p[i + 1, 1] - ay, p[i + 1, 2] - az
        n = int(max(abs(dx), abs(dy))) + 1
        for k in range(n + 1):
            t = k / n
            x, y, z = int(ax + t * dx), int(ay + t * dy), az + t * dz
            if 0 <= x < width and 0 <= y < height and z < depth[y, x]:
                depth[y, x] = z


@jit
def mark_seen(number, faces, first, seen_mesh, seen_hair):
    """Which points the picture needs: corners of drawn triangles and of their neighbours (for ``even_out``), ends of drawn segments."""
    seen_mesh[:] = 0
    seen_hair[:] = 0
    count = faces.shape[0]
    for y in range(number.shape[0]):
        for x in range(number.shape[1]):
            f = number[y, x]
            if f >= count:
                i = first[f - count]
                seen_hair[i] = 1
                seen_hair[i + 1] = 1
            elif f >= 0:
                for c in range(3):
                    seen_mesh[faces[f, c]] = 2
    for f in range(count):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if seen_mesh[a] == 2 or seen_mesh[b] == 2 or seen_mesh[c] == 2:
            seen_mesh[a], seen_mesh[b], seen_mesh[c] = max(seen_mesh[a], 1), max(seen_mesh[b], 1), max(seen_mesh[c], 1)


@jit
def lit_share(p, depth, bias, radius, taps, wanted, out):
    """Share of the light that reaches each wanted point: ``taps`` x ``taps`` samples of the shadow map over +-radius px, soft in depth.

    The depth test ramps over ``bias`` cm, so that neither facets nor thin strands flicker. ``wanted`` (N,) 0: left as it is.
    """
    height, width = depth.shape
    for i in range(p.shape[0]):
        if wanted[i] == 0:
            continue
        x, y, z = p[i, 0], p[i, 1], p[i, 2]
        got = 0.0
        for a in range(taps):
            sy = y + radius * (2.0 * a / (taps - 1) - 1.0)
            for b in range(taps):
                sx = x + radius * (2.0 * b / (taps - 1) - 1.0)
                ix, iy = int(sx), int(sy)
                if 0 <= ix < width and 0 <= iy < height:
                    d = z - depth[iy, ix]
                    got += 1.0 - min(max((d - bias) / bias, 0.0), 1.0)
                else:
                    got += 1.0
        out[i] = got / (taps * taps)


@jit
def even_out(values, faces, tally):
    """Replace each vertex's value by the mean over its triangles, in place: shadows of single strands do not speckle the skin."""
    tally[:] = 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        mean = (values[a] + values[b] + values[c]) / 3
        for k in (a, b, c):
            tally[0, k] += mean
            tally[1, k] += 1
    for i in range(values.shape[0]):
        if tally[1, i] > 0:
            values[i] = tally[0, i] / tally[1, i]
