"""Do slots mean something? Statistics of what each slot read, clip by clip: pure functions of a method's transport plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slotid.evaluate.statistics import interval

DEAD_MASS = 0.1  # share of an even share of the clip's mass below which a slot reads nothing
DEAD_GATE = 0.01


def entropy(weights: np.ndarray) -> float:
    """Entropy of a distribution over N places that have any mass to give, over log N: 1 even, 0 all in one place."""
    p = np.asarray(weights, np.float64).ravel()
    if len(p) < 2 or p.sum() <= 0:
        return 0.0
    p = p / p.sum()
    return float(-(p[p > 0] * np.log(p[p > 0])).sum() / np.log(len(p)))


def slot_statistics(shown: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What one clip's code shows ("plans" (I, S, T, h, w), "gates" (S,), "mass" (S,), "seen" (T,)) as arrays over slots.

    Returns {"mass" (S,) times S: 1 is an even share, "gate" (S,), "time" (S,) and "space" (S,) normalised entropies over the seen frames
    and over the places of the face, "map" (S, h*w) where the slot reads, summing to 1}.
    """
    plan = np.asarray(shown["plans"][-1], np.float64)[:, np.asarray(shown["seen"], bool)]
    over_time, over_space = plan.sum((2, 3)), plan.sum(1).reshape(len(plan), -1)
    return {
        "mass": np.asarray(shown["mass"], np.float64) * len(plan),
        "gate": np.asarray(shown["gates"], np.float64),
        "time": np.array([entropy(row) for row in over_time]),
        "space": np.array([entropy(row) for row in over_space]),
        "map": over_space / np.maximum(over_space.sum(axis=1, keepdims=True), 1e-12),
    }


def summary(clips: Sequence[Mapping[str, np.ndarray]], people: Sequence[int], names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """All clips of a method: per slot the means with 95 % intervals over people, which slots are dead, and how much maps differ.

    "between_clips" and "between_slots" are total variation distances (0 alike, 1 apart) of the maps: of one slot in two clips, and of two
    slots in one clip.
    """
    maps = np.stack([clip["map"] for clip in clips])  # (N, S, P)
    slots = maps.shape[1]
    rows = {
        f"{k} {names[k] if k < len(names) else ''}".strip(): {
            what: interval([float(clip[what][k]) for clip in clips], people, seed) for what in ("mass", "gate", "time", "space")
        }
        for k in range(slots)
    }
    dead = [
        name for name, row in rows.items() if row["mass"]["mean"] < DEAD_MASS or row["gate"]["mean"] < DEAD_GATE
    ]  # over all clips: a slot may well rest in one
    pairs = [(a, b) for a in range(slots) for b in range(a)]
    return {
        "clips": len(clips),
        "slots": rows,
        "dead": dead,
        "between_clips": float(np.mean([_distance(maps[n], maps[n - 1]).mean() for n in range(len(maps))])) if len(maps) > 1 else None,
        "between_slots": float(np.mean([[_distance(one[a], one[b]) for a, b in pairs] for one in maps])) if pairs else None,
    }


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 0.5 * np.abs(a - b).sum(axis=-1)
