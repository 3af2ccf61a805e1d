"""Covered faces: whatever the cover's colour it is unseen, and nothing that a face does itself, nor a lamp, counts as a cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slotid.clip import read_clip
from slotid.face.hidden import hidden_frames
from slotid.face.track import track_face
from slotid.types import Clip

HELD = slice(16, 22)


@pytest.fixture(scope="module")
def people(examples) -> dict[str, tuple[Clip, object]]:
    """Three examples, 36 frames each, with their tracks: a dark face, a beard, glasses."""
    found = {}
    for path in examples:
        if path.parent.name in ("afro", "beard", "grey_hair_glasses"):
            clip = read_clip(path)
            clip = replace(clip, frames=clip.frames[:36], seconds=clip.seconds[:36])
            found[path.parent.name] = clip, track_face(clip)
    if len(found) < 3:
        pytest.skip("needs the examples afro, beard and grey_hair_glasses")
    return found


def covered(clip: Clip, track, colour, area) -> Clip:
    """The clip with a soft-shaded patch of ``colour`` over ``area`` (x0 y0 x1 y1 in shares of the mesh's box) in the frames HELD."""
    frames, rng = clip.frames.copy(), np.random.default_rng(0)
    for k in range(HELD.start, HELD.stop):
        low, high = track.landmarks[k, :468, :2].min(0), track.landmarks[k, :468, :2].max(0)
        x0, y0, x1, y1 = np.concatenate([low + (high - low) * area[:2], low + (high - low) * area[2:]]).astype(int).clip(0)
        y1, x1 = min(y1, frames.shape[1]), min(x1, frames.shape[2])
        shade = np.linspace(-12, 12, x1 - x0)[None, :, None] + rng.normal(0, 3, (y1 - y0, x1 - x0, 1))
        frames[k, y0:y1, x0:x1] = np.clip(np.array(colour, float) + shade, 0, 255)
    return replace(clip, frames=frames)


def skin_of(clip: Clip, track) -> np.ndarray:
    """(3,) the colour of a cheek."""
    return np.median([clip.frames[k][tuple(track.landmarks[k, 50, 1::-1].astype(int))] for k in np.flatnonzero(track.seen)], 0)


PHONE, PAPER, SKIN = (20, 20, 25), (235, 235, 230), "skin"
WHOLE, MOUTH, EYES = (0.0, 0.3, 1.0, 1.0), (0.0, 0.55, 1.0, 1.02), (-0.1, 0.1, 1.1, 0.6)


@pytest.mark.parametrize("area", [WHOLE, MOUTH, EYES], ids=["whole", "mouth", "eyes"])
@pytest.mark.parametrize("colour", [PHONE, PAPER, SKIN], ids=["phone", "paper", "skin"])
@pytest.mark.parametrize("name", ["afro", "beard", "grey_hair_glasses"])
def test_a_covered_face_is_unseen(people, name, colour, area):
    """Dark on a dark face and on a beard, and the face's own skin, too: a hand has no lashes, lips or nostrils."""
    clip, plain = people[name]
    colour = skin_of(clip, plain) if colour is SKIN else colour
    seen = track_face(covered(clip, plain, colour, area)).seen
    held = np.zeros(36, bool)
    held[HELD] = True
    assert seen[held].sum() <= 1 and seen[~held].mean() > 0.9, (seen[held].sum(), seen[~held].mean())


def test_what_a_face_does_is_no_cover(people):
    for name, (_, track) in people.items():  # they talk, laugh, turn and blink
        assert track.seen.all(), name


def test_a_changing_lamp_is_no_cover(people):
    """Half and nearly double the light, another colour, and a side light that wanders across."""
    for name, (clip, track) in people.items():
        t = np.arange(36) / 36
        gain = (0.9 + 0.4 * np.sin(9 * t))[:, None, None, None]
        tint = np.stack([1 + 0.15 * np.sin(6 * t), np.ones(36), 1 - 0.15 * np.sin(6 * t)], -1)[:, None, None]
        side = 1 + 0.35 * np.sin(6 * t)[:, None, None, None] * np.linspace(-1, 1, clip.frames.shape[2])[None, None, :, None]
        lit = np.clip(clip.frames * gain * tint * side, 0, 255).astype(np.uint8)
        assert not hidden_frames(lit, track.landmarks).any(), name


def test_what_is_always_there_hides_nothing_and_few_frames_say_nothing(people):
    clip, track = people["beard"]
    frames = clip.frames.copy()
    for k in range(36):  # a mask that never comes off
        low, high = track.landmarks[k, :468, :2].min(0), track.landmarks[k, :468, :2].max(0)
        x0, y0, x1, y1 = (*(low + (high - low) * [0.1, 0.6]).astype(int), *high.astype(int))
        frames[k, y0:y1, x0:x1] = (90, 120, 160)
    assert hidden_frames(frames, track.landmarks).mean() < 0.1
    assert not hidden_frames(frames[:7], track.landmarks[:7]).any()
