"""Habits: in range, reproducible, standardised, grouped."""

import numpy as np
import pytest

from slotid.types import SlotIDError
from slotid.world.habits import HABITS_LAYOUT, HABITS_SIZE, RANGES, habits_vector, sample_habits
from slotid.world.splits import SPLITS, split_of, split_range


def test_every_field_stays_in_its_range_and_fills_it():
    many = [sample_habits(seed) for seed in range(500)]
    for name, (least, most, _) in RANGES.items():
        values = np.array([getattr(habits, name) for habits in many])
        assert least <= values.min() and values.max() <= most
        assert values.max() - values.min() > 0.9 * (most - least), name


def test_the_vector_is_standardised_and_has_an_inverse_order():
    vectors = np.stack([habits_vector(sample_habits(seed)) for seed in range(3000)])
    assert vectors.shape == (3000, HABITS_SIZE) and vectors.dtype == np.float32
    assert np.abs(vectors.mean(axis=0)).max() < 0.08
    assert np.abs(vectors.std(axis=0) - 1).max() < 0.05
    correlation = np.corrcoef(vectors.T) - np.eye(HABITS_SIZE)
    assert np.abs(correlation).max() < 0.09  # no habit foretells another


def test_groups_cover_the_vector_once():
    covered = np.concatenate([np.arange(HABITS_SIZE)[group] for group in HABITS_LAYOUT.values()])
    assert sorted(covered) == list(range(HABITS_SIZE))
    assert list(HABITS_LAYOUT) == ["smile", "talk", "pose"]


def test_same_seed_same_habits_other_seed_other_habits():
    sample_habits.cache_clear()
    first = sample_habits(2_000_007)
    sample_habits.cache_clear()
    assert sample_habits(2_000_007) == first != sample_habits(2_000_008)


def test_splits_do_not_meet_and_name_their_seeds():
    names = list(SPLITS)
    for a in names:
        assert split_of(SPLITS[a].start) == split_of(SPLITS[a].stop - 1) == a
        assert all(SPLITS[a].stop <= SPLITS[b].start or SPLITS[b].stop <= SPLITS[a].start for b in names if b != a)
    assert split_range(0, 100_000) == "train"


@pytest.mark.parametrize("start, stop, said", [(5, 5, "empty"), (99_999, 1_000_001, "mixes"), (100_000, 100_001, "no split")])
def test_a_range_that_is_empty_or_crosses_splits_is_refused(start, stop, said):
    with pytest.raises(SlotIDError, match=said):
        split_range(start, stop)
