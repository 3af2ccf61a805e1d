"""Persons and takes: one seed each, and nothing about one part of it foretells another."""

import numpy as np
import pytest

from slotid.types import SlotIDError
from slotid.world.captions import FACTS
from slotid.world.habits import habits_vector, sample_habits
from slotid.world.looks import looks_vector, sample_looks
from slotid.world.performance import ACTS, Script, sample_script
from slotid.world.person import PERSON_LAYOUT, PERSON_SIZE, person, person_vector
from slotid.world.scene import BACKGROUNDS, COLOURS, LIGHTS, sample_scene
from slotid.world.take import direct, take_seed


def test_the_vector_is_looks_then_habits_in_seven_groups():
    who = person(2_000_003)
    vector = person_vector(who)
    assert vector.shape == (PERSON_SIZE,) and vector.dtype == np.float32
    assert list(PERSON_LAYOUT) == ["shape", "skin", "hair", "trim", "smile", "talk", "pose"]
    covered = np.concatenate([np.arange(PERSON_SIZE)[group] for group in PERSON_LAYOUT.values()])
    assert sorted(covered) == list(range(PERSON_SIZE))
    looks = PERSON_LAYOUT["trim"].stop
    assert np.array_equal(vector[:looks], looks_vector(who.looks)) and np.array_equal(vector[looks:], habits_vector(who.habits))


def test_a_person_is_always_the_same_one():
    assert np.array_equal(person_vector(person(17)), person_vector(person(17)))
    assert not np.allclose(person_vector(person(17)), person_vector(person(18)))


def _one_hot(values, known):
    return np.array([[value == name for name in known] for value in values], np.float32)


def test_shape_albedo_habit_scene_and_act_are_uncorrelated_over_ten_thousand_people():
    seeds = range(10_000)
    looks = [sample_looks(seed) for seed in seeds]
    scenes = [sample_scene(take_seed(seed, 0)) for seed in seeds]
    acts = [sample_script(take_seed(seed, 0)).acts[0] for seed in seeds]
    blocks = {
        "shape": np.stack([one.shape for one in looks]),
        "albedo": np.array([(one.melanin, one.redness, one.yellowness, *one.skin_rgb) for one in looks]),
        "habit": np.stack([habits_vector(sample_habits(seed)) for seed in seeds]),
        "scene": np.concatenate(
            [
                _one_hot([one.facts["light"] for one in scenes], LIGHTS),
                _one_hot([one.facts["background"] for one in scenes], BACKGROUNDS),
                _one_hot([one.facts["clothing"].split("_")[0] for one in scenes], COLOURS),
                np.array([(*one.key_dir, one.distance, one.elevation, one.azimuth, one.exposure) for one in scenes]),
            ],
            axis=1,
        ),
        "act": _one_hot(acts, ACTS),
    }
    unit = {name: (x - x.mean(axis=0)) / x.std(axis=0) for name, x in blocks.items()}
    for a in unit:
        for b in unit:
            if a < b:
                correlation = unit[a].T @ unit[b] / len(looks)
                # chance alone: standard deviation 0.01, so five of them
                assert np.abs(correlation).max() < 0.05, (a, b, np.abs(correlation).max())


def test_takes_of_a_person_share_the_person_and_nothing_else():
    one, two = direct(5, 0), direct(5, 1)
    assert np.array_equal(person_vector(one.person), person_vector(two.person))
    assert one.scene != two.scene and not np.array_equal(one.motion.head, two.motion.head)
    assert set(one.facts) == set(FACTS) and one.facts["act"] == one.script.fact
    assert direct(5, 0).caption == one.caption and np.array_equal(direct(5, 0).motion.expressions, one.motion.expressions)
    assert len({take_seed(person_seed, index) for person_seed in range(100) for index in range(20)}) == 2000


def test_reference_takes_show_two_acts_and_are_spoilt_at_the_asked_rate():
    takes = [direct(seed, 3, reference=True) for seed in range(60)]
    assert all(len(take.script.acts) == 2 for take in takes)
    assert 0.25 < np.mean([take.degrade_seed is not None for take in takes]) < 0.75
    assert all(direct(seed, 3, reference=True, defects=0.0).degrade_seed is None for seed in range(20))
    assert all(direct(seed, 0).degrade_seed is None for seed in range(20))
    assert direct(0, 0, script=Script(("wink",))).facts["act"] == "wink"


def test_a_negative_clip_number_is_refused():
    with pytest.raises(SlotIDError, match="negative"):
        direct(0, -1)
