"""What is behind a person: painted once per scene in linear light, out of focus as a portrait lens leaves it."""

from __future__ import annotations

import numpy as np

from slotid.world.paint import to_linear
from slotid.world.scene import Scene

MARGIN = 0.08  # share of the side by which the backdrop reaches past the film on each side, for hand-held motion


def _blur(a: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W, C), edges repeated."""
    if sigma < 0.3:
        return a
    r = int(3 * sigma + 1)
    k = np.exp(-0.5 * (np.arange(-r, r + 1) / sigma) ** 2)
    k = (k / k.sum()).astype(np.float32)
    for axis in (0, 1):
        pad = [(r, r) if i == axis else (0, 0) for i in range(3)]
        wide = np.pad(a, pad, mode="edge")
        a = sum(k[i] * (wide[i : i + a.shape[0]] if axis == 0 else wide[:, i : i + a.shape[1]]) for i in range(2 * r + 1))
    return a


def _clouds(rng, n: int, cells: int) -> np.ndarray:
    """(n, n) smooth noise 0..1, two octaves."""
    out = np.zeros((n, n))
    for octave, gain in ((cells, 0.65), (2 * cells, 0.35)):
        g = rng.random((octave + 2, octave + 2))
        at = np.linspace(0, octave, n)
        i = np.minimum(at.astype(int), octave)
        f = (at - i) ** 2 * (3 - 2 * (at - i))
        rows = g[i] * (1 - f)[:, None] + g[i + 1] * f[:, None]
        out += gain * (rows[:, i] * (1 - f) + rows[:, i + 1] * f)
    return out


class _Canvas:
    def __init__(self, n: int, rng: np.random.Generator):
        self.n, self.rng = n, rng
        self.y, self.x = np.mgrid[0:n, 0:n] / (n - 1)
        self.a = np.zeros((n, n, 3))

    def fill(self, top, bottom) -> None:
        self.a[:] = np.asarray(top) * (1 - self.y[..., None]) + np.asarray(bottom) * self.y[..., None]

    def box(self, x0, y0, x1, y1, rgb) -> None:
        on = (self.x >= x0) & (self.x < x1) & (self.y >= y0) & (self.y < y1)
        self.a[on] = rgb

    def disc(self, cx, cy, r, rgb, alpha: float = 1.0) -> None:
        d = np.hypot(self.x - cx, self.y - cy)
        m = (np.clip((r - d) / (0.12 * r + 1e-6), 0, 1) * alpha)[..., None]
        self.a[:] = self.a * (1 - m) + np.asarray(rgb) * m


def _wall(c: _Canvas, rgb) -> float:
    base = to_linear(rgb) * c.rng.uniform(0.85, 1.1)
    side = c.rng.uniform(-0.25, 0.25)
    c.a[:] = base * (1 + side * (c.x - 0.5) - 0.12 * c.y)[..., None]
    c.a *= (1 + 0.06 * (_clouds(c.rng, c.n, 5) - 0.5))[..., None]
    return 1.0


def _gradient(c: _Canvas) -> float:
    tone = np.array([(0.30, 0.42, 0.62), (0.55, 0.40, 0.52), (0.30, 0.50, 0.48), (0.62, 0.50, 0.36), (0.42, 0.40, 0.60)])[c.rng.integers(5)]
    d = np.hypot(c.x - c.rng.uniform(0.3, 0.7), c.y - c.rng.uniform(0.25, 0.55))
    c.a[:] = to_linear(tone) * (1.5 - 1.45 * np.clip(d, 0, 0.85))[..., None]
    return 0.5


def _living_room(c: _Canvas) -> float:
    r = c.rng
    c.fill(to_linear((0.80, 0.74, 0.66)) * r.uniform(0.6, 0.9), to_linear((0.72, 0.64, 0.55)) * 0.6)
    f = r.choice([-1, 1])
    x = 0.5 + f * r.uniform(0.28, 0.38)
    c.box(0.5 - f * 0.3 - 0.14, 0.12, 0.5 - f * 0.3 + 0.12, 0.36, to_linear((0.30, 0.36, 0.42)))  # a picture
    c.box(0.5 - f * 0.3 - 0.12, 0.14, 0.5 - f * 0.3 + 0.10, 0.34, to_linear(r.uniform(0.4, 0.8, 3)))
    c.box(0, 0.66, 1, 1, to_linear((0.42, 0.34, 0.36)) * r.uniform(0.6, 1.1))  # a sofa
    c.box(x - 0.015, 0.4, x + 0.015, 0.75, to_linear((0.25, 0.2, 0.16)))
    c.disc(x, 0.36, 0.13, np.array([1.5, 1.05, 0.55]) * 0.9)  # a lamp
    c.disc(x, 0.36, 0.30, np.array([1.0, 0.7, 0.4]), 0.25)
    return 3.2


def _office(c: _Canvas) -> float:
    r = c.rng
    c.fill(to_linear((0.74, 0.77, 0.80)), to_linear((0.55, 0.58, 0.62)))
    for k in range(5):
        x = k / 5 + r.uniform(0, 0.06)
        c.box(x, 0.05, x + 0.13, 0.5, np.array([0.55, 0.68, 0.85]) * r.uniform(0.8, 1.5))
    c.box(0, 0.62, 1, 0.66, to_linear((0.85, 0.85, 0.85)))
    c.box(0, 0.66, 1, 1, to_linear((0.36, 0.40, 0.46)))
    for k in range(3):
        x = 0.02 + 0.36 * k + r.uniform(0, 0.1)
        c.box(x, 0.46, x + 0.17, 0.61, to_linear((0.10, 0.11, 0.13)))
        c.box(x + 0.01, 0.47, x + 0.16, 0.59, to_linear(r.uniform(0.3, 0.75, 3)))
    return 2.6


def _bookshelf(c: _Canvas) -> float:
    r = c.rng
    wood = to_linear((0.40, 0.27, 0.18)) * r.uniform(0.7, 1.3)
    c.a[:] = wood * 0.45
    rows = int(r.integers(4, 6))
    for row in range(rows):
        y0, y1 = row / rows, (row + 1) / rows
        x = 0.0
        while x < 1:
            w = r.uniform(0.018, 0.05)
            if r.random() < 0.88:
                rgb = to_linear(
                    np.array(
                        [
                            (0.62, 0.22, 0.18),
                            (0.20, 0.34, 0.48),
                            (0.75, 0.66, 0.48),
                            (0.25, 0.42, 0.30),
                            (0.52, 0.42, 0.34),
                            (0.82, 0.80, 0.74),
                        ]
                    )[r.integers(6)]
                )
                c.box(x, y0 + (y1 - y0) * r.uniform(0.12, 0.35), x + w * 0.92, y1, rgb * r.uniform(0.45, 0.95))
            x += w
        c.box(0, y1 - 0.02, 1, y1 + 0.006, wood)
    return 1.8


def _window(c: _Canvas) -> float:
    r = c.rng
    _wall(c, (0.70, 0.66, 0.62))
    c.a *= 0.7
    x0, x1 = r.uniform(0.02, 0.16), r.uniform(0.84, 0.98)
    c.box(x0, 0.04, x1, 0.74, np.array([0.95, 1.10, 1.30]) * 1.15)
    low = (c.y > 0.44) & (c.y < 0.74) & (c.x > x0) & (c.x < x1)
    c.a[low] = (np.array([0.42, 0.62, 0.36]) * (0.6 + 0.8 * _clouds(r, c.n, 9)[..., None]))[low]
    frame = to_linear((0.86, 0.84, 0.80)) * 0.8
    for k in range(4):
        x = x0 + (x1 - x0) * k / 3
        c.box(x - 0.013, 0.02, x + 0.013, 0.76, frame)
    c.box(x0, 0.36, x1, 0.385, frame)
    c.box(x0 - 0.02, 0.73, x1 + 0.02, 0.77, frame)
    return 2.2


def _garden(c: _Canvas) -> float:
    r = c.rng
    c.fill(np.array([0.55, 0.78, 1.05]) * 1.05, np.array([0.80, 0.95, 1.05]))
    hedge = 0.22 + 0.25 * _clouds(r, c.n, 4)
    leaf = _clouds(r, c.n, 22)[..., None]
    green = np.array([0.10, 0.26, 0.055]) * (0.35 + 1.7 * leaf**2)
    on = c.y > hedge
    c.a[on] = green[on]
    for _ in range(26):
        flower = np.array([(0.8, 0.12, 0.2), (0.9, 0.65, 0.1), (0.8, 0.4, 0.65), (0.9, 0.9, 0.85)])[r.integers(4)]
        c.disc(r.random(), r.uniform(0.5, 0.95), r.uniform(0.008, 0.024), flower, 0.9)
    lawn = c.y > 0.80
    c.a[lawn] = (np.array([0.22, 0.42, 0.10]) * (0.8 + 0.4 * leaf))[lawn]
    return 2.4


def _forest(c: _Canvas) -> float:
    r = c.rng
    leaf = _clouds(r, c.n, 14)[..., None]
    c.a[:] = np.array([0.10, 0.20, 0.07]) * (0.3 + 2.0 * leaf**2)
    for _ in range(18):
        c.disc(r.random(), r.uniform(0, 0.5), r.uniform(0.015, 0.05), np.array([0.75, 0.95, 0.55]), 0.55)
    for _ in range(int(r.integers(5, 9))):
        x, w = r.random(), r.uniform(0.02, 0.07)
        c.box(x, 0, x + w, 0.9, to_linear((0.24, 0.18, 0.14)) * r.uniform(0.5, 1.3))
    return 2.8


def _beach(c: _Canvas) -> float:
    r = c.rng
    c.fill(np.array([0.35, 0.62, 1.05]), np.array([0.85, 0.98, 1.10]))
    horizon = r.uniform(0.42, 0.5)
    on = c.y > horizon
    c.a[on] = (np.array([0.08, 0.33, 0.45]) * (0.8 + 0.5 * _clouds(r, c.n, 12)[..., None]))[on]
    shore = horizon + 0.2 + 0.03 * np.sin(6 * c.x + r.uniform(0, 6))
    c.a[c.y > shore - 0.02] = (0.85, 0.9, 0.9)
    sand = c.y > shore
    c.a[sand] = (to_linear((0.86, 0.75, 0.58)) * (0.9 + 0.2 * _clouds(r, c.n, 30)[..., None]))[sand]
    return 2.0


def _city_night(c: _Canvas) -> float:
    r = c.rng
    c.fill(np.array([0.010, 0.014, 0.035]), np.array([0.04, 0.035, 0.05]))
    lights = np.array([(1.6, 0.9, 0.35), (1.5, 0.5, 0.25), (0.6, 0.9, 1.5), (1.4, 1.3, 1.1), (1.4, 0.25, 0.4), (0.3, 1.2, 0.8)])
    for _ in range(46):
        c.disc(r.random(), r.uniform(0.1, 0.95), r.uniform(0.015, 0.05), lights[r.integers(6)] * r.uniform(0.25, 0.9), 0.62)
    return 0.7


_PAINTERS = {
    "white_wall": lambda c: _wall(c, (0.87, 0.86, 0.84)),
    "grey_wall": lambda c: _wall(c, (0.52, 0.53, 0.55)),
    "blue_wall": lambda c: _wall(c, (0.34, 0.48, 0.66)),
    "green_wall": lambda c: _wall(c, (0.42, 0.56, 0.44)),
    "gradient": _gradient,
    "living_room": _living_room,
    "office": _office,
    "bookshelf": _bookshelf,
    "window": _window,
    "garden": _garden,
    "forest": _forest,
    "beach": _beach,
    "city_night": _city_night,
}
_LIT = {"sunset": (1.1, 0.72, 0.45), "evening": (0.32, 0.42, 0.70), "warm_lamp": (0.85, 0.66, 0.46), "cool_window": (0.70, 0.80, 0.95)}
_LIT |= {"side_light": (0.5, 0.5, 0.5), "backlight": (1.25, 1.2, 1.1), "studio": (0.85, 0.85, 0.87), "soft_daylight": (0.9, 0.92, 0.92)}


def paint_backdrop(scene: Scene, size: int) -> np.ndarray:
    """(N, N, 3) float32 linear light, N = size plus the margin on both sides; the same picture at every size but for sharpness."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([scene.seed, 3, 6])))
    n = 176
    canvas = _Canvas(n, rng)
    sigma = _PAINTERS[scene.facts["background"]](canvas) * rng.uniform(0.8, 1.3)
    picture = _blur(canvas.a, sigma)
    tint = np.array(_LIT[scene.facts["light"]])
    if scene.facts["background"] == "city_night":
        tint = np.sqrt(tint)
    picture = picture * tint
    whole = size + 2 * int(round(MARGIN * size))
    at = np.linspace(0, n - 1.001, whole)
    i = at.astype(int)
    f = at - i
    rows = picture[i] * (1 - f)[:, None, None] + picture[i + 1] * f[:, None, None]
    picture = rows[:, i] * (1 - f)[:, None] + rows[:, i + 1] * f[:, None]
    return np.ascontiguousarray(picture, np.float32)
