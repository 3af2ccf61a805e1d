"""Statistics of what slots read: known answers."""

import numpy as np
import pytest

from slotid.evaluate.routing import entropy, slot_statistics, summary


def shown(plans, seen, gates=None):
    plans = np.asarray(plans, float)[None]
    mass = plans[0].sum((1, 2, 3)) / plans.sum()
    return {"plans": plans, "mass": mass, "gates": np.full(len(mass), 0.1) if gates is None else gates, "seen": np.asarray(seen)}


def test_entropy():
    assert entropy(np.ones(8)) == pytest.approx(1) and entropy(np.eye(8)[0]) == 0
    assert entropy([1, 1, 0, 0]) == pytest.approx(0.5)
    assert entropy(np.zeros(4)) == 0 and entropy([3.0]) == 0


def test_what_one_clip_shows():
    plan = np.zeros((2, 4, 2, 2))
    plan[0, :, 0, 0] = 0.5 / 3  # one place, at all times
    plan[1, 1] = 0.5 / 4  # one moment, everywhere
    plan[:, 3] = 0  # hidden
    found = slot_statistics(shown(plan, [True, True, True, False]))
    assert found["time"] == pytest.approx([1, 0]) and found["space"] == pytest.approx([0, 1])
    assert found["mass"] == pytest.approx([1, 1], abs=1e-6) and found["gate"] == pytest.approx([0.1, 0.1])
    assert found["map"][0] == pytest.approx([1, 0, 0, 0]) and found["map"][1] == pytest.approx([0.25] * 4)


def test_dead_slots_and_distances_between_clips_and_slots():
    clips = []
    for place in range(4):
        plan = np.zeros((3, 2, 2, 2))
        plan[0, :, place // 2, place % 2] = 0.49 / 2  # follows something that is elsewhere in every clip
        plan[1] = 0.49 / 8
        plan[2] = 0.02 / 8  # hardly any mass
        clips.append(slot_statistics(shown(plan, [True, True], gates=np.array([0.2, 0.005, 0.3]))))
    found = summary(clips, [1, 2, 3, 4], ["hair", "shut", "idle"])
    assert list(found["slots"]) == ["0 hair", "1 shut", "2 idle"] and found["clips"] == 4
    assert found["dead"] == ["1 shut", "2 idle"]  # one has no gate, one no mass
    assert found["between_clips"] == pytest.approx(1 / 3)  # the first slot's maps are apart, the others' alike
    assert found["between_slots"] == pytest.approx((0.75 + 0.75 + 0) / 3)
    assert found["slots"]["0 hair"]["mass"]["mean"] == pytest.approx(1.47) and found["slots"]["0 hair"]["space"]["mean"] == 0
