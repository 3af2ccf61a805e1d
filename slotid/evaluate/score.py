"""One film's values: a reading, whom it should show, and what it should show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slotid.evaluate import metrics
from slotid.evaluate.judges import Judges
from slotid.evaluate.reading import Reading
from slotid.world.performance import acts_of

HABIT_ACTS = ("talk", "smile", "laugh")  # acts that show a person's own way; habit likeness is asked of films of these alone
METRICS = (
    "looks_likeness",
    "habit_likeness",
    "rank1",
    "margin",
    "drift",
    "prompt_following",
    "naturalness",
    "detection_rate",
    "looks_likeness_seen",
    "pose_range",
    "expression_range",
)


@dataclass(frozen=True)
class Target:
    """Whom a film should show: what real clips of this person, never shown to the method as a film, look like to the judges."""

    person: int
    looks: np.ndarray  # (D,) unit: mean look of the reference clip
    habits: np.ndarray  # (H,) of the reference clip
    portrait: np.ndarray  # (D,) unit: the person's place in the gallery, from another scene
    gallery: np.ndarray  # (G, D) unit: the other people


def shows_habits(asked: Mapping[str, str]) -> bool:
    """Is the film asked for an act that shows a person's own way of moving?"""
    return bool(set(acts_of(asked.get("act", ""))) & set(HABIT_ACTS))


def score(reading: Reading, target: Target, asked: Mapping[str, str], judges: Judges) -> dict[str, float | None]:
    """METRICS of one film; None where a value cannot be told (drift without a face, habits in an act that shows none)."""
    likeness = metrics.normalised(reading.looks @ target.looks, *judges.scales["looks"])
    looks, looks_seen = metrics.over_frames(likeness, reading.seen)
    film = reading.template
    to_target, to_others = float(film @ target.portrait), target.gallery @ film
    habits = float(metrics.normalised(float(reading.habits @ target.habits), *judges.scales["habits"]))
    acts = dict(zip(judges.acts_names, reading.acts.tolist(), strict=True)) if reading.acts.any() else {}
    scene = dict(zip(judges.scene_names, reading.scene.tolist(), strict=True))
    values = {
        "looks_likeness": looks,
        "habit_likeness": habits if shows_habits(asked) else None,
        "rank1": float(metrics.rank_of(to_target, to_others) == 1),
        "margin": metrics.margin(to_target, to_others, *judges.scales["looks"]),
        "drift": metrics.drift(likeness, reading.seconds, reading.seen),
        "prompt_following": metrics.prompt_following(asked, acts, scene),
        "naturalness": metrics.naturalness(reading.strange, reading.jitter, reading.flicker, judges.real),
        "detection_rate": metrics.detection_rate(reading.seen),
        "looks_likeness_seen": looks_seen,
        "pose_range": reading.pose_range,
        "expression_range": reading.expression_range,
    }
    return {name: None if value is None or not np.isfinite(value) else float(value) for name, value in values.items()}
