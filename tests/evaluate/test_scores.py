"""Films that are wrong on purpose get the scores that they deserve: through the real scoring, with readings whose content is known."""

from dataclasses import replace

import numpy as np
import pytest

from slotid.evaluate.judges import HABIT_WIDTH
from slotid.evaluate.reading import Reading, load_reading, read_film, save_reading, track_or_none
from slotid.evaluate.score import METRICS, Target, score, shows_habits
from slotid.types import Clip

TALK = {"act": "talk", "light": "studio"}


def unit(rng, *shape):
    x = rng.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def target(judges):
    rng = np.random.default_rng(0)
    looks = unit(rng, 128)
    return Target(7, looks, unit(rng, HABIT_WIDTH) * 0.9, looks, unit(rng, 99, 128))


def film_of(looks, habits, judges, noise=0.0, act="talk", **changes):
    """A reading of 25 frames in which somebody with these looks and habits talks in studio light, as natural as real films."""
    rng = np.random.default_rng(1)
    each = looks + noise * rng.normal(size=(25, 128))
    each /= np.linalg.norm(each, axis=1, keepdims=True)
    chances = np.array([0.9 if name == act else 0.1 / 17 for name in judges.acts_names], np.float32)
    scene = np.array([{"light": "studio"}.get(name, values[0]) for name, values in judges.scene_names.items()])
    plain = Reading(
        np.arange(25) / 12, np.ones(25, bool), each.astype(np.float32), habits.astype(np.float32), chances, scene,
        rng.normal(size=(8, 192)).astype(np.float32), 1.0, 0.02, 0.005, 20.0, 0.5,
    )  # fmt: skip
    return replace(plain, **changes)


def test_the_person_itself(judges, target):
    # another real clip of the person is not identical: its cosine is what the judge calls "same" (0.6 in these judges)
    got = score(film_of(target.looks, target.habits * 0.6 / 0.81, judges, noise=0.118), target, TALK, judges)
    assert set(got) == set(METRICS)
    assert got["looks_likeness"] == pytest.approx(1, abs=0.12) and got["habit_likeness"] == pytest.approx(1, abs=0.01)
    assert got["rank1"] == 1 and got["margin"] > 0.5 and abs(got["drift"]) < 0.1
    assert got["prompt_following"] == 1 and got["naturalness"] == 1 and got["detection_rate"] == 1


def test_another_person(judges, target):
    other = film_of(target.gallery[3], np.zeros(HABIT_WIDTH), judges)
    got = score(other, target, TALK, judges)
    assert got["looks_likeness"] < 0.3 and got["rank1"] == 0 and got["margin"] < -0.5
    assert got["habit_likeness"] < 0.1
    assert got["prompt_following"] == 1 and got["naturalness"] == 1  # a fine film, of somebody else


def test_a_frozen_face_cannot_win(judges, target):
    still = {"jitter": 0.0, "flicker": 0.0, "pose_range": 0.0, "expression_range": 0.0}
    frozen = film_of(target.looks, np.zeros(HABIT_WIDTH), judges, act="stay_neutral", **still)
    got = score(frozen, target, TALK, judges)
    assert got["looks_likeness"] > 1  # the face is perfect, and all the rest gives it away
    assert got["habit_likeness"] < 0.1 and got["naturalness"] == 0 and got["prompt_following"] == 0.5
    assert got["pose_range"] == 0 and got["expression_range"] == 0


def test_noise_without_a_face(judges, target):
    rng = np.random.default_rng(0)
    clip = Clip(rng.integers(0, 256, (9, 128, 128, 3), dtype=np.uint8), np.arange(9) / 12)
    reading = read_film(clip, judges, track_or_none(clip))
    got = score(reading, target, TALK, judges)
    assert got["detection_rate"] == 0 and got["looks_likeness"] == 0 and got["looks_likeness_seen"] is None
    assert got["rank1"] == 0 and got["margin"] == 0 and got["drift"] is None and got["naturalness"] == 0
    assert got["habit_likeness"] <= 0 and got["prompt_following"] <= 0.5
    assert reading.strange > judges.real["strangeness"][0] or np.isfinite(reading.strange)


def test_half_the_face_hidden(judges, target):
    seen = np.arange(25) < 12
    whole = film_of(target.looks, target.habits, judges)
    got = score(replace(whole, seen=seen, looks=whole.looks * seen[:, None]), target, TALK, judges)
    full = score(whole, target, TALK, judges)
    assert got["looks_likeness"] == pytest.approx(full["looks_likeness"] * 12 / 25)
    assert got["looks_likeness_seen"] == pytest.approx(full["looks_likeness_seen"])
    assert got["detection_rate"] == pytest.approx(12 / 25)


def test_the_reference_pasted_does_not_follow_the_prompt(judges, target):
    pasted = film_of(target.looks, target.habits, judges, act="smile")
    got = score(pasted, target, {"act": "nod", "light": "sunset", "background": "beach"}, judges)
    assert got["looks_likeness"] >= 1 and got["prompt_following"] == 0
    assert got["habit_likeness"] is None  # a nod shows no habits: nothing to win there


def test_drift_of_a_face_that_goes_away(judges, target):
    share = np.linspace(0, 1, 25)[:, None]
    away = (1 - share) * target.looks + share * target.gallery[0]
    film = replace(film_of(target.looks, target.habits, judges), looks=away.astype(np.float32))
    got = score(film, target, TALK, judges)
    assert got["drift"] < -0.4


def test_which_acts_show_habits():
    assert shows_habits({"act": "smile+nod"}) and shows_habits({"act": "talk"}) and shows_habits({"act": "nod,laugh"})
    assert not shows_habits({"act": "nod"}) and not shows_habits({"light": "studio"})


def test_readings_survive_the_disk_and_know_their_judges(judges, target, tmp_path):
    reading = film_of(target.looks, target.habits, judges, jitter=float("nan"))
    save_reading(tmp_path / "a.npz", reading, "these")
    back = load_reading(tmp_path / "a.npz", "these")
    assert np.array_equal(back.looks, reading.looks) and np.isnan(back.jitter) and back.flicker == reading.flicker
    assert list(back.scene) == list(reading.scene)
    assert load_reading(tmp_path / "a.npz", "others") is None and load_reading(tmp_path / "b.npz", "these") is None
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    assert load_reading(tmp_path / "a.npz", "these") is None
