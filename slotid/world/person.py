"""One integer is one person: a face and a way of moving that know nothing of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotid.world.habits import HABITS_LAYOUT, Habits, habits_vector, sample_habits
from slotid.world.looks import LOOKS_LAYOUT, Looks, looks_vector, sample_looks

_LOOKS_SIZE = max(group.stop for group in LOOKS_LAYOUT.values())

# shape, skin, hair, trim (looks), then smile, talk, pose (habits)
PERSON_LAYOUT: dict[str, slice] = {
    **LOOKS_LAYOUT,
    **{name: slice(group.start + _LOOKS_SIZE, group.stop + _LOOKS_SIZE) for name, group in HABITS_LAYOUT.items()},
}
PERSON_SIZE = max(group.stop for group in PERSON_LAYOUT.values())


@dataclass(frozen=True)
class Person:
    """A face (``looks``) and a way of moving (``habits``), both drawn from ``seed`` in streams of their own."""

    seed: int
    looks: Looks
    habits: Habits


def person(seed: int) -> Person:
    """The person of a seed; always the same one."""
    return Person(seed, sample_looks(seed), sample_habits(seed))


def person_vector(who: Person) -> np.ndarray:
    """(PERSON_SIZE,) float32: looks_vector then habits_vector; PERSON_LAYOUT names its groups. A training target only."""
    return np.concatenate([looks_vector(who.looks), habits_vector(who.habits)]).astype(np.float32)
