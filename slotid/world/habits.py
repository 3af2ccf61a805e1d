"""How a person moves: a few numbers, drawn apart from the looks, so that one cannot be guessed from the other.

Ranges are wide on purpose. Film is short (2.75 s) and small, and what makes a smile *this* person's smile must still be read from it;
`slotid world separability` measures that it can.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Habits:
    """Every field is drawn evenly (times and rates evenly in their logarithm) from its range in RANGES. Sides: + is the person's left."""

    # how a smile forms and leaves
    smile_side: float  # -1..1, which mouth corner goes higher
    smile_peak: float  # weight of the smile at its height
    smile_onset: float  # seconds from nothing to the height
    smile_release: float  # seconds back
    smile_lag: float  # seconds by which the left corner comes later (negative: earlier)
    smile_cheek: float  # 0..1 cheeks raised
    smile_dimple: float  # 0..1
    smile_squint: float  # 0..1 eyes narrowed
    smile_teeth: float  # 0 lips closed to 1 teeth bared
    smile_stretch: float  # 0..1 wide
    smile_brow: float  # -1 brows fall to 1 brows rise with it
    smile_lean: float  # degrees of roll that come with it
    # how speech, blinks and brows go
    talk_rate: float  # syllables a second
    talk_jaw: float  # jaw opening of an open vowel
    talk_rounding: float  # 0..1 lips pushed forward
    talk_spread: float  # 0..1 lips pulled wide
    talk_upper: float  # 0..1 upper lip raised
    talk_lower: float  # 0..1 lower teeth shown
    talk_side: float  # -1..1 mouth drawn to one side
    talk_phrase: float  # seconds between breaths
    blink_rate: float  # a second
    blink_length: float  # seconds, closing to open
    brow_rest: float  # -1 low to 1 high
    brow_side: float  # -1..1, which brow stands higher
    brow_beat: float  # 0..1, how much the brows mark stressed syllables
    # how the head is held and moves
    nod_rate: float  # per second, the pitch swing that never quite stops
    nod_size: float  # degrees
    sway_rate: float  # per second, the yaw swing
    sway_size: float  # degrees
    sway_roll: float  # -1..1, how much roll goes with the sway
    tilt: float  # degrees of resting roll
    chin: float  # degrees of resting pitch


# name: (least, most, drawn evenly in the logarithm)
RANGES: dict[str, tuple[float, float, bool]] = {
    "smile_side": (-1.0, 1.0, False),
    "smile_peak": (0.65, 1.0, False),
    "smile_onset": (0.12, 0.80, True),
    "smile_release": (0.15, 1.00, True),
    "smile_lag": (-0.2, 0.2, False),
    "smile_cheek": (0.0, 1.0, False),
    "smile_dimple": (0.0, 1.0, False),
    "smile_squint": (0.0, 1.0, False),
    "smile_teeth": (0.0, 1.0, False),
    "smile_stretch": (0.0, 1.0, False),
    "smile_brow": (-1.0, 1.0, False),
    "smile_lean": (-6.0, 6.0, False),
    "talk_rate": (1.6, 4.2, True),
    "talk_jaw": (0.18, 0.60, True),
    "talk_rounding": (0.0, 1.0, False),
    "talk_spread": (0.0, 1.0, False),
    "talk_upper": (0.0, 1.0, False),
    "talk_lower": (0.0, 1.0, False),
    "talk_side": (-1.0, 1.0, False),
    "talk_phrase": (0.6, 2.4, True),
    "blink_rate": (0.25, 1.3, True),
    "blink_length": (0.16, 0.50, True),
    "brow_rest": (-1.0, 1.0, False),
    "brow_side": (-1.0, 1.0, False),
    "brow_beat": (0.0, 1.0, False),
    "nod_rate": (0.35, 1.6, True),
    "nod_size": (0.6, 4.0, True),
    "sway_rate": (0.20, 1.0, True),
    "sway_size": (1.0, 7.0, True),
    "sway_roll": (-1.0, 1.0, False),
    "tilt": (-9.0, 9.0, False),
    "chin": (-6.0, 6.0, False),
}
_NAMES = tuple(field.name for field in fields(Habits))
_LOW = np.array([RANGES[name][0] for name in _NAMES])
_HIGH = np.array([RANGES[name][1] for name in _NAMES])
_LOG = np.array([RANGES[name][2] for name in _NAMES])


def _group(*starts: str) -> slice:
    rows = [i for i, name in enumerate(_NAMES) if name.startswith(starts)]
    return slice(rows[0], rows[-1] + 1)


HABITS_LAYOUT: dict[str, slice] = {
    "smile": _group("smile_"),
    "talk": _group("talk_", "blink_", "brow_"),
    "pose": _group("nod_", "sway_", "tilt", "chin"),
}
HABITS_SIZE = len(_NAMES)


@lru_cache(maxsize=4096)
def sample_habits(seed: int) -> Habits:
    """The habits of person ``seed``, from the random stream [seed, 2] (the looks use [seed, 1])."""
    share = np.random.default_rng(np.random.SeedSequence([seed, 2])).random(HABITS_SIZE)
    values = np.where(_LOG, np.exp(np.log(np.where(_LOG, _LOW, 1)) * (1 - share) + np.log(np.where(_LOG, _HIGH, 1)) * share), 0)
    values = np.where(_LOG, values, _LOW + (_HIGH - _LOW) * share)
    return Habits(*(float(value) for value in values))


def habits_vector(habits: Habits) -> np.ndarray:
    """(HABITS_SIZE,) float32 of mean 0 and variance 1 over people, in the order of the fields; HABITS_LAYOUT names its groups."""
    values = np.array([getattr(habits, name) for name in _NAMES])
    low, high = np.where(_LOG, np.log(np.where(_LOG, _LOW, 1)), _LOW), np.where(_LOG, np.log(np.where(_LOG, _HIGH, 1)), _HIGH)
    share = (np.where(_LOG, np.log(np.where(_LOG, values, 1)), values) - low) / (high - low)
    return ((share - 0.5) * np.sqrt(12.0)).astype(np.float32)
