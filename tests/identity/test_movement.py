"""What habit slots hear: only what moves, hidden frames told by their neighbours, order and true time; nothing of how a face looks."""

from dataclasses import replace

import pytest
import torch
from small import clip_tensors, small_config

from slotid.identity.movement import CROP, CURVES, SIDE, Ear, FrameReader, Movement, fill_hidden, inner
from slotid.identity.slots import HABIT_SLOTS, SlotID
from slotid.identity.weights import SHARED, share
from slotid.types import SlotIDError


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return SlotID(replace(small_config(), slots=8, movement=True)).eval()


def seen_all(batch: int, frames: int) -> torch.Tensor:
    return torch.ones(batch, frames, dtype=torch.bool)


def crops(batch: int, frames: int, size: int = CROP) -> torch.Tensor:
    return torch.rand(batch, frames, 3, size, size) * 2 - 1


def test_the_reader_sees_the_middle_of_a_crop_of_any_size():
    shown = crops(2, 3)
    edge = (CROP - SIDE) // 2
    assert torch.equal(inner(shown), shown[..., edge:-edge, edge:-edge])
    ramps = [torch.linspace(-1, 1, size).expand(2, 3, 3, size, size) for size in (CROP, 2 * CROP, CROP // 2)]
    for ramp in ramps[1:]:
        assert inner(ramp).shape == (2, 3, 3, SIDE, SIDE) and torch.allclose(inner(ramp), inner(ramps[0]), atol=0.02)


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
    reader = FrameReader().eval()
    x, seen = inner(crops(1, 6)), seen_all(1, 6)
    seen[0, 3] = False
    other = x.clone()
    other[0, 3] = 9.0
    assert torch.allclose(reader(x, seen)[seen], reader(other, seen)[seen], atol=1e-5)
    assert reader(x, seen).shape == (1, 6, CURVES)


def test_a_habit_slot_takes_frames_as_its_plan_says():
    torch.manual_seed(0)
    movement, states = Movement(16, 2).eval(), torch.randn(3, 7, Ear.width)
    mass = torch.zeros(3, 2, 7)
    mass[:, 0, 2], mass[:, 1, 5] = 0.1, 0.3
    found = movement.heard(states, mass)
    assert torch.allclose(found[:, 0], movement.heads[0](states[:, 2]), atol=1e-5)
    assert torch.allclose(found[:, 1], movement.heads[1](states[:, 5]), atol=1e-5)


def test_habit_slots_hear_what_moves_and_of_a_still_face_the_same_whosever_it_is(method):
    latents, seconds, seen, anchor = clip_tensors(frames=9)
    shown = crops(len(latents), 9)
    still = shown[:, :1].expand_as(shown)
    hears = method.movement
    moving, one, other = (hears.ear(hears.curves(x, seen), seconds, seen) for x in (shown, still, still.flip(0)))
    assert torch.allclose(one[0], one[1], atol=1e-5) and torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(moving[0], moving[1], atol=1e-2)
    found = method.encode(latents, seconds, seen, anchor, shown)
    mass = found.plans[-1][:, list(HABIT_SLOTS)].sum((3, 4))
    assert torch.allclose(found.slots[:, list(HABIT_SLOTS)], method.movement.heard(moving, mass), atol=1e-5)
    assert found.slots.shape[1] == method.config.slots


def test_weights_with_ears_round_trip_and_without_them_are_read_as_before(method, tmp_path):
    method.save_pretrained(tmp_path / "ears", half=True)
    again = SlotID.from_pretrained(tmp_path / "ears")
    clip = clip_tensors(batch=1)
    shown = crops(1, clip[0].shape[1])
    assert again.config.movement and torch.equal(again.encode(*clip, shown).slots, method.encode(*clip, shown).slots)
    with pytest.raises(SlotIDError, match="give `encode` the crops too"):
        again.encode(*clip)
    plain = SlotID(replace(method.config, movement=False))
    plain.save_pretrained(tmp_path / "plain")
    assert SlotID.from_pretrained(tmp_path / "plain").movement is None


def test_methods_share_a_frame_reader_that_lies_once_beside_them(method, tmp_path):
    torch.manual_seed(1)
    other = SlotID(method.config).eval()
    other.movement.reader.load_state_dict(method.movement.reader.state_dict())
    made = {"one": method, "other": other}
    folders = [tmp_path / name for name in made]
    for name, whole in made.items():
        whole.save_pretrained(tmp_path / name, half=True)
    size = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    share(folders, "movement.reader.")
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) < 0.8 * size
    for name, whole in made.items():
        again = SlotID.from_pretrained(tmp_path / name)
        assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))
    share(folders, "movement.reader.")  # what is shared already stays so
    assert SlotID.from_pretrained(folders[0])._fingerprint() == method._fingerprint()
    (tmp_path / SHARED).unlink()
    with pytest.raises(SlotIDError, match="copy that file too"):
        SlotID.from_pretrained(folders[0])
    SlotID(method.config).save_pretrained(folders[0])
    other.save_pretrained(folders[1])
    with pytest.raises(SlotIDError, match="differs between one, other"):
        share(folders, "movement.reader.")
