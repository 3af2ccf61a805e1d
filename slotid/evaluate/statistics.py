"""Means with 95 % intervals, resampling *people* (films of one person are not independent), and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

RESAMPLES = 2000


def by_person(values: Iterable[float | None], people: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Person numbers (P,) and the mean (P,) of each person's known values; people without any are left out."""
    x = np.array([np.nan if v is None else float(v) for v in values])
    owners = np.asarray(people)
    kept = [p for p in np.unique(owners) if np.isfinite(x[owners == p]).any()]
    return np.array(kept), np.array([np.nanmean(x[owners == p]) for p in kept])


def interval(values: Iterable[float | None], people: Sequence[int], seed: int = 0) -> dict[str, float | None]:
    """{"mean", "low", "high"}: the mean of people's means and its bootstrap 95 % interval (Efron 1979). All None without a value."""
    _, means = by_person(values, people)
    return _interval(means, seed)


def paired(a: dict[tuple, float | None], b: dict[tuple, float | None], seed: int = 0) -> dict[str, float | None]:
    """Mean difference a - b over the films that both have; keys are (person, ...), the interval resamples people. "pairs" counts films."""
    keys = sorted(k for k in set(a) & set(b) if _known(a[k]) and _known(b[k]))
    _, means = by_person([a[k] - b[k] for k in keys], [k[0] for k in keys])
    return _interval(means, seed) | {"pairs": len(keys)}


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _interval(means: np.ndarray, seed: int) -> dict[str, float | None]:
    if not len(means):
        return {"mean": None, "low": None, "high": None}
    rng = np.random.default_rng([seed, 9])
    drawn = means[rng.integers(0, len(means), (RESAMPLES, len(means)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"mean": float(means.mean()), "low": float(low), "high": float(high)}
