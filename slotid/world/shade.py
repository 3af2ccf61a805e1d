"""Light on every pixel: skin with a soft, reddish terminator, eyes, teeth, cloth, and hair as fibres. Linear light in, linear light out.

``light`` is (5, 3) x 2: directions (key, fill, rim, unused, unused) and colours (key, fill, rim, sky, ground).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from slotid.world.compiled import jit
from slotid.world.paint import hash01, noise3

inline = numba.njit(cache=True, fastmath=True, inline="always")


@inline
def clamp(x, low, high):
    return min(max(x, low), high)


@inline
def ramp(a, b, x):
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@inline
def lobe(x, power):
    """About x**power on 0..1, without the cost (Schlick, "A fast alternative to Phong's specular model", Graphics Gems IV)."""
    t = x / (0.5 * power * (1.0 - x) + x + 1e-6)
    return t * t


@jit
def _surface(n, view, directions, colours, shadow, ao, albedo, wrap, bleed, spec, power, wet, out):
    """Diffuse light with a wrap per channel, ambient from sky and ground, and a highlight. wrap (3,), bleed: reddening of shadow edges."""
    key_shadow_r = shadow + 0.35 * bleed * (math.sqrt(shadow) - shadow)
    ao_r = ao + 0.6 * bleed * (math.sqrt(ao) - ao)
    half_sky = 0.5 + 0.5 * n[1]
    for c in range(3):
        a = ao_r if c == 0 else ao
        out[c] = a * (colours[4, c] + (colours[3, c] - colours[4, c]) * half_sky)
    gloss = 0.0
    glint0, glint1, glint2 = 0.0, 0.0, 0.0
    facing = clamp(n[0] * view[0] + n[1] * view[1] + n[2] * view[2], 0.0, 1.0)
    fresnel = 1.0 + 3.0 * (1.0 - facing) ** 4
    for l in range(3):
        d = n[0] * directions[l, 0] + n[1] * directions[l, 1] + n[2] * directions[l, 2]
        s = shadow if l == 0 else (0.35 + 0.65 * ao if l == 1 else ao)
        for c in range(3):
            w = wrap[c]
            t = clamp((d + w) / (1 + w), 0.0, 1.0)
            sc = s
            if c == 0 and l == 0:
                sc = key_shadow_r
            out[c] += colours[l, c] * t * (0.25 + 0.75 * t) * sc
        hx, hy, hz = directions[l, 0] + view[0], directions[l, 1] + view[1], directions[l, 2] + view[2]
        m = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
        nh = clamp((n[0] * hx + n[1] * hy + n[2] * hz) / m, 0.0, 1.0)
        gloss = spec * fresnel * ((power + 2.0) * 0.09 * lobe(nh, power)) * clamp(d * 4 + 0.1, 0.0, 1.0) * s
        if wet > 0:
            gloss += wet * lobe(nh, power * 9) * clamp(d * 4, 0.0, 1.0) * s
        glint0 += gloss * colours[l, 0]
        glint1 += gloss * colours[l, 1]
        glint2 += gloss * colours[l, 2]
    out[0] = out[0] * albedo[0] + glint0
    out[1] = out[1] * albedo[1] + glint1
    out[2] = out[2] * albedo[2] + glint2


@jit
def _texture(texture, tile, u, v, out):
    size = texture.shape[1]
    x, y = clamp(u * size - 0.5, 0.0, size - 1.001), clamp(v * size - 0.5, 0.0, size - 1.001)
    i, j = int(y), int(x)
    fy, fx = y - i, x - j
    for c in range(4):
        top = texture[tile, i, j, c] * (1 - fx) + texture[tile, i, j + 1, c] * fx
        low = texture[tile, i + 1, j, c] * (1 - fx) + texture[tile, i + 1, j + 1, c] * fx
        out[c] = top * (1 - fy) + low * fy


@jit
def _eye(d, iris, size, pupil, seed, albedo):
    """Paint an eyeball at a direction d from its centre, the pupil at (0, 0, 1). Returns 1 inside the iris, 0 on the white."""
    angle = math.acos(clamp(d[2], -1.0, 1.0))
    edge = size
    turn = math.atan2(d[1], d[0])
    rr = angle / edge
    inside = ramp(1.04, 0.94, rr)
    fibre = 0.72 + 0.55 * noise3(turn * 5.0 + 20, rr * 2.0, 0.0, seed) * (0.6 + 0.4 * hash01(int((turn + 4) * 14), 1, 2, seed))
    bright = fibre * (1.25 - 0.45 * rr) * (1.0 - 0.62 * ramp(0.74, 1.0, rr)) * (1 + 0.35 * ramp(0.62, 0.45, rr))
    hole = ramp(pupil + 0.05, pupil - 0.04, rr)
    red = ramp(0.55, 1.1, abs(d[0])) * 0.25
    white = (0.72, 0.70 - 0.25 * red, 0.66 - 0.25 * red)
    rim = 1.0 - 0.35 * ramp(1.35, 1.0, rr)  # the iris casts a soft edge into the white
    for c in range(3):
        colour = iris[c] * bright * (1 - hole) + 0.006 * hole
        albedo[c] = white[c] * rim * (1 - inside) + colour * inside
    return inside


@jit
def shade(number, bary, view_dirs, points_n, attr, ao, lit, faces, face_part, uv, texture, eye_seed, iris, iris_size, pupil, cloth_rgb,
          frame_rgb, strands_from, first, strand_p, strand_n, strand_along, strand_tint, strand_kind, strand_ao,
          strand_lit, hair_rgb, hair_gloss, directions, colours, mouth_open, seed, picture, cover):  # fmt: skip
    """Fill picture (H, W, 3) and cover (H, W) from the visibility buffer. view_dirs (H, W, 3): from the surface to the camera."""
    height, width = number.shape
    n, albedo, out = np.zeros(3), np.zeros(3), np.zeros(3)
    tex, d = np.zeros(4), np.zeros(3)
    skin_wrap, hard_wrap, soft_wrap = np.array([0.34, 0.15, 0.10]), np.array([0.0, 0.0, 0.0]), np.array([0.15, 0.15, 0.15])
    for y in range(height):
        for x in range(width):
            f = number[y, x]
            if f < 0:
                cover[y, x] = 0.0
                continue
            cover[y, x] = 1.0
            view = view_dirs[y, x]
            b1, b2 = bary[y, x, 0], bary[y, x, 1]
            if f >= strands_from:
                _strand(first[f - strands_from], b1, b2, view, strand_p, strand_n, strand_along, strand_tint, strand_kind, strand_ao,
                        strand_lit, hair_rgb, hair_gloss, directions, colours, out)  # fmt: skip
                for c in range(3):
                    picture[y, x, c] = out[c]
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            b0 = 1 - b1 - b2
            for c in range(3):
                n[c] = b0 * points_n[i, c] + b1 * points_n[j, c] + b2 * points_n[k, c]
            m = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9
            for c in range(3):
                n[c] /= m
            occ = b0 * ao[i] + b1 * ao[j] + b2 * ao[k]
            sun = b0 * lit[i] + b1 * lit[j] + b2 * lit[k]
            ax = b0 * attr[i, 0] + b1 * attr[j, 0] + b2 * attr[k, 0]
            ay = b0 * attr[i, 1] + b1 * attr[j, 1] + b2 * attr[k, 1]
            az = b0 * attr[i, 2] + b1 * attr[j, 2] + b2 * attr[k, 2]
            part = face_part[f]
            if part <= 1:  # skin
                u = b0 * uv[f, 0, 0] + b1 * uv[f, 1, 0] + b2 * uv[f, 2, 0]
                v = b0 * uv[f, 0, 1] + b1 * uv[f, 1, 1] + b2 * uv[f, 2, 1]
                _texture(texture, part, u, v, tex)
                for c in range(3):
                    albedo[c] = tex[c]
                wet = 0.9 * max(tex[3] - 1.4, 0.0)
                _surface(n, view, directions, colours, sun, occ, albedo, skin_wrap, 1.0, 0.055 * tex[3], 14.0, wet, out)
            elif part == 2 or part == 3:  # mouth and gums
                deep = ramp(2.0, 10.5, az) if part == 2 else ramp(3.0, 9.5, az)
                albedo[0], albedo[1], albedo[2] = 0.36, 0.10, 0.10
                if part == 2:
                    albedo[0], albedo[1], albedo[2] = 0.22, 0.05, 0.05
                occ2 = occ * (0.15 + 0.85 * deep)
                _surface(n, view, directions, colours, sun * (0.2 + 0.6 * deep), occ2, albedo, skin_wrap, 0.6, 0.05, 30.0, 0.3, out)
            elif part == 4:
                albedo[0], albedo[1], albedo[2] = 0.66, 0.61, 0.51
                deep = ramp(5.0, 10.3, az)
                _surface(
                    n,
                    view,
                    directions,
                    colours,
                    sun * (0.3 + 0.6 * deep),
                    occ * (0.2 + 0.8 * deep),
                    albedo,
                    soft_wrap,
                    0.3,
                    0.04,
                    40.0,
                    0.2,
                    out,
                )
            elif part == 5 or part == 6:
                m = math.sqrt(ax * ax + ay * ay + az * az) + 1e-9
                d[0], d[1], d[2] = ax / m, ay / m, az / m
                inside = _eye(d, iris, iris_size, pupil, eye_seed, albedo)
                _surface(n, view, directions, colours, 0.35 + 0.65 * sun, occ, albedo, soft_wrap, 0.5, 0.012, 30.0, 0.0, out)
                # the cornea: one small clear highlight of the key light, and a faint one of the sky
                for l in range(2):
                    hx, hy, hz = directions[l, 0] + view[0], directions[l, 1] + view[1], directions[l, 2] + view[2]
                    h = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
                    nh = (n[0] * hx + n[1] * hy + n[2] * hz) / h
                    spot = ramp(0.968, 0.984, nh) * (0.35 + 0.65 * inside) * (1.0 if l == 0 else 0.35)
                    for c in range(3):
                        out[c] += spot * colours[l, c] * (0.3 + 0.7 * sun) * 0.8
            elif part == 7:
                if n[0] * view[0] + n[1] * view[1] + n[2] * view[2] < 0:
                    for c in range(3):
                        n[c] = -n[c]
                weave = 0.93 + 0.14 * noise3(ax * 40, ay * 9, az, seed + 11)
                fold = noise3(math.sin(ax) * 3.2 + 7, math.cos(ax) * 3.2 + ay * 0.16, 0.0, seed + 12) - 0.5
                if az == 1.0:  # ribbed collar
                    weave *= 0.90 + 0.07 * math.sin(ax * 150)
                    fold = 0.0
                for c in range(3):
                    albedo[c] = cloth_rgb[c] * weave * (1 + 0.16 * fold)
                if az == 2.0:
                    for c in range(3):
                        albedo[c] = 0.6 * albedo[c] + 0.25
                n[0] += 0.35 * fold
                n[1] += 0.25 * (noise3(math.sin(ax) * 4 + 3, math.cos(ax) * 4, ay * 0.3, seed + 13) - 0.5) * ramp(1.0, 4.0, ay)
                _surface(n, view, directions, colours, sun, occ, albedo, soft_wrap, 0.0, 0.012, 6.0, 0.0, out)
            else:
                for c in range(3):
                    albedo[c] = frame_rgb[c]
                _surface(n, view, directions, colours, sun, 0.4 + 0.6 * occ, albedo, hard_wrap, 0.0, 0.10, 40.0, 0.0, out)
            for c in range(3):
                picture[y, x, c] = out[c]


@jit
def _strand(i, t, across, view, p, normal, along, tint, kind, ao, lit, rgb, gloss, directions, colours, out):
    """Kajiya-Kay fibre with a tilted coloured second highlight, darker at the root and inside the volume."""
    tx, ty, tz = p[i + 1, 0] - p[i, 0], p[i + 1, 1] - p[i, 1], p[i + 1, 2] - p[i, 2]
    m = math.sqrt(tx * tx + ty * ty + tz * tz) + 1e-9
    tx, ty, tz = tx / m, ty / m, tz / m
    nx = normal[i, 0] + t * (normal[i + 1, 0] - normal[i, 0])
    ny = normal[i, 1] + t * (normal[i + 1, 1] - normal[i, 1])
    nz = normal[i, 2] + t * (normal[i + 1, 2] - normal[i, 2])
    occ = ao[i] + t * (ao[i + 1] - ao[i])
    sun = lit[i] + t * (lit[i + 1] - lit[i])
    s = along[i] + t * (along[i + 1] - along[i])
    kd = kind[i]
    colour = tint[i] * (0.55 + 0.45 * ramp(0.0, 0.35, s) if kd == 0 else 0.9) * (1.0 - 0.25 * across * across)
    half_sky = 0.5 + 0.5 * ny
    g0, g1, g2 = 0.0, 0.0, 0.0
    for c in range(3):
        out[c] = occ * (colours[4, c] + (colours[3, c] - colours[4, c]) * half_sky)
    strength = (0.35 + 0.65 * gloss) * (1.0 if kd == 0 else 0.4)
    for l in range(3):
        lx, ly, lz = directions[l, 0], directions[l, 1], directions[l, 2]
        tl = tx * lx + ty * ly + tz * lz
        fibre = math.sqrt(max(1 - tl * tl, 0.0))
        wrap = clamp((nx * lx + ny * ly + nz * lz + 0.35) / 1.35, 0.0, 1.0)
        s_l = sun if l == 0 else occ
        diffuse = wrap * (0.45 + 0.55 * fibre) * s_l
        hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
        m = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
        th = (tx * hx + ty * hy + tz * hz) / m
        a = th + 0.10
        b = th - 0.14
        first = max(1 - a * a, 0.0)
        first *= first  # to the 32nd
        first *= first
        first *= first
        first *= first
        first *= first
        second = max(1 - b * b, 0.0)
        second *= second  # to the 8th
        second *= second
        second *= second
        seen = clamp((nx * lx + ny * ly + nz * lz) * 2 + 0.3, 0.0, 1.0) * s_l * strength
        for c in range(3):
            out[c] += colours[l, c] * diffuse * 0.95
        g0 += colours[l, 0] * seen * (0.055 * first + 0.55 * second * rgb[kd, 0])
        g1 += colours[l, 1] * seen * (0.055 * first + 0.55 * second * rgb[kd, 1])
        g2 += colours[l, 2] * seen * (0.055 * first + 0.55 * second * rgb[kd, 2])
    out[0] = out[0] * rgb[kd, 0] * colour + g0 * colour
    out[1] = out[1] * rgb[kd, 1] * colour + g1 * colour
    out[2] = out[2] * rgb[kd, 2] * colour + g2 * colour


@jit
def finish(picture, cover, back, shift_x, shift_y, exposure, table, out):
    """Halve the supersampled picture, lay it over the backdrop (linear, larger than the film by a margin), tone-map, encode as sRGB."""
    height, width = out.shape[0], out.shape[1]
    margin_y, margin_x = (back.shape[0] - height) // 2, (back.shape[1] - width) // 2
    last = table.shape[0] - 1
    for y in range(height):
        by = min(max(y + margin_y + shift_y, 0.0), back.shape[0] - 1.001)
        iy = int(by)
        fy = by - iy
        for x in range(width):
            bx = min(max(x + margin_x + shift_x, 0.0), back.shape[1] - 1.001)
            ix = int(bx)
            fx = bx - ix
            c00, c01, c10, c11 = cover[2 * y, 2 * x], cover[2 * y, 2 * x + 1], cover[2 * y + 1, 2 * x], cover[2 * y + 1, 2 * x + 1]
            share = 0.25 * (c00 + c01 + c10 + c11)
            for c in range(3):
                # each sample is tone-mapped before the mean: bright edges stay smooth
                v = 0.0
                if c00 > 0:
                    v += _tone(picture[2 * y, 2 * x, c] * exposure)
                if c01 > 0:
                    v += _tone(picture[2 * y, 2 * x + 1, c] * exposure)
                if c10 > 0:
                    v += _tone(picture[2 * y + 1, 2 * x, c] * exposure)
                if c11 > 0:
                    v += _tone(picture[2 * y + 1, 2 * x + 1, c] * exposure)
                v *= 0.25
                if share < 1:
                    top = back[iy, ix, c] * (1 - fx) + back[iy, ix + 1, c] * fx
                    low = back[iy + 1, ix, c] * (1 - fx) + back[iy + 1, ix + 1, c] * fx
                    v += (1 - share) * _tone((top * (1 - fy) + low * fy) * exposure)
                out[y, x, c] = table[int(min(max(v, 0.0), 1.0) * last + 0.5)]


@jit
def _tone(x):
    """Straight up to 0.5, then a shoulder that reaches 1 slowly."""
    if x < 0.5:
        return x
    return 0.5 + 0.5 * (1.0 - math.exp(-(x - 0.5) / 0.5))


def srgb_table(size: int = 8192) -> np.ndarray:
    """(size,) uint8: linear 0..1 to sRGB 0..255."""
    x = np.linspace(0, 1, size)
    return np.round(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)
