"""The proof itself is tested: it finds people who differ in habits, and finds nothing where there is nothing."""

import numpy as np
import pytest

from slotid.types import SlotIDError
from slotid.world.habits import sample_habits
from slotid.world.measure import _RIGID, _onto
from slotid.world.performance import Script, perform
from slotid.world.separability import KINDS, _auc, _seed, describe, expression_channels, true_curves_auc, verification_auc
from slotid.world.splits import SPLITS

PEOPLE, TAKES = 60, 3
OWNERS = np.repeat(np.arange(PEOPLE), TAKES)


def described(habits_of, own_scale=False):
    rows = []
    for person in range(PEOPLE):
        for take in range(TAKES):
            motion = perform(habits_of(person), KINDS["talk, then smile"], _seed(person, 2, take), 33, 12.0)
            rows.append(describe(expression_channels(motion.expressions), own_scale))
    return np.array(rows)


def test_area_under_the_curve_of_known_scores():
    same = np.array([True, True, False, False])
    assert _auc(np.array([3.0, 4.0, 1.0, 2.0]), same) == 1.0
    assert _auc(np.array([1.0, 2.0, 3.0, 4.0]), same) == 0.0
    assert _auc(np.array([1.0, 3.0, 2.0, 4.0]), same) == 0.25


def test_features_know_neither_offset_nor_scale():
    motion = perform(sample_habits(1), Script(("talk",)), 4, 33, 12.0)
    curves = expression_channels(motion.expressions)
    moved = 0.37 * curves + np.linspace(-1, 1, curves.shape[1])
    assert np.allclose(describe(curves), describe(moved), atol=1e-6)
    live = curves.std(axis=0) > 1e-2
    own = 0.2 + np.random.default_rng(0).random(live.sum())
    assert np.allclose(describe(curves[:, live], own_scale=True), describe(curves[:, live] * own, own_scale=True), atol=1e-6)


def test_habits_alone_tell_people_apart_on_true_curves():
    assert verification_auc(described(lambda person: sample_habits(SPLITS["test"][person])), OWNERS) >= 0.95


def test_people_with_one_and_the_same_habit_are_not_told_apart():
    nobody = sample_habits(SPLITS["test"][0])
    assert verification_auc(described(lambda person: nobody), OWNERS) == pytest.approx(0.5, abs=0.08)


def test_the_table_has_both_scales_and_their_means():
    table = true_curves_auc(people=20, takes=2)
    assert len(table) == 2 * (len(KINDS) + 1) and all(0 <= value <= 1 for value in table.values())


def test_too_few_people_are_refused():
    with pytest.raises(SlotIDError, match="too few"):
        verification_auc(np.zeros((4, 3)), np.array([0, 0, 1, 1]))


def test_laying_one_head_on_another_finds_the_rotation():
    rng = np.random.default_rng(3)
    middle = rng.normal(size=(478, 3)) * 50
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    shape = (middle @ turn.T) * 1.7 + (10, -20, 5)
    rotation, aligned = _onto(shape, middle)
    assert np.allclose(rotation, turn, atol=1e-8) and np.allclose(aligned[_RIGID], middle[_RIGID], atol=1e-6)
