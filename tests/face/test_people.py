"""Linking and choosing, on detections that are written down."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.face.detect import Found
from slotid.face.people import choose, find_shots, gather, link
from slotid.types import SlotIDError

RED, BLUE = np.tile([50.0, 180, 150], (16, 1)).astype(np.float32), np.tile([40.0, 120, 90], (16, 1)).astype(np.float32)


def scene(rows: list[list[tuple[float, float, float, np.ndarray]]], fps: float = 10):
    """rows[t] = faces (x, y, side, look) -> persons of a 640 x 360 picture."""
    found, looks = {}, {}
    for t, faces in enumerate(rows):
        found[t] = [Found(np.array([x - s / 2, y - s / 2, x + s / 2, y + s / 2]), 0.9) for x, y, s, _ in faces]
        looks[t] = [look for *_, look in faces]
    return found, looks, np.arange(len(rows)) / fps


def persons_of(rows, shots=None, fps=10.0):
    found, looks, seconds = scene(rows, fps)
    shots = np.zeros(len(rows), int) if shots is None else np.asarray(shots)
    return gather(link(found, looks, seconds, shots), seconds, (360, 640), len(rows))


def test_two_people_do_not_swap_when_they_pass():
    rows = [[(100 + 10 * t, 180, 60, RED), (540 - 10 * t, 180, 60, BLUE)] for t in range(44)]
    persons = persons_of(rows)
    assert len(persons) == 2
    for person in persons:
        frames, boxes = person.sightings()
        assert len(frames) == 44 and (np.abs(np.diff(boxes[:, 0])) < 20).all()


def test_largest_most_central_most_lasting_comes_first():
    large = persons_of([[(320, 180, 120, RED), (100, 180, 60, BLUE)] for _ in range(10)])
    central = persons_of([[(60, 40, 80, BLUE), (320, 180, 80, RED)] for _ in range(10)])
    lasting = persons_of([[(200, 180, 80, RED)] + ([(440, 180, 80, BLUE)] if t < 4 else []) for t in range(12)])
    for persons in (large, central, lasting):
        assert len(persons) == 2 and np.allclose(persons[0].tracklets[0].look, RED)


def test_a_gap_is_rejoined_by_place():
    rows = [[(320, 180, 80, RED)] if not 10 <= t < 20 else [] for t in range(30)]
    persons = persons_of(rows)
    assert len(persons) == 1 and len(persons[0].tracklets) == 2


def test_a_cut_is_rejoined_by_looks_and_not_by_place():
    rows = (
        [[(320, 180, 80, RED)] for _ in range(10)]
        + [[(320, 180, 80, BLUE)] for _ in range(6)]
        + [[(200, 150, 100, RED)] for _ in range(10)]
    )
    persons = persons_of(rows, shots=[0] * 10 + [1] * 6 + [2] * 10)
    assert len(persons) == 2
    assert persons[0].sightings()[0].tolist() == [*range(10), *range(16, 26)]


def test_one_false_alarm_is_dropped():
    rows = [[(320, 180, 80, RED)] + ([(60, 60, 40, BLUE)] if t == 5 else []) for t in range(20)]
    assert len(persons_of(rows)) == 1


def test_pick_by_point_and_number():
    persons = persons_of([[(320, 180, 120, RED), (100, 180, 60, BLUE)] for _ in range(10)])
    assert choose(persons, None)[0] is persons[0]
    assert choose(persons, 1)[0] is persons[1] and choose(persons, 1)[1] is persons[0]
    assert choose(persons, (105, 170))[0] is persons[1]
    with pytest.raises(SlotIDError, match="no face at \\(600, 20\\).*\\(320, 180\\); \\(100, 180\\)"):
        choose(persons, (600, 20))
    with pytest.raises(SlotIDError, match="2 were found; give 0 to 1"):
        choose(persons, 2)


def test_cuts_but_not_motion_or_a_lamp():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:24, :24]
    one = np.stack([x * 8, y * 8, 60 + 0 * x], -1)
    other = np.stack([200 - y * 3, 30 + 0 * x, x * 9], -1)
    still = np.stack([one + rng.normal(0, 2, one.shape) for _ in range(10)] + [other + rng.normal(0, 2, one.shape) for _ in range(10)])
    assert find_shots(np.clip(still, 0, 255).astype(np.uint8)).tolist() == [0] * 10 + [1] * 10
    pan = np.stack([np.roll(one, t, 1) for t in range(20)])
    assert (find_shots(pan.astype(np.uint8)) == 0).all()
    fade = np.stack([one * (0.5 + 0.025 * t) for t in range(20)])
    assert (find_shots(fade.astype(np.uint8)) == 0).all()
