"""Metrics on arrays whose answer is known."""

import numpy as np
import pytest

from slotid.evaluate import metrics
from slotid.types import SlotIDError


def test_likeness_scale():
    assert metrics.normalised(0.2, 0.2, 0.8) == pytest.approx(0)
    assert metrics.normalised(0.8, 0.2, 0.8) == pytest.approx(1)
    assert metrics.normalised(0.5, 0.2, 0.8) == pytest.approx(0.5)
    assert metrics.normalised(-0.4, 0.2, 0.8) == pytest.approx(-1)
    with pytest.raises(SlotIDError, match="train it longer"):
        metrics.normalised(0.5, 0.6, 0.6)


def test_faceless_frames_count_zero_and_are_skipped():
    likeness, seen = np.array([1.0, 0.5, 9.0, 9.0]), np.array([True, True, False, False])
    assert metrics.over_frames(likeness, seen) == (pytest.approx(0.375), pytest.approx(0.75))
    mean, skipped = metrics.over_frames(likeness, np.zeros(4, bool))
    assert mean == 0 and np.isnan(skipped)
    assert metrics.detection_rate(seen) == 0.5 and metrics.detection_rate(np.zeros(0)) == 0


def test_rank_and_margin():
    others = np.array([0.1, 0.5, 0.3])
    assert metrics.rank_of(0.6, others) == 1
    assert metrics.rank_of(0.5, others) == 2  # a tie is no recognition
    assert metrics.rank_of(0.2, others) == 3
    assert metrics.margin(0.7, others, 0.1, 0.5) == pytest.approx(0.5)
    assert metrics.margin(0.4, others, 0.1, 0.5) == pytest.approx(-0.25)


def test_drift_is_a_slope_per_second():
    t = np.arange(25) / 12
    assert metrics.drift(0.9 - 0.2 * t, t, np.ones(25, bool)) == pytest.approx(-0.2)
    hole = np.ones(25, bool)
    hole[5:9] = False
    spoilt = np.where(hole, 0.9 - 0.2 * t, 100.0)
    assert metrics.drift(spoilt, t, hole) == pytest.approx(-0.2)
    assert np.isnan(metrics.drift(t, t, np.zeros(25, bool)))


def test_prompt_following_counts_asked_facts():
    acts = {"talk": 0.6, "smile": 0.3, "nod": 0.1}
    scene = {"light": "studio", "background": "beach", "colour": "red", "garment": "shirt"}
    assert metrics.prompt_following({"act": "talk"}, acts, scene) == 1
    assert metrics.prompt_following({"act": "nod"}, acts, scene) == 0
    assert metrics.prompt_following({"act": "smile,talk"}, acts, scene) == 1
    assert metrics.prompt_following({"act": "talk+nod"}, acts, scene) == 0.5
    assert metrics.prompt_following({"act": "talk", "light": "sunset"}, acts, scene) == 0.5
    assert metrics.prompt_following({"clothing": "red_hoodie"}, acts, scene) == 0.5
    assert metrics.prompt_following({"act": "talk", "background": "beach"}, {}, scene) == 0.5  # no face: no act
    with pytest.raises(SlotIDError):
        metrics.prompt_following({}, acts, scene)


def test_frechet_distance_of_known_gaussians():
    one, two = np.zeros(3), np.array([1.0, 2.0, 2.0])
    assert metrics.frechet_gaussians(one, np.eye(3), two, np.eye(3)) == pytest.approx(9)
    # of one dimension: (difference of the means)^2 + (difference of the standard deviations)^2
    assert metrics.frechet_gaussians(np.zeros(1), np.array([[4.0]]), np.zeros(1), np.array([[25.0]])) == pytest.approx(9)
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4))
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet(a, a + 3) == pytest.approx(36, rel=1e-6)
    with pytest.raises(SlotIDError):
        metrics.gaussian(np.zeros((1, 4)))


def test_strangeness_is_about_one_for_what_is_usual_and_grows():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(2000, 6)) * [1, 2, 3, 4, 5, 6] + 7
    mean, cov = metrics.gaussian(real)
    assert metrics.strangeness(real[:500], mean, cov) == pytest.approx(1, abs=0.1)
    assert metrics.strangeness(real[:500] + 5 * np.array([1, 2, 3, 4, 5, 6]), mean, cov) == pytest.approx(np.sqrt(26), rel=0.1)


def mesh(frames=13, size=60.0):
    """(T, 478, 2) points in a grid; points 33 and 263 are ``size`` apart."""
    points = np.stack(np.meshgrid(np.arange(25.0), np.arange(20.0)), -1).reshape(-1, 2)[:478]
    points[33], points[263] = (0, 0), (size, 0)
    return np.repeat(points[None], frames, axis=0)


def test_jitter_of_a_shaking_mesh():
    still, t = mesh(), np.arange(13) / 12
    moving = still + np.arange(13)[:, None, None] * 2.0  # at constant speed nothing trembles
    shaking = still + np.array([0.6 * (-1) ** k for k in range(13)])[:, None, None] * np.array([1.0, 0.0])
    assert metrics.jitter(still, t) == 0 and metrics.jitter(moving, t) == pytest.approx(0, abs=1e-12)
    assert metrics.jitter(shaking, t) == pytest.approx(4 * 0.6 / 60)
    hidden = shaking.copy()
    hidden[4] = np.nan
    assert metrics.jitter(hidden, t) == pytest.approx(4 * 0.6 / 60)
    assert np.isnan(metrics.jitter(np.full_like(still, np.nan), t))


def test_flicker_of_a_blinking_lamp():
    frames = np.full((9, 32, 40, 3), 100, np.uint8)
    assert metrics.flicker(frames) == 0
    frames[1::2] = 151
    assert metrics.flicker(frames) == pytest.approx(2 * 51 / 255, rel=1e-5)
    ramp = np.repeat((np.arange(9) * 10 + 50).astype(np.uint8), 32 * 40 * 3).reshape(9, 32, 40, 3)
    assert metrics.flicker(ramp) == pytest.approx(0, abs=1e-6)  # a light that grows steadily does not flicker
    assert metrics.flicker(frames[:2]) == 0


def test_naturalness_punishes_both_trembling_and_standing_still():
    real = {"strangeness": (0.7, 1.3), "jitter": (0.01, 0.04), "flicker": (0.001, 0.01)}
    assert metrics.naturalness(1.0, 0.02, 0.005, real) == pytest.approx(1)
    assert metrics.naturalness(0.1, 0.02, 0.005, real) == pytest.approx(1)  # less strange than usual is no fault
    assert metrics.naturalness(1.0, 0.08, 0.005, real) == pytest.approx(0.5 ** (1 / 3))
    assert metrics.naturalness(1.0, 0.0, 0.0, real) == 0
    assert metrics.naturalness(1.0, float("nan"), 0.005, real) == 0  # no face
    assert metrics.naturalness(2.6, 0.02, 0.005, real) == pytest.approx(0.5 ** (1 / 3))


def test_spread_ignores_unseen_frames():
    values = np.concatenate([np.linspace(0, 10, 101), [500.0]])
    assert metrics.spread(values, np.arange(102) < 101) == pytest.approx(9)
    assert metrics.spread(values, np.zeros(102, bool)) == 0


def test_verification():
    assert metrics.auc([0.9, 0.8], [0.1, 0.2, 0.3]) == 1
    assert metrics.auc([0.5], [0.5]) == 0.5
    assert metrics.auc([0.2, 0.6], [0.4, 0.4]) == 0.5
    assert metrics.equal_error_rate([0.9, 0.8], [0.1, 0.2]) == 0
    assert metrics.equal_error_rate([0.1, 0.2], [0.8, 0.9]) == 1
    assert metrics.equal_error_rate([0.2, 0.8, 0.9, 0.7], [0.1, 0.3, 0.1, 0.0]) == pytest.approx(0.25)
    with pytest.raises(SlotIDError):
        metrics.auc([], [0.1])
