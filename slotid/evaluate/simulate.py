"""Measured curves without rendering: what MediaPipe *would* measure of a performance, learnt from films where both are known.

Measured curves are nearly a linear function of the true performance, plus noise that hangs together over time and a gain that differs
from face to face. All three are fitted on the judges' own rendered films; then thousands of performances cost milliseconds each instead of
seconds. It teaches the curve judges only; they are graded on curves that MediaPipe really measured, of people never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotid.evaluate.lessons import FPS, FRAMES, INTRODUCTION, Lessons, truth_of
from slotid.types import SlotIDError

LEAST_FRAMES = 120


@dataclass(frozen=True)
class Measuring:
    """From truth (T, X) to curves (T, C): ``values = truth @ map``, centred, with gain and noise of these sizes."""

    map: np.ndarray  # (X, C)
    noise: np.ndarray  # (C,) standard deviation of what the map does not tell
    memory: np.ndarray  # (C,) correlation of that from one frame to the next
    gain: float  # standard deviation of the log gain of a channel in a clip
    told: float  # share of the variance of measured curves that the map tells, on the films it was fitted on

    def curves(self, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, T, X) -> (B, T, C), centred by the median over time as the judges do it."""
        values = truth @ self.map
        values = values - np.median(values, axis=1, keepdims=True)
        values = values * np.exp(rng.normal(0, self.gain, (len(values), 1, values.shape[2])))
        shocks = rng.normal(size=values.shape) * self.noise * np.exp(rng.normal(0, 0.3, (len(values), 1, 1)))
        noise = np.empty_like(shocks)
        noise[:, 0] = shocks[:, 0]
        for t in range(1, values.shape[1]):
            noise[:, t] = self.memory * noise[:, t - 1] + np.sqrt(1 - self.memory**2) * shocks[:, t]
        values = values + noise
        return (values - np.median(values, axis=1, keepdims=True)).astype(np.float32)


def fit_measuring(lessons: Lessons, ridge: float = 3e-3, gain: float = 0.15) -> Measuring:
    """Ridge regression of measured on true curves, both centred per clip. Raises SlotIDError with fewer than LEAST_FRAMES seen frames."""
    rows = [k for k in range(len(lessons.people)) if lessons.seen[k].sum() >= 8]
    if sum(int(lessons.seen[k].sum()) for k in rows) < LEAST_FRAMES:
        raise SlotIDError(f"{len(rows)} tracked films are too few to learn what is measured of a performance; render more people.")
    x, y = [], []
    for k in rows:
        seen = lessons.seen[k]
        x.append(lessons.motion[k][seen] - lessons.motion[k][seen].mean(axis=0))  # means, not medians: these go through a linear map
        y.append(lessons.curves[k][seen] - lessons.curves[k][seen].mean(axis=0))
    all_x, all_y = np.concatenate(x).astype(np.float64), np.concatenate(y).astype(np.float64)
    scale = all_x.T @ all_x + ridge * len(all_x) * np.eye(all_x.shape[1])
    weights = np.linalg.solve(scale, all_x.T @ all_y)
    rest = [b - a @ weights for a, b in zip(x, y, strict=True)]
    left = np.concatenate(rest)
    before, after = np.concatenate([r[:-1] for r in rest]), np.concatenate([r[1:] for r in rest])
    memory = np.clip((before * after).mean(axis=0) / np.maximum((left**2).mean(axis=0), 1e-12), 0, 0.95)
    told = 1 - float((left**2).mean(axis=0).sum() / np.maximum((all_y**2).mean(axis=0).sum(), 1e-12))
    return Measuring(weights, left.std(axis=0), memory, gain, told)


@dataclass(frozen=True)
class Bank:
    """True performances of many people, three takes each, ready to be measured."""

    truth: np.ndarray  # (P, K, T, X) float16
    acts: list[list[str]]  # (P)(K) act facts
    habits: np.ndarray  # (P, H) float32, world.habits.habits_vector


def perform_bank(people: range, until: float | None = None) -> Bank:
    """Performances of ``people``: an act that shows habits, any act (every act equally often), an introduction. Some 5 ms a person."""
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
        any_act = Script((ACTS[number % len(ACTS)],)) if number % 4 else sample_script(take_seed(seed, 1))
        scripts = (single, any_act, reference_script(take_seed(seed, INTRODUCTION)))
        motions = [perform(own, script, take_seed(seed, k), FRAMES, FPS) for k, script in enumerate(scripts)]
        truth.append([truth_of(m.expressions, m.head, m.gaze) for m in motions])
        acts.append([script.fact for script in scripts])
        habits.append(habits_vector(own))
    return Bank(np.array(truth, np.float16), acts, np.array(habits))
