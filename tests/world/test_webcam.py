"""Webcam defects: seeded, bounded, and each does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.types import SlotIDError
from slotid.world.scene import Webcam
from slotid.world.webcam import compress, degrade


@pytest.fixture
def film():
    y, x = np.mgrid[0:64, 0:64]
    frame = np.stack([x * 3 + 20, y * 3 + 20, 128 + 60 * np.sin(x * 1.5)], -1)
    return np.clip(np.stack([frame] * 6), 0, 255).astype(np.uint8), np.full((6, 5, 2), 32.0, np.float32)


def test_nothing_asked_changes_nothing(film):
    np.testing.assert_array_equal(degrade(*film, Webcam(), 1), film[0])


def test_same_seed_same_bytes_other_seed_other_noise(film):
    cam = Webcam(noise=8, quality=40, blur=0.8, exposure=-0.4, low_light=0.3, cover=0.5)
    a = degrade(*film, cam, 5)
    assert a.shape == film[0].shape and a.dtype == np.uint8
    np.testing.assert_array_equal(a, degrade(*film, cam, 5))
    assert (a != degrade(*film, cam, 6)).mean() > 0.3


def test_noise_has_about_the_asked_size(film):
    out = degrade(*film, Webcam(noise=10), 0).astype(float) - film[0]
    inner = film[0].min(-1) > 40
    assert 6 < out[inner].std() < 13


def test_exposure_and_low_light_darken_and_brighten(film):
    mean = film[0].mean()
    assert degrade(*film, Webcam(exposure=-1), 0).mean() < 0.85 * mean < mean < degrade(*film, Webcam(exposure=0.7), 0).mean()
    dim = degrade(*film, Webcam(low_light=0.8), 0)
    assert dim.mean() < 0.8 * mean


def test_blur_removes_fine_detail(film):
    def detail(a):
        return np.abs(np.diff(a.astype(float), axis=2)).mean()

    assert detail(degrade(*film, Webcam(blur=2.0), 0)) < 0.6 * detail(film[0])


def test_lower_quality_loses_more_and_blocks_align():
    rng = np.random.default_rng(0)
    film = (128 + 30 * rng.standard_normal((2, 50, 70, 3))).clip(0, 255).astype(np.float32)
    errors = [np.abs(compress(film, q) - film).mean() for q in (95, 50, 10)]
    assert errors[0] < errors[1] < errors[2]
    flat = np.full((1, 32, 32, 3), 90.0, np.float32)
    assert np.abs(compress(flat, 60) - flat).max() < 2.5  # a flat picture survives


def test_the_hand_covers_the_face_for_a_while_only(film):
    out = degrade(*film, Webcam(cover=0.5), 3)
    changed = (out != film[0]).any(-1).mean((1, 2))
    assert (changed > 0.02).sum() in (2, 3) and (changed == 0).any()
    middle = (out[:, 24:40, 24:40] != film[0][:, 24:40, 24:40]).any(-1).mean((1, 2))
    assert middle.max() > 0.3


def test_wrong_shapes_are_refused(film):
    with pytest.raises(SlotIDError, match=r"degrade got frames"):
        degrade(film[0][0], film[1], Webcam(noise=1), 0)
    with pytest.raises(SlotIDError, match=r"3 points"):
        degrade(film[0], film[1][:3], Webcam(noise=1), 0)
