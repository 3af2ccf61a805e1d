"""Cuts a person's hair: which strands grow where, for the styles, brows and beards of ``looks``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from slotid.world.compiled import jit
from slotid.world.hair import CENTRE, STYLES, Collider, Strands, Style, _grow, _roots, bearded, scalp
from slotid.world.looks import BEARDS, Looks
from slotid.world.rig import FACE, HEAD, Rig, head_share

WHORL = np.array([0.0, 14.2, -3.5])  # from where unparted hair falls
TOP_BUN, BACK_BUN, TAIL = np.array([0.0, 16.2, -5.0]), np.array([0.0, 5.0, -12.2]), np.array([0.0, 8.5, -11.2])
NAPE = np.array([0.0, 1.0, -10.8])


@jit
def _scalp_all(p, high, recede, out):
    for i in range(p.shape[0]):
        out[i] = scalp(p[i, 0], p[i, 1], p[i, 2], high, recede)


@jit
def _beard_all(p, code, out):
    for i in range(p.shape[0]):
        out[i] = bearded(p[i, 0], p[i, 1], p[i, 2], code)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def _comb(kind: str, at: np.ndarray, normal: np.ndarray, part_x: np.ndarray) -> np.ndarray:
    """(n, 3) direction along the skin in which hair at mean-head positions ``at`` is combed."""
    x, y, z = at.T
    side = np.sign(x - part_x) + (x == part_x)
    down = np.clip((9.5 - y) / 4, 0, 1)[:, None]  # the sides hang, whatever the top does
    hang = np.stack([0.1 * np.sign(x), -np.ones_like(x), np.full_like(x, -0.1)], 1)
    if kind == "forward":
        top = np.stack([0.15 * side, -0.1 * np.ones_like(x), np.ones_like(x)], 1)
        hang = np.stack([0.0 * x, -np.ones_like(x), np.where(z > 0, 0.25, -0.2)], 1)
    elif kind == "quiff":
        top = np.stack([0.25 * side, 0.9 * np.clip((z + 1) / 6, 0, 1), -np.clip(z / 9, -0.6, 0.7) - 0.2], 1)
        hang = np.stack([0.0 * x, -np.ones_like(x), np.full_like(x, -0.45)], 1)
    elif kind == "back":
        top = np.stack([0.1 * x / 7, 0.1 * np.ones_like(x), -np.ones_like(x)], 1)
        hang = np.stack([0.0 * x, -0.45 * np.ones_like(x), -np.ones_like(x)], 1)
    elif kind == "part":
        top = np.stack([side, -0.15 * np.ones_like(x), 0.12 * np.clip(z / 6, -1, 1)], 1)
    elif kind == "radial":
        return _unit(at - CENTRE) * 0.6
    else:  # crown, bun and tail start from the whorl
        top = _unit(at - WHORL)
    out = _unit(top * (1 - down) + hang * down)
    out -= normal * (out * normal).sum(1, keepdims=True)
    return _unit(out)


def _chain(points: np.ndarray, half: float, taper: float, tint: np.ndarray, root: np.ndarray, rig: Rig, kind: int, normal=None) -> Strands:
    """Strands from (n, K, 3) points."""
    n, k, _ = points.shape
    along = np.tile(np.linspace(0, 1, k), n)
    flat = points.reshape(-1, 3)
    if normal is None:
        axis = np.stack([np.zeros(len(flat)), np.clip(flat[:, 1], -40, CENTRE[1]), np.full(len(flat), CENTRE[2])], 1)
        normal = _unit(flat - axis)
    roots = np.repeat(root, k)
    share = head_share(flat) if kind == 0 else rig.share[roots]
    return Strands(
        points=flat.astype(np.float32),
        first=(np.arange(n)[:, None] * k + np.arange(k - 1)).reshape(-1).astype(np.int32),
        half=(half * (1 - taper * along**1.5)).astype(np.float32),
        along=along.astype(np.float32),
        tint=np.repeat(tint, k).astype(np.float32),
        normal=normal.astype(np.float32),
        root=roots.astype(np.int32),
        share=share.astype(np.float32),
        kind=np.full(len(flat), kind, np.int8),
    )


def _join(parts: list[Strands]) -> Strands:
    sizes = np.cumsum([0] + [len(p.points) for p in parts])
    first = np.concatenate([p.first + s for p, s in zip(parts, sizes[:-1], strict=True)]) if parts else np.zeros(0, np.int32)

    def cat(name: str, shape: tuple, dtype) -> np.ndarray:
        return np.concatenate([getattr(p, name) for p in parts]) if parts else np.zeros(shape, dtype)

    return Strands(
        cat("points", (0, 3), np.float32),
        first.astype(np.int32),
        cat("half", (0,), np.float32),
        cat("along", (0,), np.float32),
        cat("tint", (0,), np.float32),
        cat("normal", (0, 3), np.float32),
        cat("root", (0,), np.int32),
        cat("share", (0,), np.float32),
        cat("kind", (0,), np.int8),
    )


def scalp_share(looks: Looks, points: np.ndarray) -> np.ndarray:
    """(N,) 0..1 hair density at mean-head points (N, 3) for this person; zero for the bald."""
    out = np.zeros(len(points), np.float32)
    if looks.hair_style != "bald":
        _scalp_all(points.astype(np.float32), looks.hairline, STYLES[looks.hair_style].recede, out)
    return out


@dataclass(frozen=True, eq=False)
class Planted:
    """All of a person's hair that does not depend on what he wears; ``fall`` lets it down over head and clothes."""

    rig: Rig
    grow: tuple | None  # what ``_grow`` takes before the solids; None for the bald
    steps: int  # points of a strand
    half: float
    tint: np.ndarray  # (n,)
    root: np.ndarray  # (n,) skin vertices
    rest: tuple[Strands, ...]  # bun or tail, brows, lashes, beard


def cut_hair(rig: Rig, looks: Looks, points: np.ndarray, normals: np.ndarray, solid: Collider, fine: bool = False) -> Strands:
    """Everything that grows on one person: ``plant`` and ``fall`` in one."""
    return fall(plant(rig, looks, points, normals, fine), solid)


def plant(rig: Rig, looks: Looks, points: np.ndarray, normals: np.ndarray, fine: bool = False) -> Planted:
    """Roots and combs of scalp hair; brows, lashes, beard whole. points and normals (V, 3) of the person at rest.

    ``fine`` (for films larger than 200 px) grows more and thinner strands in the same places.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([looks.seed, 1, 7])))
    centroid = rig.neutral[rig.faces].mean(1).astype(np.float32)
    skin = rig.face_part <= HEAD
    grow, steps, half, tint, root, rest = None, 0, 0.0, np.zeros(0), np.zeros(0, np.int32), []
    if looks.hair_style != "bald":
        density = scalp_share(looks, centroid) * skin
        if looks.hair_style == "afro":  # no sideburns that stand out sideways
            density = density * ((centroid[:, 1] > 4.4) | (centroid[:, 2] < -2.5))
        style = STYLES[looks.hair_style]
        if fine:
            style = replace(style, count=int(1.9 * style.count), half=0.7 * style.half)
        placed = _roots(rng, rig, points, normals, density, style.count)
        if placed is not None:
            steps, root = style.steps, placed[3]
            grow, half, tint, rest = _scalp_hair(rng, rig, looks, style, placed)
    rest += _brows(rng, rig, looks, points, normals)
    rest += _lashes(rng, rig, looks, points)
    if looks.beard not in ("none", "stubble"):
        density = np.zeros(len(centroid), np.float32)
        _beard_all(centroid, BEARDS.index(looks.beard), density)
        rest += _beard(rng, rig, looks, points, normals, density * (rig.face_part == FACE))
    return Planted(rig, grow, steps, half, tint, root, tuple(rest))


def fall(planted: Planted, solid: Collider) -> Strands:
    """Let the scalp hair grow out over the solids; the rest is there already."""
    parts = list(planted.rest)
    if planted.grow is not None:
        out = np.zeros((len(planted.root), planted.steps, 3))
        _grow(*planted.grow, solid.ball, solid.tube, out)
        parts.insert(0, _chain(out, planted.half, 0.55, planted.tint, planted.root, planted.rig, 0))
    return _join(parts)


def _scalp_hair(rng, rig: Rig, looks: Looks, style: Style, placed: tuple) -> tuple[tuple, float, np.ndarray, list[Strands]]:
    """(what ``_grow`` takes, half width, tint per strand, bun or tail) for the places that ``_roots`` chose."""
    at, normal, mean, root = placed
    n = len(at)
    part_x = 3.4 * np.sign(looks.hair_part) * (0.35 + 0.65 * abs(looks.hair_part)) if style.comb == "part" else 0.0
    if style.clear:
        part_x *= 0.6
    lock = np.floor(mean / 1.7).astype(int) @ np.array([73856093, 19349663, 83492791])  # strands of one lock move together
    lock_rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([looks.seed, 1, 8])))
    table = lock_rng.standard_normal((512, 4))
    jitter = table[lock % 512]
    part_x = part_x + 0.28 * rng.standard_normal(n)
    comb = _comb(style.comb, mean, normal, part_x)
    comb = _unit(comb + 0.16 * jitter[:, :3] + 0.10 * rng.standard_normal((n, 3)))
    low, high = style.length
    length = (low + (high - low) * looks.hair_length) * (1 + 0.05 * jitter[:, 3] + 0.10 * (rng.random(n) - 0.5))
    if style.comb in ("forward", "quiff", "radial"):  # shorter towards the neck and the sides
        length *= 0.35 + 0.65 * np.clip((mean[:, 1] - 3) / 7, 0, 1)
    layer = style.volume * (0.6 + 0.8 * looks.hair_volume) * rng.random(n) ** 0.7 * np.clip((mean[:, 1] + 6) / 9, 0.35, 1)
    cut = np.full(n, style.cut) + 0.7 * rng.standard_normal(n) * (0.4 if style.cut > -10 else 1.6)
    if style.clear and style.cut > -50:
        cut += (looks.hair_length - 0.5) * 3.0
    fringe = -99.0 if style.fringe is None else style.fringe + 0.8 * (looks.hairline - 0.5)
    clear = np.zeros(n)
    if style.clear:
        clear = np.where(mean[:, 0] > part_x, 1.0, -1.0) * (mean[:, 2] > -1.5)
        if style.fringe is not None:
            clear *= mean[:, 1] < 9.5
    goal, has_goal = np.zeros(3), style.comb in ("bun", "tail", "back")
    if has_goal:  # hair combed back lies against the skull on its way to the nape
        goal = {"tail": TAIL, "back": NAPE}.get(style.comb, TOP_BUN if looks.hair_part > -0.2 else BACK_BUN)
    curl = style.curl * (0.7 + 0.6 * looks.hair_curl)
    phase = np.stack([table[lock % 512, 0] * 3 + 0.5 * rng.standard_normal(n), rng.standard_normal(n)], 1)
    grow = (
        at.astype(float),
        normal.astype(float),
        comb,
        length,
        layer,
        style.lift * (0.7 + 0.6 * looks.hair_volume),
        style.stiff,
        style.gravity,
        cut,
        fringe,
        clear,
        goal,
        has_goal,
        curl,
        style.turns * (length.mean() / max(high, 1e-6)),
        phase,
    )
    tint = np.exp(0.13 * jitter[:, 3] + 0.16 * rng.standard_normal(n))
    half, made = style.half * (0.9 + 0.3 * (rng.random() - 0.5)), []
    crown = int(root[np.argmax(mean[:, 1])])
    if style.comb == "bun":
        made.append(_ball(rng, looks, goal + (goal - CENTRE) / np.linalg.norm(goal - CENTRE) * 0.9, crown, rig))
    if style.comb == "tail":
        made.append(_tail(rng, looks, goal, crown, rig))
    return grow, half, tint, made


def _ball(rng, looks: Looks, centre, crown: int, rig: Rig) -> Strands:
    """A bun: strands wound around a ball."""
    n, k = 420, 9
    radius = 2.3 + 1.0 * looks.hair_volume
    axis = _unit(centre - CENTRE)
    u = _unit(np.cross(axis, [1.0, 0.2, 0.1]))
    v = np.cross(axis, u)
    lean = _unit(axis + 0.7 * rng.standard_normal((n, 3)))  # each strand circles an axis of its own, most near the bun's
    a = _unit(np.cross(lean, np.where(rng.random((n, 1)) < 0.5, u, v)))
    b = np.cross(lean, a)
    lat = np.arcsin(rng.uniform(-0.9, 0.9, n))
    t = rng.uniform(0, 2 * np.pi, n)[:, None] + np.linspace(0, 2.2, k)
    r = radius * (0.86 + 0.14 * rng.random(n))[:, None, None]
    ring = np.cos(lat)[:, None, None] * (np.cos(t)[..., None] * a[:, None] + np.sin(t)[..., None] * b[:, None])
    direction = ring + np.sin(lat)[:, None, None] * lean[:, None]
    points = centre + r * direction * np.array([1.0, 0.88, 1.0])
    return _chain(points, 0.15, 0.3, np.exp(0.2 * rng.standard_normal(n)), np.full(n, crown), rig, 0, direction.reshape(-1, 3))


def _tail(rng, looks: Looks, goal, crown: int, rig: Rig) -> Strands:
    """A ponytail that arches back and falls behind the neck."""
    n, k = 500, 11
    length = 14 + 8 * looks.hair_length
    s = np.linspace(0, 1, k)
    spine = goal + np.stack(
        [np.zeros(k), 1.6 * np.sin(np.minimum(s * 3, 1.6)) - length * s**1.3 * 0.95, -3.2 * np.sin(np.minimum(s * 2.6, 1.57))], 1
    )
    across = rng.standard_normal((n, 1, 2)) * np.minimum(s * 5 + 0.35, 1.35)[None, :, None] * (1 - 0.35 * s)[None, :, None]
    points = spine[None] + np.concatenate([across[..., :1], np.zeros((n, k, 1)), across[..., 1:]], 2)
    normal = _unit(points - spine[None] + np.array([0, 0.2, -0.3]))
    return _chain(points, 0.14, 0.5, np.exp(0.2 * rng.standard_normal(n)), np.full(n, crown), rig, 0, normal.reshape(-1, 3))


def brow_curve(rig: Rig, looks: Looks, side: int) -> np.ndarray:
    """(5, 3) mean-head points along a brow, inner to outer. side 0: person's right, 1: left."""
    marks = rig.neutral[rig.landmarks[17:22][::-1] if side == 0 else rig.landmarks[22:27]].astype(float).copy()
    s = np.linspace(0, 1, 5)
    marks[:, 1] += (
        0.55 * (looks.brow_arch - 0.4) * np.sin(np.pi * np.clip(s * 1.15, 0, 1)) + 0.5 * (looks.brow_tilt - 0.5) * (s - 0.4) - 0.12
    )
    return marks


def _brows(rng, rig: Rig, looks: Looks, points, normals) -> list[Strands]:
    made = []
    low, high = rig.neutral[rig.landmarks[17:27]].min(0) - 2, rig.neutral[rig.landmarks[17:27]].max(0) + 2
    face = np.flatnonzero((rig.part == FACE) & ((rig.neutral > low) & (rig.neutral < high)).all(1))
    if len(face) < 50:
        return made
    for side in (0, 1):
        curve = brow_curve(rig, looks, side)
        n = int(100 + 120 * looks.brow_thick)
        s = rng.random(n)
        thick = (0.22 + 0.38 * looks.brow_thick) * np.interp(s, [0, 0.12, 0.45, 1], [0.7, 1.0, 0.95, 0.35])
        base = np.stack([np.interp(s, np.linspace(0, 1, 5), curve[:, k]) for k in range(3)], 1)
        base[:, 1] += thick * (rng.random(n) * 2 - 1)
        d2 = ((rig.neutral[face][None] - base[:, None]) ** 2).sum(2)
        near = np.argpartition(d2, 3, axis=1)[:, :3]
        w = 1 / (np.take_along_axis(d2, near, 1) + 1e-3)
        w = (w / w.sum(1, keepdims=True))[..., None]
        ids = face[near]
        shift = ((points - rig.neutral)[ids] * w).sum(1)
        surface = base + shift
        normal = _unit((normals[ids] * w).sum(1))
        # the skin point nearest below the wanted place: slide along the normal onto the plane of the nearest vertex
        surface -= normal * (((surface - points[face[d2.argmin(1)]]) * normal).sum(1, keepdims=True))
        out_dir = np.sign(base[:, :1]) * np.array([[1.0, 0, 0]])
        along = np.interp(s, [0, 0.25, 1], [1.1, 0.45, -0.25])[:, None] * np.array([[0, 1.0, 0]]) + out_dir
        along += 0.18 * rng.standard_normal((n, 3))
        along = _unit(along - normal * (along * normal).sum(1, keepdims=True))
        reach = 0.50 + 0.3 * looks.brow_thick
        t = np.array([0.0, 0.5, 1.0])[None, :, None] * reach
        chain = surface[:, None] + normal[:, None] * (0.03 + 0.05 * t / reach) + along[:, None] * (t - 0.5 * reach)
        made.append(_chain(chain, 0.045, 0.5, np.exp(0.15 * rng.standard_normal(n)), ids[:, 0], rig, 1, np.repeat(normal, 3, 0)))
    return made


def _lashes(rng, rig: Rig, looks: Looks, points) -> list[Strands]:
    """Lashes along the four lids; each hangs on the lid's own vertex, so that they blink."""
    if len(rig.part) < 5000:
        return []
    made = []
    for corners, upper in (((36, 37, 38, 39), True), ((45, 44, 43, 42), True), ((36, 41, 40, 39), False), ((45, 46, 47, 42), False)):
        marks = rig.neutral[rig.landmarks[list(corners)]].astype(float)  # outer corner to inner
        n = int((30 if upper else 16) * (0.7 + 0.6 * looks.lashes))
        s = np.sort(rng.uniform(0.02, 0.88, n))
        at = np.stack([np.interp(s, np.linspace(0, 1, 4), marks[:, k]) for k in range(3)], 1)
        box = (np.abs(rig.neutral - marks.mean(0)) < 2.2).all(1) & (rig.part == FACE)
        lid = np.flatnonzero(box)
        root = lid[((rig.neutral[lid][None] - at[:, None]) ** 2).sum(2).argmin(1)]
        start = at + points[root] - rig.neutral[root]
        away = np.sign(marks[0, 0])
        lean = (0.5 - s) * 1.3 + 0.15
        long = (0.30 + 0.42 * looks.lashes) * (1.0 if upper else 0.5) * np.interp(s, [0, 0.3, 1], [1.1, 1.0, 0.6])
        out = np.stack([away * lean, np.full(n, 0.30 if upper else -0.55), np.full(n, 0.85)], 1)
        out = _unit(out + 0.10 * rng.standard_normal((n, 3)))
        t = np.array([0.0, 0.5, 1.0])[None, :, None]
        bend = np.array([0, 0.22 if upper else -0.05, 0])[None, None] * t**2
        chain = start[:, None] + long[:, None, None] * (t * out[:, None] + bend)
        made.append(_chain(chain, 0.05, 0.6, np.ones(n), root, rig, 3, np.tile([0.0, 0.3 if upper else -0.3, 0.95], (3 * n, 1))))
    return made


def _beard(rng, rig: Rig, looks: Looks, points, normals, density) -> list[Strands]:
    low, high, count = {
        "moustache": (0.7, 1.1, 420),
        "goatee": (0.7, 1.5, 750),
        "short_beard": (0.45, 0.9, 2000),
        "full_beard": (1.4, 3.2, 2300),
    }[looks.beard]
    placed = _roots(rng, rig, points, normals, density, count)
    if placed is None:
        return []
    at, normal, mean, root = placed
    n, k = len(at), 4
    x, y, z = mean.T
    above_lip = (y > -3.4) & (np.abs(x) < 3.4)
    down = np.stack([0.25 * x / 4, -np.ones(n), 0.15 * np.ones(n)], 1)
    down[above_lip] = np.stack(
        [0.9 * np.sign(x[above_lip]) * (0.3 + np.abs(x[above_lip]) / 3), -np.ones(above_lip.sum()), 0 * x[above_lip]], 1
    )
    flow = _unit(down + 0.22 * rng.standard_normal((n, 3)))
    flow = _unit(flow - 0.8 * normal * (flow * normal).sum(1, keepdims=True))
    length = (low + (high - low) * looks.beard_length) * (0.7 + 0.6 * rng.random(n))
    length = np.where(above_lip, np.minimum(length, 0.95), length) * np.interp(y, [-7, -4, 1], [1, 0.75, 0.4])
    s = np.linspace(0, 1, k)[None, :, None]
    lift = np.where(above_lip, 0.22, 0.45)[:, None, None]
    chain = at[:, None] + length[:, None, None] * s * (normal[:, None] * lift * (1 - 0.5 * s) + flow[:, None] * (0.55 + 0.45 * s))
    return [_chain(chain, 0.065, 0.55, np.exp(0.2 * rng.standard_normal(n)), root, rig, 2, np.repeat(_unit(normal + 0.3 * flow), k, 0))]
