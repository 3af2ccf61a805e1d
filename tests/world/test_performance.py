"""Performances: each act is visible, habits shape it, and it is the same at any frame rate."""

from dataclasses import replace

import numpy as np
import pytest

from slotid.types import SlotIDError
from slotid.world.habits import sample_habits
from slotid.world.performance import ACTS, EXPRESSIONS, HEAD_ACTS, Script, perform, reference_script, sample_script, script_from_fact

FACE = [name for name in EXPRESSIONS if not name.startswith("eyeLook")]


def play(act, seed=0, habits=None, frames=33, fps=12.0, **other):
    script = act if isinstance(act, Script) else Script((act,))
    return perform(habits or sample_habits(seed), script, seed, frames, fps, **other)


def curve(motion, name):
    return motion.expressions[:, EXPRESSIONS.index(name)]


# what must be seen of each act, on people drawn at random: (sign, what) over its course
SEEN = {
    "smile": lambda m: max(np.ptp(curve(m, "mouthSmile_L")), np.ptp(curve(m, "mouthSmile_R"))) > 0.4,
    "laugh": lambda m: max(np.ptp(curve(m, "mouthSmile_L")), np.ptp(curve(m, "mouthSmile_R"))) > 0.4 and np.ptp(curve(m, "jawOpen")) > 0.2,
    "talk": lambda m: (np.diff(np.sign(np.diff(curve(m, "jawOpen"))), prepend=0) != 0).sum() >= 4,
    "frown": lambda m: np.ptp(curve(m, "mouthFrown_L")) > 0.3 and curve(m, "browDown_L").max() > 0.5,
    "be_surprised": lambda m: np.ptp(curve(m, "eyeWide_L")) > 0.6 and np.ptp(curve(m, "jawOpen")) > 0.15,
    "raise_brows": lambda m: max(np.ptp(curve(m, "browOuterUp_L")), np.ptp(curve(m, "browOuterUp_R"))) > 0.4,
    "wink": lambda m: np.abs(curve(m, "eyeBlink_L") - curve(m, "eyeBlink_R")).max() > 0.8,
    "close_eyes": lambda m: (np.minimum(curve(m, "eyeBlink_L"), curve(m, "eyeBlink_R")) > 0.9).sum() >= 5,
    "look_left": lambda m: m.head[:, 0].min() < -7 and m.gaze[:, 0].min() < -12,
    "look_right": lambda m: m.head[:, 0].max() > 7 and m.gaze[:, 0].max() > 12,
    "look_up": lambda m: np.ptp(m.head[:, 1]) > 7 and m.gaze[:, 1].max() > 10,
    "look_down": lambda m: np.ptp(m.head[:, 1]) > 7 and m.gaze[:, 1].min() < -10,
    "nod": lambda m: np.ptp(m.head[:, 1]) > 12,
    "shake_head": lambda m: np.ptp(m.head[:, 0]) > 20,
    "tilt": lambda m: np.ptp(m.head[:, 2]) > 9,
    "turn_half": lambda m: 25 < np.abs(m.head[:, 0]).max() < 65,
    "turn_profile": lambda m: 60 < np.abs(m.head[:, 0]).max() < 95,
    "stay_neutral": lambda m: max(np.ptp(curve(m, name)) for name in FACE if "Blink" not in name) < 0.05,
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_seen_in_one_short_clip(act):
    shown = [SEEN[act](play(act, seed)) for seed in range(40)]
    assert np.mean(shown) >= 0.95, f"{act} is seen in {np.mean(shown):.0%} of its clips"


def test_an_act_begins_within_its_first_six_tenths_of_a_second():
    for act in set(ACTS) - {"stay_neutral"}:
        for seed in range(10):
            calm, acted = play("stay_neutral", seed), play(act, seed)  # what is always there is the same in both
            moved = (np.abs(acted.expressions - calm.expressions).max(axis=1) > 0.01) | (np.abs(acted.head - calm.head).max(axis=1) > 0.3)
            assert 0 < acted.seconds[np.argmax(moved)] <= 0.6, (act, seed)


def test_shapes_ranges_and_determinism():
    script = sample_script(11)
    one, two = (perform(sample_habits(3), script, 11, 33, 12.0) for _ in range(2))
    assert one.expressions.shape == (33, len(EXPRESSIONS)) and one.head.shape == (33, 3) and one.gaze.shape == (33, 2)
    assert one.expressions.dtype == one.head.dtype == one.gaze.dtype == np.float32
    for name in ("expressions", "head", "gaze", "seconds"):
        assert np.array_equal(getattr(one, name), getattr(two, name)) and np.isfinite(getattr(one, name)).all()
    for seed in range(200):
        motion = play(sample_script(seed), seed)
        assert motion.expressions.min() >= 0 and motion.expressions.max() <= 1
        assert np.abs(motion.head).max() < 110 and np.abs(motion.gaze).max() <= 28


def test_very_short_and_long_clips_can_be_played():
    for frames in (2, 4, 9, 120):
        for act in ACTS:
            assert len(play(act, 1, frames=frames).head) == frames


def test_another_frame_rate_samples_the_same_performance():
    slow, fast = play("smile", 5, frames=24, fps=12.0), play("smile", 5, frames=48, fps=24.0)
    assert np.allclose(slow.expressions, fast.expressions[::2], atol=1e-5)


def test_expressions_come_in_the_kits_own_order_and_those_it_lacks_are_left_out():
    some = ("jawOpen", "mouthSmile_R", "mouthSmile_L", "noSuchShape")
    motion, whole = play("smile", 2, expr_names=some), play("smile", 2)
    assert np.array_equal(motion.expressions[:, 1], curve(whole, "mouthSmile_R"))
    assert np.array_equal(motion.expressions[:, 2], curve(whole, "mouthSmile_L"))
    assert not motion.expressions[:, 3].any()


def test_habits_shape_the_curves():
    plain = replace(sample_habits(0), smile_side=0.0, smile_lag=0.0, smile_onset=0.15, smile_release=0.9, talk_jaw=0.2, tilt=0.0)
    left = play("smile", 1, replace(plain, smile_side=1.0))
    assert curve(left, "mouthSmile_L").max() > 1.7 * curve(left, "mouthSmile_R").max()
    smile = curve(play("smile", 1, plain, frames=110, fps=40.0), "mouthSmile_L")
    top = smile.max()
    onset = (np.argmax(smile > 0.9 * top) - np.argmax(smile > 0.1 * top)) / 40
    gone = len(smile) - 1 - np.argmax(smile[::-1] > 0.1 * top)
    release = (gone - (len(smile) - 1 - np.argmax(smile[::-1] > 0.8 * top))) / 40
    assert release > 2.5 * onset  # it comes fast and leaves slowly: not the same reversed
    wide = replace(plain, talk_jaw=0.5)
    assert curve(play("talk", 1, wide), "jawOpen").mean() > 1.8 * curve(play("talk", 1, plain), "jawOpen").mean()
    tilted = play("stay_neutral", 1, replace(plain, tilt=8.0)).head[:, 2].mean() - play("stay_neutral", 1, plain).head[:, 2].mean()
    assert tilted == pytest.approx(8.0, abs=0.01)
    slow, fast = (replace(plain, talk_rate=rate, talk_phrase=2.4) for rate in (1.6, 4.2))
    beats = [(np.diff(np.sign(np.diff(curve(play("talk", 3, h, 100, 40.0), "jawOpen")))) < 0).sum() for h in (slow, fast)]
    assert beats[1] > 1.5 * beats[0]


def test_scripts_are_mostly_single_and_know_their_fact():
    scripts = [sample_script(seed) for seed in range(600)]
    assert 0.6 < np.mean([len(script.acts) == 1 for script in scripts]) < 0.85
    assert {act for script in scripts for act in script.acts} == set(ACTS)
    for script in scripts[:200] + [reference_script(seed) for seed in range(50)]:
        assert script_from_fact(script.fact) == script
        assert not script.together or HEAD_ACTS & set(script.acts)
    assert all(len(reference_script(seed).acts) == 2 for seed in range(50))


@pytest.mark.parametrize("acts, together", [(("dance",), False), ((), False), (("smile", "talk", "nod"), False), (("smile", "talk"), True)])
def test_impossible_scripts_are_refused(acts, together):
    with pytest.raises(SlotIDError):
        Script(acts, together)


def test_no_frames_or_no_rate_is_refused():
    for frames, fps in ((1, 12.0), (33, 0.0)):
        with pytest.raises(SlotIDError, match="cannot be played"):
            play("smile", frames=frames, fps=fps)
