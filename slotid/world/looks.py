"""What a person looks like, from one integer: face shape, skin, hair, brows, eyes, beard, glasses.

Looks come from their own random stream (``SeedSequence([seed, 1])``), so that habits, scene and performance cannot be
guessed from them. Only ``looks_vector`` leaves this file towards training: numbers of about zero mean and unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SHAPES = 100
SHAPE_SPREAD = 0.85  # standard deviation of the coefficients: the model's own is 1, its far tail is caricature
HAIR_STYLES = (
    "bald",
    "buzz",
    "short",
    "quiff",
    "side_part",
    "slick_back",
    "fringe",
    "receding",
    "bob",
    "long",
    "wavy",
    "bun",
    "ponytail",
    "curly",
    "afro",
)
BEARDS = ("none", "stubble", "moustache", "goatee", "short_beard", "full_beard")
GLASSES = ("none", "round", "square", "thin")

# Weights of the hair styles for the two ends of "groom" (0 cropped and bearded, 1 long and beardless); in between they mix.
_STYLE_CROPPED = np.array([8, 13, 15, 13, 13, 10, 5, 9, 0.5, 1.5, 2, 1, 1, 5, 5], float)
_STYLE_LONG = np.array([0.7, 1, 4, 2, 3, 2, 10, 0, 18, 17, 15, 9, 7, 8, 7], float)

# Albedo of skin along the melanin axis, sRGB 0..255, from very fair to very dark.
_SKIN_AT = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
_SKIN_RGB = np.array([(246, 213, 197), (234, 190, 166), (209, 161, 129), (165, 115, 82), (114, 74, 52), (74, 49, 38)], float)

# Natural hair, sRGB: black, dark brown, brown, light brown, dark blond, blond, auburn, red.
HAIR_COLOURS = np.array(
    [(24, 20, 19), (48, 33, 25), (80, 53, 36), (118, 82, 54), (156, 118, 76), (205, 170, 116), (112, 48, 28), (166, 78, 36)], float
)
_IRIS = np.array([(62, 36, 20), (95, 58, 30), (128, 92, 48), (104, 116, 66), (96, 128, 138), (84, 120, 160), (124, 134, 138)], float)


@dataclass(frozen=True, eq=False)
class Looks:
    """A face at rest. Colours are sRGB 0..1; shares without unit run 0..1."""

    seed: int
    shape: np.ndarray  # (100,) float32 coefficients of the face model
    melanin: float  # 0 very fair to 1 very dark
    redness: float  # -1..1 blood in the skin
    yellowness: float  # -1..1 olive or golden against pink
    gloss: float  # shine of the skin
    mottle: float  # unevenness of the skin
    blush: float  # cheeks and nose
    freckles: float
    moles: int  # 0..5
    circles: float  # shade under the eyes
    lip_red: float  # 0 pale to 1 strong
    lip_dark: float
    hair_style: str  # one of HAIR_STYLES
    hair_rgb: tuple[float, float, float]
    grey: float
    hair_length: float  # within its style
    hair_volume: float
    hair_curl: float
    hair_part: float  # -1 right to 1 left, where the hair is parted
    hairline: float  # 0 low to 1 high
    hair_gloss: float
    brow_thick: float
    brow_arch: float
    brow_dark: float
    brow_tilt: float  # 0 flat to 1 rising outwards
    iris_rgb: tuple[float, float, float]
    iris_size: float
    lashes: float
    beard: str  # one of BEARDS
    beard_length: float
    beard_grey: float
    glasses: str  # one of GLASSES
    glasses_rgb: tuple[float, float, float]
    skin_rgb: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))  # albedo that melanin, redness and yellowness make


def skin_albedo(melanin: float, redness: float, yellowness: float) -> tuple[float, float, float]:
    """sRGB 0..1 albedo of skin. Undertones move red against green and blue against both; they fade on very dark skin."""
    rgb = np.array([np.interp(melanin, _SKIN_AT, _SKIN_RGB[:, k]) for k in range(3)]) / 255
    k = 0.6 + 0.4 * (1 - melanin)
    rgb = rgb * (1 + k * (redness * np.array([0.035, -0.035, -0.02]) + yellowness * np.array([0.005, 0.015, -0.085])))
    return tuple(float(v) for v in np.clip(rgb, 0.02, 0.98))


def _pick(rng: np.random.Generator, weights: np.ndarray) -> int:
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def sample_looks(seed: int) -> Looks:
    """Draw a person's looks; the same seed gives the same person on every machine."""
    root = np.random.SeedSequence([int(seed), 1]).spawn(4)
    shape_rng, skin_rng, hair_rng, trim_rng = (np.random.Generator(np.random.PCG64(s)) for s in root)
    shape = np.clip(shape_rng.standard_normal(SHAPES), -2.6, 2.6).astype(np.float32) * np.float32(SHAPE_SPREAD)

    u = skin_rng.random(12)
    melanin = float(u[0])
    redness, yellowness = float(2 * u[1] - 1), float(2 * u[2] - 1)
    groom = float(hair_rng.beta(0.6, 0.6))  # 0 cropped and bearded to 1 long and beardless; says nothing of the shape
    age = float(hair_rng.random())

    style = HAIR_STYLES[_pick(hair_rng, (1 - groom) * _STYLE_CROPPED + groom * _STYLE_LONG)]
    dark = np.clip(melanin * 1.9 - 0.2, 0, 1)  # dark skin mostly carries dark hair, fair skin any
    natural = np.array([1.2, 1.8, 2, 1.8, 1.5, 1.5, 1, 0.9]) * (1 - dark) + np.array([6, 3, 1, 0.25, 0.1, 0.12, 0.25, 0.1]) * dark
    hair = HAIR_COLOURS[_pick(hair_rng, natural)] * hair_rng.uniform(0.8, 1.2) / 255
    grey = float(np.clip((age - 0.62) / 0.3, 0, 1) * hair_rng.uniform(0.3, 1.0)) if age > 0.62 else 0.0
    silver = np.array([0.74, 0.74, 0.75]) * hair_rng.uniform(0.75, 1.12)
    hair = (hair + (hair.mean() - hair) * min(grey * 1.5, 0.8)) * (1 - grey) + silver * grey
    length, volume, curl, part, hairline, hair_gloss = hair_rng.random(6)

    beards = (1 - groom) * np.array([3.2, 2.2, 0.9, 1.1, 1.9, 1.7]) + groom * np.array([20, 0.5, 0.1, 0.1, 0.1, 0.1])
    beard = BEARDS[_pick(trim_rng, beards)]
    t = trim_rng.random(10)
    light_eyes = np.clip(1 - 1.6 * melanin, 0.02, 1)
    iris_weights = np.array([3 + 4 * (1 - light_eyes), 2.5, 1.5, 1.3 * light_eyes, 1.2 * light_eyes, 1.8 * light_eyes, 1.2 * light_eyes])
    iris = _IRIS[_pick(trim_rng, iris_weights)] * trim_rng.uniform(0.85, 1.15) / 255
    glasses = GLASSES[_pick(trim_rng, np.array([0.82, 0.06, 0.06, 0.06]))]
    frame = np.array([(0.03, 0.03, 0.035), (0.25, 0.13, 0.06), (0.45, 0.36, 0.2), (0.1, 0.14, 0.28), (0.42, 0.05, 0.06)])[
        trim_rng.integers(5)
    ]
    freckled = u[6] < 0.3
    return Looks(
        seed=int(seed),
        shape=shape,
        melanin=melanin,
        redness=redness,
        yellowness=yellowness,
        gloss=float(u[3]),
        mottle=float(u[4]),
        blush=float(u[5] * (0.6 + 0.4 * groom)),
        freckles=float((0.3 + 0.7 * u[7]) if freckled else 0.0),
        moles=int(u[8] ** 2 * 6),
        circles=float(u[9]),
        lip_red=float(np.clip(0.25 * u[10] + 0.15 + 0.6 * groom * u[10], 0, 1)),
        lip_dark=float(u[11]),
        hair_style=style,
        hair_rgb=tuple(float(v) for v in np.clip(hair, 0.02, 0.95)),
        grey=grey,
        hair_length=float(length),
        hair_volume=float(volume),
        hair_curl=float(curl),
        hair_part=float(2 * part - 1),
        hairline=float(hairline),
        hair_gloss=float(hair_gloss),
        brow_thick=float(np.clip(0.75 * t[0] + 0.25 * (1 - groom), 0, 1)),
        brow_arch=float(t[1]),
        brow_dark=float(t[2]),
        brow_tilt=float(t[3]),
        iris_rgb=tuple(float(v) for v in np.clip(iris, 0.02, 0.95)),
        iris_size=float(t[4]),
        lashes=float(np.clip(0.5 * t[5] + 0.5 * groom, 0, 1)),
        beard=beard,
        beard_length=float(t[6]),
        beard_grey=float(np.clip(grey + 0.25 * (t[7] - 0.5) * (age > 0.5), 0, 1)),
        glasses=glasses,
        glasses_rgb=tuple(float(v) for v in frame),
        skin_rgb=skin_albedo(melanin, redness, yellowness),
    )


def _uniform(x: float, low: float = 0.0, high: float = 1.0) -> float:
    return (x - (low + high) / 2) / ((high - low) / np.sqrt(12))


def _one_hot(name: str, names: tuple[str, ...]) -> list[float]:
    return [1.0 if n == name else 0.0 for n in names]


def _groups(p: Looks) -> dict[str, list[float]]:
    skin = [(c - m) / s for c, m, s in zip(p.skin_rgb, (0.70, 0.52, 0.43), (0.22, 0.20, 0.19), strict=True)]
    hair = [(c - m) / s for c, m, s in zip(p.hair_rgb, (0.37, 0.285, 0.23), (0.21, 0.20, 0.19), strict=True)]
    iris = [(c - m) / s for c, m, s in zip(p.iris_rgb, (0.33, 0.245, 0.165), (0.10, 0.13, 0.155), strict=True)]
    hairless = p.hair_style == "bald"
    shown = (
        [0.0] * 4 if hairless else [_uniform(p.hair_length), _uniform(p.hair_volume), _uniform(p.hair_curl), _uniform(p.hair_part, -1, 1)]
    )
    return {
        "shape": [float(v) / SHAPE_SPREAD for v in p.shape],
        "skin": [
            *skin,
            _uniform(p.melanin),
            _uniform(p.redness, -1, 1),
            _uniform(p.yellowness, -1, 1),
            _uniform(p.gloss),
            _uniform(p.mottle),
            (p.blush - 0.4) / 0.25,
            (p.freckles - 0.19) / 0.31,
            (p.moles - 1.55) / 1.6,
            _uniform(p.circles),
            (p.lip_red - 0.42) / 0.19,
            _uniform(p.lip_dark),
        ],
        "hair": [*hair, (p.grey - 0.17) / 0.29, *shown, _uniform(p.hairline), _uniform(p.hair_gloss), *_one_hot(p.hair_style, HAIR_STYLES)],
        "trim": [
            (p.brow_thick - 0.5) / 0.25,
            _uniform(p.brow_arch),
            _uniform(p.brow_dark),
            _uniform(p.brow_tilt),
            *iris,
            _uniform(p.iris_size),
            (p.lashes - 0.5) / 0.24,
            _uniform(p.beard_length) if p.beard != "none" else 0.0,
            (p.beard_grey - 0.17) / 0.29,
            *_one_hot(p.beard, BEARDS),
            *_one_hot(p.glasses, GLASSES),
        ],
    }


def _layout() -> dict[str, slice]:
    at, layout = 0, {}
    for name, values in _groups(sample_looks(0)).items():
        layout[name] = slice(at, at + len(values))
        at += len(values)
    return layout


def looks_vector(looks: Looks) -> np.ndarray:
    """(D,) float32, about zero mean and unit variance (styles one-hot 0 or 1), groups at ``LOOKS_LAYOUT``: a training target."""
    return np.array([v for values in _groups(looks).values() for v in values], np.float32)


LOOKS_LAYOUT: dict[str, slice] = _layout()
