"""What habit slots hear: only what moves, hidden frames told by their neighbours, order and true time; nothing of how a face looks."""

from dataclasses import replace

import pytest
import torch
from small import clip_tensors, small_config

from slotid.identity.movement import CURVES, Ear, FrameReader, Movement, fill_hidden
from slotid.identity.slots import HABIT_SLOTS, SlotID


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return SlotID(replace(small_config(), slots=8, movement=True)).eval()


def seen_all(batch: int, frames: int) -> torch.Tensor:
    return torch.ones(batch, frames, dtype=torch.bool)


def test_hidden_moments_lie_on_the_line_between_seen_ones_in_true_time():
    seconds = torch.tensor([[0.0, 0.1, 0.4, 0.5, 0.9]])
    values = torch.tensor([[7.0, 1.0, 99.0, 5.0, -3.0]])[..., None]
    found = fill_hidden(values, seconds, torch.tensor([[False, True, False, True, False]]))[0, :, 0]
    assert found.tolist() == pytest.approx([1.0, 1.0, 4.0, 5.0, 5.0])


def test_the_ear_hears_speed_in_true_time_and_not_where_a_face_rests():
    torch.manual_seed(0)
    ear, curves, seconds = Ear().eval(), torch.randn(2, 12, CURVES), torch.arange(12.0).expand(2, -1) / 8
    one = ear(curves, seconds, seen_all(2, 12))
    assert one.shape == (2, 12, Ear.width)
    assert torch.allclose(ear(curves + torch.randn(2, 1, CURVES), seconds, seen_all(2, 12)), one, atol=1e-4)  # another face at rest
    assert not torch.allclose(ear(curves, 2 * seconds, seen_all(2, 12)).mean(1), one.mean(1), atol=1e-2)  # the same, half as fast
    assert not torch.allclose(ear(curves[:, torch.randperm(12)], seconds, seen_all(2, 12)).mean(1), one.mean(1), atol=1e-2)


def test_a_frame_is_read_beside_its_clips_seen_frames():
    torch.manual_seed(0)
    reader = FrameReader(5, 4).eval()
    x, seen = torch.randn(1, 6, 5, 4, 4), seen_all(1, 6)
    seen[0, 3] = False
    other = x.clone()
    other[0, 3] = 9.0
    assert torch.allclose(reader(x, seen)[seen], reader(other, seen)[seen], atol=1e-5)
    assert reader(x, seen).shape == (1, 6, CURVES)


def test_a_habit_slot_takes_frames_as_its_plan_says():
    torch.manual_seed(0)
    movement, states = Movement(5, 4, 16, 2).eval(), torch.randn(3, 7, Ear.width)
    mass = torch.zeros(3, 2, 7)
    mass[:, 0, 2], mass[:, 1, 5] = 0.1, 0.3
    found = movement.heard(states, mass)
    assert torch.allclose(found[:, 0], movement.heads[0](states[:, 2]), atol=1e-5)
    assert torch.allclose(found[:, 1], movement.heads[1](states[:, 5]), atol=1e-5)


def test_habit_slots_hear_what_moves_and_of_a_still_face_the_same_whosever_it_is(method):
    latents, seconds, seen, anchor = clip_tensors(frames=9)
    still = latents[:, :1].expand_as(latents)
    moving, one, other = (method.movement.states(x, seconds, seen) for x in (latents, still, still + 1))
    assert torch.allclose(one[0], one[1], atol=1e-5) and torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(moving[0], moving[1], atol=1e-2)
    found = method.encode(latents, seconds, seen, anchor)
    mass = found.plans[-1][:, list(HABIT_SLOTS)].sum((3, 4))
    assert torch.allclose(found.slots[:, list(HABIT_SLOTS)], method.movement.heard(moving, mass), atol=1e-5)
    assert found.slots.shape[1] == method.config.slots


def test_weights_with_ears_round_trip_and_without_them_are_read_as_before(method, tmp_path):
    method.save_pretrained(tmp_path / "ears", half=True)
    again = SlotID.from_pretrained(tmp_path / "ears")
    clip = clip_tensors(batch=1)
    assert again.config.movement and torch.equal(again.encode(*clip).slots, method.encode(*clip).slots)
    plain = SlotID(replace(method.config, movement=False))
    plain.save_pretrained(tmp_path / "plain")
    assert SlotID.from_pretrained(tmp_path / "plain").movement is None
