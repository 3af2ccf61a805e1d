"""Boxes follow slowly, without lag, and crops are where the boxes say, to a fraction of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.face.align import DOWN, SIDE, crop, smooth_boxes
from slotid.types import SlotIDError

FACE = np.array([[10, 0], [-10, 0], [0, 12], [8, 20], [-8, 20]], float)  # eyes 20 apart, d = 20


def points_at(centres: np.ndarray, scale: float | np.ndarray = 1.0) -> np.ndarray:
    return np.asarray(centres)[:, None] + FACE * np.broadcast_to(np.asarray(scale, float), len(centres))[:, None, None]


def middle(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_a_still_face_gets_the_box_of_the_brief():
    seconds = np.arange(24) / 12
    boxes = smooth_boxes(points_at(np.tile([100.0, 80.0], (24, 1))), seconds, np.ones(24, bool))
    np.testing.assert_allclose(middle(boxes), np.tile([100, 80 + DOWN * 20], (24, 1)), atol=1e-4)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], SIDE * 20, atol=1e-4)


def test_no_lag_behind_a_walk_and_no_pull_at_the_ends():
    seconds = np.arange(50) / 25
    centres = np.stack([100 + 60 * seconds, 80 - 10 * seconds], 1)
    boxes = smooth_boxes(points_at(centres), seconds, np.ones(50, bool))
    assert np.abs(middle(boxes) - centres - [0, DOWN * 20]).max() < 0.5


def test_smoothing_is_symmetric_in_time():
    rng = np.random.default_rng(0)
    seconds = np.cumsum(rng.uniform(0.02, 0.1, 40))
    points = points_at(rng.normal(100, 8, (40, 2)), rng.uniform(0.9, 1.1, 40))
    seen = rng.random(40) > 0.2
    forward = smooth_boxes(points, seconds, seen)
    backward = smooth_boxes(points[::-1], -seconds[::-1], seen[::-1])[::-1]
    np.testing.assert_allclose(forward, backward, atol=1e-3)


def test_a_nod_stays_inside_the_crop():
    """One nod a second, 4 pixels: most of it must remain as motion of the face inside the box, at every frame rate."""
    for fps in (8, 12, 25, 60):
        seconds = np.arange(4 * fps) / fps
        centres = np.stack([np.full(len(seconds), 100.0), 80 + 4 * np.sin(2 * np.pi * seconds)], 1)
        boxes = smooth_boxes(points_at(centres), seconds, np.ones(len(seconds), bool))
        inside = slice(fps, -fps)
        assert np.ptp(middle(boxes)[inside, 1]) < 0.25 * np.ptp(centres[inside, 1])


def test_the_head_never_leaves_the_crop_in_a_quick_dash():
    seconds = np.arange(60) / 25
    centres = np.stack([100 + 80 * np.clip((seconds - 1) / 0.3, 0, 1), np.full(60, 80.0)], 1)
    boxes = smooth_boxes(points_at(centres), seconds, np.ones(60, bool))
    assert np.abs(middle(boxes)[:, 0] - centres[:, 0]).max() < 0.95 * 20  # in a box of 4.6 d the head has about a d to spare


def test_foreshortening_does_not_pump_the_size():
    seconds = np.arange(48) / 12
    squeeze = 1 - 0.3 * (np.sin(2 * np.pi * seconds) > 0.5)
    points = points_at(np.tile([100.0, 80.0], (48, 1)))
    points[:, :, 1] = 80 + (points[:, :, 1] - 80) * squeeze[:, None]
    sides = np.ptp(smooth_boxes(points, seconds, np.ones(48, bool))[:, ::2], axis=1)
    assert sides.min() > 0.95 * SIDE * 20


def test_gaps_cuts_and_nonsense_in_unseen_frames():
    seconds = np.arange(30) / 10
    centres = np.where(np.arange(30)[:, None] < 15, [50.0, 50.0], [200.0, 120.0])
    points, seen, shots = points_at(centres), np.ones(30, bool), (np.arange(30) >= 15).astype(int)
    seen[[0, 7, 8, 29]] = False
    points[~seen] = np.nan
    boxes = smooth_boxes(points, seconds, seen, shots)
    np.testing.assert_allclose(middle(boxes), centres + [0, DOWN * 20], atol=1e-3)
    lonely = np.where(np.arange(30) >= 25, 2, shots)
    seen[25:] = False
    np.testing.assert_allclose(smooth_boxes(points, seconds, seen, lonely)[25:], boxes[25:], atol=1e-3)


@pytest.mark.parametrize("bad", ["none seen", "nan", "shape"])
def test_bad_points(bad):
    seconds, seen, points = np.arange(5) / 5, np.ones(5, bool), points_at(np.full((5, 2), 50.0))
    if bad == "none seen":
        seen[:] = False
    elif bad == "nan":
        points[2] = np.nan
    else:
        points = points[:4]
    with pytest.raises(SlotIDError, match="give|mark"):
        smooth_boxes(points, seconds, seen)


def test_crop_is_exact_averages_and_does_not_round():
    y, x = np.mgrid[:96, :128]
    frame = np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)[None]
    same = crop(frame, np.array([[16, 8, 80, 72]]), 64)
    assert (same[0] == frame[0, 8:72, 16:80]).all()
    half = crop(frame, np.array([[16, 8, 80, 72]]), 32)[0].astype(float)
    np.testing.assert_allclose(half, frame[0, 8:72, 16:80].reshape(32, 2, 32, 2, 3).mean((1, 3)), atol=1)
    steep = np.clip(3.0 * x - 60, 0, 255)[..., None].repeat(3, -1).astype(np.uint8)[None]
    start = crop(steep, np.array([[24.0, 8, 88, 72]]), 32)[0].astype(float)
    for shift in (1 / 3, 2 / 3):  # a ramp shifted by a fraction of a pixel rises by that fraction of its slope
        moved = crop(steep, np.array([[24 + shift, 8, 88 + shift, 72]]), 32)[0].astype(float)
        assert abs((moved - start).mean() - 3 * shift) < 0.3
    stripes = np.where(x[..., None] % 2, 255, 0).repeat(3, -1).astype(np.uint8)[None]
    grey = crop(stripes, np.array([[0, 0, 96, 96]]), 16)[0]
    assert np.abs(grey.astype(int) - 127).max() < 24  # no aliasing into black or white


def test_crop_outside_the_picture_repeats_the_border():
    frame = np.full((1, 40, 40, 3), 90, np.uint8)
    assert (crop(frame, np.array([[-30.0, -30, 20, 20]]), 50) == 90).all()
    with pytest.raises(SlotIDError, match="empty"):
        crop(frame, np.array([[5.0, 5, 5, 20]]), 32)
    assert crop(frame[:0], np.zeros((0, 4)), 32).shape == (0, 32, 32, 3)
