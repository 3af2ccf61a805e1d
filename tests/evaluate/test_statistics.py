"""Bootstrap over people, paired differences."""

import numpy as np
import pytest

from slotid.evaluate.statistics import interval, paired


def test_interval_is_of_people_not_of_films():
    # one person with a thousand films is one person
    values, people = [0.0] * 1000 + [1.0, 1.0], [1] * 1000 + [2, 3]
    found = interval(values, people)
    assert found["mean"] == pytest.approx(2 / 3)
    assert found["low"] == 0 and found["high"] == 1


def test_interval_covers_the_mean_of_a_normal_sample_and_is_reproducible():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        found = interval(rng.normal(3, 1, 40), list(range(40)), seed=trial)
        hits += found["low"] <= 3 <= found["high"]
    assert 85 <= hits <= 100
    sample = rng.normal(size=40)
    assert interval(sample, range(40), 5) == interval(sample, range(40), 5)
    assert interval(sample, range(40), 5)["high"] - interval(sample, range(40), 5)["low"] == pytest.approx(4 / np.sqrt(40), rel=0.35)


def test_unknown_values_are_left_out():
    assert interval([None, 2.0, float("nan")], [1, 2, 3])["mean"] == 2
    assert interval([None], [1]) == {"mean": None, "low": None, "high": None}


def test_paired_differences_compare_like_with_like():
    rng = np.random.default_rng(0)
    hard = {(p, k): float(rng.normal()) for p in range(12) for k in range(2)}  # films differ much from one another
    better = {key: value + 0.1 for key, value in hard.items()}
    found = paired(better, hard | {(99, 0): 5.0})
    assert found["mean"] == pytest.approx(0.1) and found["low"] == pytest.approx(0.1) and found["pairs"] == 24
    assert paired({(1, 0): None}, hard)["mean"] is None
