"""Judges on disk and in use; real classes, random weights."""

import json

import numpy as np
import pytest
import torch

from slotid.evaluate.curves import CHANNELS, Curves, centred, channels_of, on_time
from slotid.evaluate.judges import HABIT_WIDTH, HOME, MOST_BYTES, below_bars, judges_missing, load_judges
from slotid.evaluate.networks import LooksNet, contrast, in_ball, parameters_of
from slotid.types import SlotIDError


def some_curves(seed=0, frames=25):
    rng = np.random.default_rng(seed)
    return Curves(np.cumsum(rng.normal(size=(frames, len(CHANNELS))), axis=0).astype(np.float32), np.ones(frames, bool))


def test_vectors_have_the_promised_shapes_and_lengths(judges):
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (5, 128, 128, 3), dtype=np.uint8)
    looks = judges.looks(crops)
    assert looks.shape == (5, 128) and np.allclose(np.linalg.norm(looks, axis=1), 1, atol=1e-5)
    habits = judges.habits(some_curves())
    assert habits.shape == (HABIT_WIDTH,) and 0 < np.linalg.norm(habits) < 1
    assert np.all(judges.habits(None) == 0) and judges.acts(None) == {}
    acts = judges.acts(some_curves())
    assert list(acts) == list(judges.acts_names) and sum(acts.values()) == pytest.approx(1, abs=1e-5)
    scene = judges.scene(crops)
    assert set(scene) == {"light", "background", "colour", "garment", "framing"}
    assert all(value in judges.scene_names[name] for name, value in scene.items())
    assert judges.features(crops, crops).shape == (5, len(judges.real_mean))


def test_the_looks_judge_is_small():
    assert parameters_of(LooksNet()) < 1_500_000


def test_habits_know_nothing_of_the_resting_face_and_need_order(judges):
    curves = some_curves()
    moved = Curves(curves.values + np.linspace(-3, 3, len(CHANNELS), dtype=np.float32), curves.seen)
    assert np.allclose(judges.habits(curves), judges.habits(moved), atol=1e-4)
    still = Curves(np.repeat(curves.values[:1], 25, axis=0), curves.seen)
    assert np.allclose(centred(still).values, 0)
    mixed = Curves(curves.values[np.random.default_rng(1).permutation(25)], curves.seen)
    assert not np.allclose(judges.habits(curves), judges.habits(mixed), atol=1e-3)


def test_curves_of_a_mesh_do_not_depend_on_place_and_size():
    rng = np.random.default_rng(3)
    mesh = rng.normal(size=(6, 478, 3)) * 30 + 100
    values = channels_of(mesh)
    assert values.shape == (6, len(CHANNELS)) and np.isfinite(values).all()
    assert np.allclose(channels_of(mesh * 2.5 + np.array([40.0, -7.0, 3.0])), values, atol=1e-6)


def test_curves_keep_true_time_and_bridge_hidden_frames():
    seconds = np.array([0, 0.1, 0.15, 0.4, 0.7, 1.0])
    seen = np.array([True, True, False, True, True, True])
    values = np.where(seen, seconds, 99.0)[:, None] * np.ones((1, len(CHANNELS)))
    found = on_time(values, seconds, seen)
    assert found.values.shape == (13, len(CHANNELS))
    assert np.allclose(found.values[:, 0], np.arange(13) / 12, atol=1e-6)
    assert not found.seen[2] and found.seen[0]
    with pytest.raises(SlotIDError):
        on_time(values, seconds, np.zeros(6, bool))


def test_ball_and_contrast():
    assert torch.allclose(in_ball(torch.zeros(1, 4)), torch.zeros(1, 4))
    assert float(in_ball(torch.full((1, 4), 50.0)).norm()) == pytest.approx(1, abs=1e-3)
    eye = torch.eye(4)
    assert float(contrast(eye, eye, 0.1)) < 0.01 < float(contrast(eye, eye.roll(1, 0), 0.1))
    assert float(contrast(eye, eye, 0.1, margin=0.5)) > float(contrast(eye, eye, 0.1))


def test_missing_and_foreign_judges_are_refused_by_name(tmp_path, judges_folder):
    with pytest.raises(SlotIDError, match="train judge_looks"):
        load_judges(tmp_path)
    assert judges_missing(judges_folder) is None
    for path in judges_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    note = json.loads((tmp_path / "habits.json").read_text())
    (tmp_path / "habits.json").write_text(json.dumps(note | {"acts": ["fly"]}))
    with pytest.raises(SlotIDError, match="habits judge"):
        load_judges(tmp_path)
    (tmp_path / "habits.json").write_text("{")
    with pytest.raises(SlotIDError, match="cannot be read"):
        load_judges(tmp_path)


def test_facts_of_another_looks_judge_are_refused(tmp_path, judges_folder):
    for path in judges_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    note = json.loads((tmp_path / "facts.json").read_text())
    (tmp_path / "facts.json").write_text(json.dumps(note | {"looks_weights": "other"}))
    with pytest.raises(SlotIDError, match="train judge_facts"):
        load_judges(tmp_path)


def test_bars_are_told():
    good = {"looks": {"auc": 0.995, "people": 96}, "habits": {"auc": 0.9, "people": 96}, "facts": {"acts": 0.97, "act_films": 190}}
    assert below_bars(good) == []
    short = below_bars(good | {"looks": {"auc": 0.7, "people": 96}, "habits": {}})
    assert len(short) == 2 and "0.700" in short[0] and "nothing measured" in short[1]
    few = below_bars(good | {"habits": {"auc": 1.0, "people": 4}})
    assert len(few) == 1 and "graded on 4" in few[0]


def test_embedded_judges_are_small_and_graded():
    missing = judges_missing()
    if missing:
        pytest.skip(missing)
    assert sum(path.stat().st_size for path in HOME.iterdir()) < MOST_BYTES
    quality = load_judges().quality
    assert {"auc", "people"} <= set(quality["looks"]) and "auc" in quality["habits"] and "acts" in quality["facts"]
