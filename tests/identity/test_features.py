"""What the router sees: changes over true time, positions, frames picked evenly in time."""

import numpy as np
import pytest
import torch
from small import clip_tensors, small_face

from slotid.identity.features import changes, feature_width, frame_tokens, pick_frames
from slotid.identity.reading import choose_anchor, crops_to_video, small_crops


def test_tokens_have_the_promised_width_and_hidden_frames_are_zero():
    latents, seconds, seen, _ = clip_tensors()
    seen[0, 2] = False
    tokens = frame_tokens(latents, seconds, seen).reshape(2, 6, 16, -1)
    assert tokens.shape[-1] == feature_width(8) == 3 * 8 + 32
    assert (tokens[0, 2] == 0).all() and (tokens[1, 2] != 0).any()


def test_changes_are_speeds_over_true_time():
    """A latent that grows by 4 per second changes by 0.5 per 1/8 s, whatever the gaps between frames."""
    seconds = torch.tensor([[0.0, 0.1, 0.35, 0.4]])
    latents = (4 * seconds)[..., None, None, None].expand(1, 4, 2, 3, 3)
    ahead, behind = changes(latents, seconds, torch.ones(1, 4, dtype=torch.bool))
    assert torch.allclose(ahead[:, :3], torch.full((1, 3, 2, 3, 3), 0.5), atol=1e-5) and (ahead[:, 3] == 0).all()
    assert torch.allclose(behind[:, 1:], torch.full((1, 3, 2, 3, 3), 0.5), atol=1e-5) and (behind[:, 0] == 0).all()


def test_changes_never_cross_a_hidden_frame():
    latents, seconds, seen, _ = clip_tensors(batch=1)
    seen[0, 2] = False
    ahead, behind = changes(latents, seconds, seen)
    assert (ahead[0, [1, 2]] == 0).all() and (behind[0, [2, 3]] == 0).all() and (ahead[0, 3] != 0).any()


def test_playing_backwards_swaps_the_changes():
    latents, seconds, seen, _ = clip_tensors()
    ahead, behind = changes(latents, seconds, seen)
    a, b = changes(latents.flip(1), seconds, seen)
    assert torch.allclose(a.flip(1), -behind, atol=1e-5) and torch.allclose(b.flip(1), -ahead, atol=1e-5)


@pytest.mark.parametrize("fps,length", [(8, 2.0), (25, 10.0), (30, 20.0), (6, 3.0), (60, 0.3)])
def test_frames_are_picked_evenly_in_time(fps, length):
    seconds = np.arange(round(fps * length)) / fps
    picked = pick_frames(seconds, np.ones(len(seconds), bool))
    gaps = np.diff(seconds[picked])
    assert len(picked) <= 48 and picked == sorted(set(picked))
    rate = min(8, fps, 48 / length)
    assert abs(len(picked) - length * rate) <= 2
    assert gaps.max() <= 1 / rate + 2 / fps and gaps.min() >= 1 / rate - 1.01 / fps


def test_slow_clips_are_read_whole():
    seconds = np.arange(20) / 8
    assert pick_frames(seconds, np.ones(20, bool)) == list(range(20))


def test_uneven_times_and_hidden_frames():
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.uniform(0, 4, 100))
    seconds[0] = 0
    seen = rng.random(100) > 0.4
    picked = pick_frames(seconds, seen)
    assert len(picked) <= 33 and seen[picked].mean() > 0.9, "seen frames come first within their slice of time"
    assert pick_frames(np.zeros(1), np.ones(1, bool)) == [0]


def test_the_anchor_is_a_seen_frontal_frame():
    face = small_face(frames=12, hidden=(0, 1))
    best = choose_anchor(face)
    assert face.seen[best] and abs(face.quality.yaw[best]) == np.nanmin(np.abs(face.quality.yaw))


def test_crops_become_one_frame_videos():
    crops = np.zeros((3, 64, 64, 3), np.uint8)
    crops[1, :, :32] = 255
    video = crops_to_video(crops, 32)
    assert video.shape == (3, 3, 1, 32, 32) and video[0].max() == -1 and video[1, :, :, :, :15].min() == pytest.approx(1, abs=1e-5)
    small = small_crops(crops, 16)
    assert small.dtype == np.uint8 and small[1, 8, 2, 0] == 255 and small[1, 8, 13, 0] == 0
