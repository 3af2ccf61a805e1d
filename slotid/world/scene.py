"""Where a person sits: light, background, clothes, camera. Nothing here depends on who it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

LIGHTS = ("soft_daylight", "warm_lamp", "cool_window", "side_light", "studio", "sunset", "evening", "backlight")
BACKGROUNDS = (
    "white_wall",
    "grey_wall",
    "blue_wall",
    "green_wall",
    "gradient",
    "living_room",
    "office",
    "bookshelf",
    "window",
    "garden",
    "forest",
    "beach",
    "city_night",
)
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "grey", "purple", "orange", "brown")
GARMENTS = ("tshirt", "vneck", "shirt", "hoodie", "sweater", "jacket")
CLOTHINGS = tuple(f"{c}_{g}" for c in COLOURS for g in GARMENTS)
FRAMINGS = ("close_up", "head_and_collar", "from_below", "from_above")

COLOUR_RGB = {  # sRGB 0..1 of the cloth
    "red": (0.70, 0.10, 0.11),
    "blue": (0.13, 0.28, 0.60),
    "green": (0.14, 0.42, 0.24),
    "yellow": (0.88, 0.70, 0.16),
    "black": (0.09, 0.09, 0.10),
    "white": (0.88, 0.87, 0.85),
    "grey": (0.46, 0.47, 0.49),
    "purple": (0.38, 0.18, 0.50),
    "orange": (0.88, 0.42, 0.12),
    "brown": (0.36, 0.23, 0.14),
}


@dataclass(frozen=True)
class Webcam:
    """What a cheap camera does to a film; 0 everywhere means nothing. See ``webcam.degrade``."""

    noise: float = 0.0  # standard deviation in 0..255
    quality: int = 0  # JPEG-like quality 1..95; 0: not compressed
    blur: float = 0.0  # sigma in pixels at 128 px
    exposure: float = 0.0  # stops
    low_light: float = 0.0  # 0..1
    cover: float = 0.0  # 0: no hand; else the share of the clip a hand passes the face


@dataclass(frozen=True)
class Scene:
    """One place to sit. Directions point from the head to the light (x picture right, y up, z to the viewer); colours are linear."""

    seed: int
    facts: dict[str, str]  # keys light, background, clothing, framing
    key_dir: tuple[float, float, float]
    key_rgb: tuple[float, float, float]
    key_soft: float  # 0 hard to 1 very soft
    fill_dir: tuple[float, float, float]
    fill_rgb: tuple[float, float, float]
    rim_dir: tuple[float, float, float]
    rim_rgb: tuple[float, float, float]
    sky_rgb: tuple[float, float, float]  # ambient from above
    ground_rgb: tuple[float, float, float]  # ambient from below
    distance: float  # camera to head, cm
    view: float  # height of the picture at the head, cm
    centre: tuple[float, float]  # cm, picture centre beside and above the model's origin
    elevation: float  # degrees, the camera above (positive) or below the eyes
    azimuth: float  # degrees, the camera to the picture's right of the face
    hand: float  # cm of slow hand-held motion
    exposure: float  # factor on the linear picture
    webcam: Webcam | None = None


# name: key azimuth range (degrees, mirrored at random), key elevation range, warmth (-1 cool to 1 warm), key, fill, rim, ambient, softness
_LIGHT = {
    "soft_daylight": ((10, 45), (25, 50), (-0.15, 0.1), 1.75, 0.55, 0.25, 0.62, 0.95),
    "warm_lamp": ((30, 65), (5, 30), (0.60, 0.90), 1.85, 0.24, 0.2, 0.30, 0.45),
    "cool_window": ((45, 80), (10, 35), (-0.8, -0.5), 2.1, 0.32, 0.15, 0.40, 0.8),
    "side_light": ((75, 100), (5, 25), (-0.1, 0.25), 2.8, 0.16, 0.35, 0.20, 0.35),
    "studio": ((25, 45), (30, 45), (-0.05, 0.1), 2.1, 0.75, 1.2, 0.40, 0.7),
    "sunset": ((40, 75), (2, 12), (0.90, 1.20), 2.3, 0.30, 0.5, 0.32, 0.25),
    "evening": ((20, 60), (20, 45), (-0.95, -0.65), 1.0, 0.22, 0.35, 0.26, 0.7),
    "backlight": ((120, 150), (20, 40), (0.05, 0.5), 3.2, 0.7, 2.6, 0.55, 0.5),
}


def _tint(warmth: float) -> np.ndarray:
    """Linear colour of a light from cool (-1) to warm (1), about unit luma."""
    rgb = np.array([1 + 0.42 * warmth, 1.0, 1 - 0.52 * warmth]) if warmth > 0 else np.array([1 + 0.30 * warmth, 1.0, 1 - 0.34 * warmth])
    return rgb / (rgb @ np.array([0.21, 0.72, 0.07]))


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def on_tripod(scene: Scene) -> Scene:
    """The same place filmed head and shoulders by a camera that stands still, straight before the face.

    A small model that learns films only of this kind need not spend itself on where in the picture a face may be; clips that are read,
    and those that judges learn from, keep every camera.
    """
    facts = scene.facts | {"framing": "head_and_collar"}
    return replace(scene, facts=facts, distance=100.0, view=32.0, centre=(0.0, 2.2), elevation=0.0, azimuth=0.0, hand=0.0)


def sample_scene(seed: int, reference: bool = False) -> Scene:
    """Draw a scene from its own random stream. ``reference=True`` adds, half the time, what webcams do."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), 3])))
    light = LIGHTS[rng.integers(len(LIGHTS))]
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    clothing = CLOTHINGS[rng.integers(len(CLOTHINGS))]
    framing = FRAMINGS[int(rng.choice(len(FRAMINGS), p=[0.35, 0.35, 0.15, 0.15]))]
    (az0, az1), (el0, el1), (w0, w1), key, fill, rim, ambient, soft = _LIGHT[light]
    side = 1.0 if rng.random() < 0.5 else -1.0
    azimuth, elevation, warmth = side * rng.uniform(az0, az1), rng.uniform(el0, el1), rng.uniform(w0, w1)
    key, fill, rim, ambient = (v * rng.uniform(0.88, 1.12) for v in (key, fill, rim, ambient))
    bounce = _tint(-0.35 * warmth)
    ambient_tint = _tint(0.3 * warmth if light != "sunset" else -0.35)
    view = rng.uniform(31.5, 33.5) if framing == "close_up" else rng.uniform(34.5, 37.0)
    tilt = {"from_below": rng.uniform(-17, -12), "from_above": rng.uniform(12, 17)}.get(framing, rng.uniform(-4, 4))
    down = {"close_up": 3.0}.get(framing, 1.6)
    cam = None
    draws = rng.random(12)
    if reference:
        cam = Webcam(
            noise=float(2 + 8 * draws[1]) if draws[0] < 0.5 else 0.0,
            quality=int(25 + 50 * draws[3]) if draws[2] < 0.5 else 0,
            blur=float(0.4 + 0.7 * draws[5]) if draws[4] < 0.3 else 0.0,
            exposure=float(1.6 * draws[7] - 0.9) if draws[6] < 0.35 else 0.0,
            low_light=float(0.3 + 0.6 * draws[9]) if draws[8] < 0.15 else 0.0,
            cover=float(0.15 + 0.2 * draws[11]) if draws[10] < 0.12 else 0.0,
        )
    return Scene(
        seed=int(seed),
        facts={"light": light, "background": background, "clothing": clothing, "framing": framing},
        key_dir=tuple(_direction(azimuth, elevation)),
        key_rgb=tuple(key * _tint(warmth)),
        key_soft=float(np.clip(soft * rng.uniform(0.85, 1.15), 0.1, 1)),
        fill_dir=tuple(_direction(-side * rng.uniform(15, 50), rng.uniform(0, 20))),
        fill_rgb=tuple(fill * bounce),
        rim_dir=tuple(_direction(-side * rng.uniform(140, 165), rng.uniform(20, 45))),
        rim_rgb=tuple(rim * _tint(0.5 * warmth)),
        sky_rgb=tuple(ambient * ambient_tint),
        ground_rgb=tuple(0.45 * ambient * _tint(0.4 * warmth + 0.15)),
        distance=float(rng.uniform(75, 130)),
        view=float(view),
        centre=(float(rng.normal(0, 0.6)), float(down + rng.normal(0, 0.4))),
        elevation=float(tilt),
        azimuth=float(rng.uniform(-6, 6)),
        hand=float(rng.choice([0.0, rng.uniform(0.1, 0.45)])),
        exposure=float(rng.uniform(0.92, 1.08)),
        webcam=cam,
    )
