"""Paints skin: one albedo texture per person, in the model's own texture layout, from positions on the mean head.

Texture (2, R, R, 4) float32: tile 0 the face, tile 1 the back of the head and neck; linear red, green, blue and a shine factor.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from slotid.world.barber import brow_curve
from slotid.world.compiled import jit
from slotid.world.hair import STYLES, bearded, scalp, smooth
from slotid.world.kit import Kit
from slotid.world.looks import BEARDS, Looks
from slotid.world.raster import EMPTY, FAR, draw_triangles
from slotid.world.rig import FACE, HEAD, rig_of


def to_linear(srgb) -> np.ndarray:
    """sRGB 0..1 to linear light."""
    c = np.asarray(srgb, np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


@jit
def hash01(x, y, z, seed):
    """0..1 from three integers."""
    h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791) ^ (seed * 2654435761)
    h = (h ^ (h >> 13)) * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFFFF) / 16777215.0


@jit
def noise3(x, y, z, seed):
    """Smooth value noise 0..1 with cells of unit size."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(i), int(j), int(k)
    total = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                g = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                total += g * hash01(i + a, j + b, k + c, seed)
    return total


@lru_cache(maxsize=4)
def texels(kit: Kit, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each texel lies: (N, 3) mean-head positions and (N,) flat texel numbers in the (2, R, R) texture, with a border of one."""
    rig = rig_of(kit)
    where = np.zeros((2, size, size, 3), np.float32)
    filled = np.zeros((2, size, size), bool)
    for tile, part in enumerate((FACE, HEAD)):
        tri = np.flatnonzero(rig.face_part == part)
        if not len(tri):
            continue
        corners = rig.uv[tri].reshape(-1, 2)
        p = np.concatenate([corners * size, np.ones((len(corners), 1), np.float32)], 1).astype(np.float32)
        depth, number = np.full((size, size), FAR, np.float32), np.full((size, size), EMPTY, np.int32)
        bary = np.zeros((size, size, 2), np.float32)
        faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
        draw_triangles(p, faces, np.zeros(len(faces), np.int8), depth, number, bary)
        on = number >= 0
        v = rig.neutral[rig.faces[tri[number[on]]]]
        u, w = bary[on][:, :1], bary[on][:, 1:]
        where[tile][on] = v[:, 0] * (1 - u - w) + v[:, 1] * u + v[:, 2] * w
        filled[tile] = on
        for _ in range(3):  # grow over the edges, so that looking up between texels never meets a hole
            for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
                near, full = np.roll(where[tile], step, axis), np.roll(filled[tile], step, axis)
                take = full & ~filled[tile]
                where[tile][take] = near[take]
                filled[tile] |= take
    flat = np.flatnonzero(filled)
    return where.reshape(-1, 3)[flat], flat


@jit
def _inside(px, py, poly):
    """Signed distance to a closed polygon in x and y, negative inside."""
    best, odd, n = 1e9, False, poly.shape[0]
    for k in range(n):
        ax, ay = poly[k, 0], poly[k, 1]
        bx, by = poly[(k + 1) % n, 0], poly[(k + 1) % n, 1]
        ex, ey = bx - ax, by - ay
        t = min(max(((px - ax) * ex + (py - ay) * ey) / (ex * ex + ey * ey + 1e-9), 0.0), 1.0)
        d = (px - ax - t * ex) ** 2 + (py - ay - t * ey) ** 2
        best = min(best, d)
        if (ay > py) != (by > py) and px < ex * (py - ay) / (by - ay) + ax:
            odd = not odd
    d = math.sqrt(best)
    return -d if odd else d


@jit
def _along(px, py, line):
    """Distance to an open line and the place 0..1 along it."""
    best, place, n = 1e9, 0.0, line.shape[0]
    for k in range(n - 1):
        ax, ay = line[k, 0], line[k, 1]
        ex, ey = line[k + 1, 0] - ax, line[k + 1, 1] - ay
        t = min(max(((px - ax) * ex + (py - ay) * ey) / (ex * ex + ey * ey + 1e-9), 0.0), 1.0)
        d = (px - ax - t * ex) ** 2 + (py - ay - t * ey) ** 2
        if d < best:
            best, place = d, (k + t) / (n - 1)
    return math.sqrt(best), place


@jit
def _blob(x, y, z, cx, cy, cz, r):
    return math.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (r * r))


@jit
def _paint(
    where, skin, lips, hair, brow_hair, beard_hair, q, lip_poly, lid_polys, brows, moles, beard_code, style_recede, has_hair, seed, out
):
    """q: redness, gloss, mottle, blush, freckles, circles, lip red, lip dark, hairline, brow thick, brow dark, lashes, beard, melanin."""
    fair = 1.0 - q[13]
    for i in range(where.shape[0]):
        x, y, z = where[i, 0], where[i, 1], where[i, 2]
        ax = abs(x)
        r, g, b = skin[0], skin[1], skin[2]
        shine = 0.55 + 0.55 * q[1]
        # slow unevenness and fine grain
        m = (noise3(x * 0.55 + 9, y * 0.55, z * 0.55, seed) - 0.5) * (0.10 + 0.16 * q[2])
        m += (noise3(x * 2.1, y * 2.1 + 5, z * 2.1, seed) - 0.5) * (0.05 + 0.12 * q[2])
        m += (noise3(x * 7.0, y * 7.0, z * 7.0, seed) - 0.5) * 0.07
        r, g, b = r * (1 + 0.75 * m), g * (1 + m), b * (1 + 1.1 * m)
        if z > 0:
            nose = _blob(x, y, z, 0.0, 0.4, 12.8, 2.1)
            cheek = _blob(ax, y, z, 5.0, -0.3, 9.0, 2.5)
            chin = _blob(x, y, z, 0.0, -6.6, 10.4, 1.7)
            blood = (0.14 + 0.10 * q[0]) * nose + (0.10 + 0.34 * q[3]) * cheek + 0.07 * chin
            blood *= 0.35 + 0.65 * fair
            r, g, b = r * (1 + 0.10 * blood), g * (1 - 0.62 * blood), b * (1 - 0.50 * blood)
            shine *= 1 + 0.55 * nose + 0.35 * _blob(x, y, z, 0.0, 9.0, 10.0, 3.5)
            under = math.exp(-(((ax - 3.0) / 1.5) ** 2) - ((y - 2.35) / 0.55) ** 2) * smooth(7.0, 8.5, z)
            lid = math.exp(-(((ax - 3.2) / 1.6) ** 2) - ((y - 4.3) / 0.6) ** 2) * smooth(7.0, 8.5, z)
            dark = 0.06 + 0.30 * q[5]
            r, g, b = r * (1 - 0.7 * dark * under), g * (1 - dark * under), b * (1 - 0.85 * dark * under)
            r, g, b = r * (1 - 0.08 * lid), g * (1 - 0.17 * lid), b * (1 - 0.14 * lid)
            if q[4] > 0:
                spread = math.exp(-(((ax - 3.2) / 3.6) ** 2) - ((y - 0.8) / 2.4) ** 2) + 0.15
                for layer in range(2):
                    cell = 0.34 + 0.22 * layer
                    fx, fy = x / cell + 100.5, y / cell + 100.5
                    ix, iy = int(fx), int(fy)
                    h = hash01(ix, iy, layer, seed + 3)
                    if h < 0.75 * q[4] * spread:
                        ox, oy = hash01(ix, iy, 7, seed) * 0.5 + 0.25, hash01(ix, iy, 8, seed) * 0.5 + 0.25
                        d = math.sqrt((fx - ix - ox) ** 2 + (fy - iy - oy) ** 2)
                        f = smooth(0.30, 0.12, d) * (0.16 + 0.26 * hash01(ix, iy, 9, seed)) * (0.4 + 0.6 * fair)
                        r, g, b = r * (1 - 0.6 * f), g * (1 - f), b * (1 - 1.2 * f)
            for k in range(moles.shape[0]):
                d = math.sqrt((x - moles[k, 0]) ** 2 + (y - moles[k, 1]) ** 2)
                f = smooth(moles[k, 2], 0.6 * moles[k, 2], d) * 0.72
                r, g, b = r * (1 - 0.75 * f), g * (1 - f), b * (1 - f)
        if ax > 7.6 and y < 5 and y > -3 and z < 3:  # ears are red
            e = 0.22 * (0.3 + 0.7 * fair)
            r, g, b = r * 1.02, g * (1 - e), b * (1 - 0.8 * e)
        if z > 8.0 and ax < 3.4 and y < -1.6 and y > -5.4:
            d = _inside(x, y, lip_poly)
            edge = smooth(0.13, -0.13, d + 0.05 * (noise3(x * 4, y * 4, 0.0, seed) - 0.5))
            if edge > 0:
                crease = 1 - 0.13 * smooth(0.45, 0.75, noise3(x * 7.5, y * 1.2, 3.0, seed)) - 0.10 * math.exp(-(((y + 3.35) / 0.25) ** 2))
                r = r * (1 - edge) + lips[0] * crease * edge
                g = g * (1 - edge) + lips[1] * crease * edge
                b = b * (1 - edge) + lips[2] * crease * edge
                shine = shine * (1 - edge) + (1.6 + 0.9 * q[6]) * edge
            elif d < 0.5:  # the fold around the lips
                f = 0.06 * smooth(0.5, 0.15, d)
                r, g, b = r * (1 - 0.6 * f), g * (1 - f), b * (1 - f)
        if z > 7.5 and y > 1.8 and y < 5.2 and ax > 1.2 and ax < 5.4:
            side = 0 if x < 0 else 1
            d = _inside(x, y, lid_polys[side])
            above = 1.0 if y > 3.45 else 0.45
            line = smooth(0.19, 0.04, abs(d)) * (0.45 + 0.45 * q[11]) * above
            r, g, b = r * (1 - 0.9 * line), g * (1 - 0.95 * line), b * (1 - 0.93 * line)
        if z > 6 and y > 3.6 and y < 8.6:
            side = 0 if x < 0 else 1
            d, s = _along(x, y, brows[side])
            thick = (0.20 + 0.38 * q[9]) * (0.7 + 2.5 * s if s < 0.12 else 1.0 - 0.62 * max(s - 0.3, 0.0) / 0.7)
            f = smooth(thick + 0.22, thick * 0.4, d) * (0.30 + 0.35 * q[10]) * smooth(0.0, 0.10, s + 0.04)
            f *= 0.55 + 0.9 * (noise3(x * 5 + y * 2.5, y * 1.5, 0.0, seed + 5) - 0.2)
            f = min(max(f, 0.0), 0.85)
            r, g, b = r * (1 - f) + brow_hair[0] * f, g * (1 - f) + brow_hair[1] * f, b * (1 - f) + brow_hair[2] * f
        if beard_code > 0:
            f = bearded(x, y, z, beard_code) * q[12]
            if f > 0:
                f *= 0.65 + 0.7 * (noise3(x * 9, y * 9, z * 9, seed + 6) - 0.25)
                f = min(max(f, 0.0), 0.92)
                r, g, b = r * (1 - f) + beard_hair[0] * f, g * (1 - f) + beard_hair[1] * f, b * (1 - f) + beard_hair[2] * f
                shine *= 1 - 0.6 * f
        if has_hair > 0:
            f = scalp(x, y, z, q[8], style_recede) * has_hair
            f *= 0.95 + 0.3 * (noise3(x * 6, y * 6, z * 6, seed + 8) - 0.4)
            f = min(max(f, 0.0), 0.98)
            r, g, b = r * (1 - f) + hair[0] * f, g * (1 - f) + hair[1] * f, b * (1 - f) + hair[2] * f
            shine *= 1 - 0.8 * f
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = max(r, 0.004), max(g, 0.004), max(b, 0.004), shine


def _closed(points: np.ndarray, steps: int = 4) -> np.ndarray:
    """Catmull-Rom through a closed ring of points (n, 2)."""
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (np.roll(points, k, 0)[:, None] for k in (1, 0, -1, -2))
    return (0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)).reshape(-1, 2)


def lip_colour(looks: Looks) -> np.ndarray:
    """(3,) linear albedo of the lips: the skin's own, redder and darker, redder still with colour on them."""
    skin = to_linear(looks.skin_rgb)
    bare = skin * np.array([0.80, 0.50, 0.52]) * (1 - 0.30 * looks.lip_dark)
    bold = np.array([0.42, 0.045, 0.06]) * (0.45 + 0.75 * (1 - looks.melanin)) * (1 - 0.4 * looks.lip_dark)
    k = max(looks.lip_red - 0.35, 0.0) * 1.25
    return bare * (1 - k) + bold * k


def hair_colours(looks: Looks) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Linear albedo of scalp hair, brows, beard and lashes."""
    hair = to_linear(looks.hair_rgb)
    silver = to_linear(np.array([0.72, 0.72, 0.73]))
    brow = hair * (0.95 - 0.6 * looks.brow_dark * (hair.mean() > 0.06)) * (0.75 if looks.grey < 0.3 else 0.6)
    beard = hair * 0.85 * (1 - looks.beard_grey) / max(1 - 0.8 * looks.grey, 0.2) + silver * looks.beard_grey
    return hair, brow, np.minimum(beard, 0.6), np.minimum(hair * 0.4, 0.03)


def paint_skin(kit: Kit, looks: Looks, size: int) -> np.ndarray:
    """(2, size, size, 4) float32 albedo (linear) and shine of this person's skin."""
    rig = rig_of(kit)
    where, flat = texels(kit, size)
    marks = rig.neutral[rig.landmarks]
    lip_poly = _closed(marks[48:60, :2].astype(np.float64))
    lids = np.stack([_closed(marks[36:42, :2].astype(np.float64)), _closed(marks[42:48, :2].astype(np.float64))])
    brows = np.stack([brow_curve(rig, looks, side)[:, :2] for side in (0, 1)])
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([looks.seed, 1, 9])))
    moles = np.stack([rng.uniform(-6, 6, looks.moles), rng.uniform(-6.5, 9, looks.moles), rng.uniform(0.09, 0.2, looks.moles)], 1)
    hair, brow, beard, _ = hair_colours(looks)
    cover = {"bald": 0.0, "buzz": 0.8, "receding": 0.72}.get(looks.hair_style, 0.97)
    style = STYLES.get(looks.hair_style)
    strength = {"none": 0.0, "stubble": 0.30 + 0.3 * looks.beard_length, "moustache": 0.7, "goatee": 0.75}.get(looks.beard, 0.82)
    skin = to_linear(looks.skin_rgb)
    q = [looks.redness, looks.gloss, looks.mottle, looks.blush, looks.freckles, looks.circles, looks.lip_red, looks.lip_dark]
    q += [looks.hairline, looks.brow_thick, looks.brow_dark, looks.lashes, strength, looks.melanin]
    out = np.zeros((len(where), 4), np.float32)
    stubble = np.minimum(beard, skin * 0.55) if looks.beard == "stubble" else beard * 0.8
    code = BEARDS.index(looks.beard)
    root = hair * (0.75 if looks.hair_style in ("buzz", "receding") else 0.55)
    _paint(
        where, skin, lip_colour(looks), root, brow * 0.9, stubble, np.array(q), lip_poly, lids, brows, moles,
        code, style.recede if style else 0.0, cover, looks.seed % 100003, out,
    )  # fmt: skip
    texture = np.zeros((2 * size * size, 4), np.float32)
    texture[:, :3] = skin
    texture[:, 3] = 0.7
    texture[flat] = out
    return texture.reshape(2, size, size, 4)
