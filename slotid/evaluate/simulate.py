"""Measured curves without rendering: what MediaPipe *would* measure of a performance, learnt from films where both are known.

Measured curves are nearly a function of the true performance, linear but for the turn of the head, plus what that function does not tell
and a gain that differs from face to face. The function is fitted on the judges' own rendered films, and what it leaves over in one of
them is laid over the next performance: trembling that hangs together over time and over the face, and frames in which no face was found.
So thousands of performances cost milliseconds each instead of seconds. It teaches the curve judges only; they are graded on curves that
MediaPipe really measured, of people never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from slotid.evaluate.lessons import FPS, FRAMES, INTRODUCTION, Lessons, truth_of
from slotid.types import SlotIDError

LEAST_FRAMES = 120
LEAST_SEEN = 8  # frames of a film
_EXPRESSIONS = 57  # at the front of ``truth_of``; then head yaw, pitch, roll


@dataclass(frozen=True)
class Measuring:
    """From truth (T, X) to curves (T, C)."""

    map: np.ndarray  # (X', C) from ``widened`` truth
    rest: np.ndarray  # (R, T, C) what the map leaves over, film by film
    seen: np.ndarray  # (R, T) bool, of the same films
    gain: float  # standard deviation of the log gain of a channel in a clip

    @property
    def noise(self) -> np.ndarray:
        """(C,) standard deviation of what the map does not tell."""
        return self.rest[self.seen].std(axis=0)

    def curves(self, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """truth (B, T, X) -> curves (B, T, C) float32, centred by the median over time as the judges do it, and seen (B, T) bool."""
        values = widened(truth) @ self.map
        values = (values - np.median(values, axis=1, keepdims=True)) * np.exp(rng.normal(0, self.gain, (len(values), 1, values.shape[2])))
        of = rng.integers(0, len(self.rest), len(values))
        rest, seen = self.rest[of], self.seen[of]
        back = rng.random(len(values)) < 0.5
        rest[back], seen[back] = rest[back, ::-1], seen[back, ::-1]
        values = values + rest * np.exp(rng.normal(0, 0.3, (len(values), 1, 1)))
        return (values - np.median(values, axis=1, keepdims=True)).astype(np.float32), seen

    def told(self, lessons: Lessons) -> float:
        """Share of the variance of measured curves that the map tells, over films."""
        x, y = _centred(lessons)
        left = np.concatenate([b - a @ self.map for a, b in zip(x, y, strict=True)])
        return 1 - float((left**2).mean(axis=0).sum() / np.maximum((np.concatenate(y) ** 2).mean(axis=0).sum(), 1e-12))


def widened(truth: np.ndarray) -> np.ndarray:
    """(..., X) to (..., X'): with products of expressions and the turn of the head, which foreshortens what is measured."""
    face, yaw, pitch = truth[..., :_EXPRESSIONS], truth[..., _EXPRESSIONS, None], truth[..., _EXPRESSIONS + 1, None]
    turned = [np.abs(yaw), yaw * pitch, yaw**2 * np.abs(yaw), yaw**3 / 10]
    return np.concatenate([truth, yaw * face, np.abs(yaw) * face, pitch * face, *turned], axis=-1)


def _centred(lessons: Lessons) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Widened truth and measured curves of the seen frames of well-seen films, without their means (they go through a linear map)."""
    x, y = [], []
    for k in _usable(lessons):
        seen, wide = lessons.seen[k], widened(lessons.motion[k].astype(np.float64))
        x.append(wide[seen] - wide[seen].mean(axis=0))
        y.append(lessons.curves[k][seen] - lessons.curves[k][seen].mean(axis=0))
    return x, y


def _usable(lessons: Lessons) -> list[int]:
    return [k for k in range(len(lessons.people)) if lessons.seen[k].sum() >= LEAST_SEEN]


def fit_measuring(lessons: Lessons, ridge: float = 1e-3, gain: float = 0.12) -> Measuring:
    """Ridge regression of measured on true curves, both centred per clip. Raises SlotIDError with fewer than LEAST_FRAMES seen frames."""
    rows = _usable(lessons)
    if sum(int(lessons.seen[k].sum()) for k in rows) < LEAST_FRAMES:
        raise SlotIDError(f"{len(rows)} tracked films are too few to learn what is measured of a performance; render more people.")
    x, y = (np.concatenate(part).astype(np.float64) for part in _centred(lessons))
    weights = np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ y)
    rest = lessons.curves[rows] - widened(lessons.motion[rows].astype(np.float64)) @ weights
    seen = lessons.seen[rows]
    rest = np.stack([one - one[there].mean(axis=0) for one, there in zip(rest, seen, strict=True)])
    return Measuring(weights, rest.astype(np.float32), seen, gain)


@dataclass(frozen=True)
class Bank:
    """True performances of many people, BANK_TAKES each, ready to be measured."""

    truth: np.ndarray  # (P, K, T, X) float16
    acts: list[list[str]]  # (P)(K) act facts
    habits: np.ndarray  # (P, H) float32, world.habits.habits_vector


BANK_TAKES = 4  # numbered as the lessons' takes; the fourth is another introduction


@lru_cache(maxsize=1)
def perform_bank(people: range, until: float | None = None) -> Bank:
    """Performances of ``people``: an act that shows habits, any act (every act equally often), two introductions. Some 7 ms a person."""
    import time

    from slotid.world.habits import habits_vector, sample_habits
    from slotid.world.performance import ACTS, Script, perform, reference_script, sample_script
    from slotid.world.take import take_seed

    truth, acts, habits = [], [], []
    for number, seed in enumerate(people):
        if until is not None and number >= 64 and time.monotonic() > until:
            break
        own = sample_habits(seed)
        single = Script((("talk", "smile", "laugh")[number % 3],))
        any_act = Script((ACTS[number // 3 % len(ACTS)],)) if number % 5 else sample_script(take_seed(seed, 1))
        introductions = [reference_script(take_seed(seed, k)) for k in (INTRODUCTION, INTRODUCTION + 1)]
        scripts = (single, any_act, *introductions)
        motions = [perform(own, script, take_seed(seed, k), FRAMES, FPS) for k, script in enumerate(scripts)]
        truth.append([truth_of(m.expressions, m.head, m.gaze) for m in motions])
        acts.append([script.fact for script in scripts])
        habits.append(habits_vector(own))
    return Bank(np.array(truth, np.float16), acts, np.array(habits))
