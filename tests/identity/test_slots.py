"""The Slot-ID encoder: shapes, gates, strength, readers, what is kept for the eye, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import clip_tensors, small_backbone, small_config, small_face, small_method

from slotid.backbone.backbone import LoraPlan
from slotid.identity.registry import METHODS, method_class
from slotid.identity.slots import READERS, SlotConfig, SlotID
from slotid.types import IdentityCode, Request, SlotIDError


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def method():
    return small_method()


@pytest.fixture(scope="module")
def code(backbone, method):
    return method.remember(small_face(frames=14, hidden=(4,)), backbone.to_latent)


def test_the_default_encoder_is_small_and_starts_almost_closed():
    method = SlotID()
    assert sum(p.numel() for p in method.parameters()) <= 3_000_000
    torch.manual_seed(0)
    e = method.encode(torch.randn(1, 4, 24, 8, 8), torch.arange(4)[None] / 8, torch.ones(1, 4, dtype=torch.bool), torch.tensor([1]))
    assert torch.allclose(e.gates, torch.full((1, 8), 0.1))
    size = method.tokens(e).square().mean(-1).sqrt()[0]
    assert torch.allclose(size[:4], torch.full((4,), 0.5), atol=1e-3) and torch.allclose(size[4:], torch.full((8,), 0.05), atol=1e-3)


def test_shapes_and_masses(method):
    latents, seconds, seen, anchor = clip_tensors(batch=3)
    e = method.encode(latents, seconds, seen, anchor)
    assert e.anchors.shape == (3, 2, 24) and e.slots.shape == (3, 8, 24) and e.gates.shape == e.mass.shape == (3, 8)
    assert len(e.plans) == len(e.marginal_error) == 3 and e.plans[0].shape == (3, 8, 6, 4, 4)
    for plan, error in zip(e.plans, e.marginal_error, strict=True):
        assert torch.allclose(plan.sum((1, 2, 3, 4)), torch.ones(3), atol=1e-5) and error.shape == (3,) and (error < 0.05).all()
    assert torch.allclose(e.mass.sum(1), torch.ones(3), atol=1e-5)
    assert method.tokens(e).shape == (3, 10, 32)


def test_a_clip_in_a_batch_is_encoded_as_if_alone(method):
    batch = clip_tensors(batch=3)
    together, alone = method.encode(*batch), method.encode(*[x[1:2] for x in batch])
    assert torch.allclose(together.slots[1], alone.slots[0], atol=1e-5) and torch.allclose(together.gates[1], alone.gates[0], atol=1e-6)


def test_hidden_frames_at_the_end_are_as_if_cut_off(method):
    """Padding a short clip with hidden frames (as batches do) changes nothing."""
    latents, seconds, seen, anchor = clip_tensors(batch=1)
    short = method.encode(latents[:, :4], seconds[:, :4], seen[:, :4], anchor)
    seen[:, 4:] = False
    padded = method.encode(latents, seconds, seen, anchor)
    assert torch.allclose(short.slots, padded.slots, atol=1e-5)


def test_strength_and_gains_scale_the_slots_and_leave_the_anchors(method):
    e = method.encode(*clip_tensors())
    one, half = method.tokens(e), method.tokens(e, 0.5)
    assert torch.equal(one[:, :2], half[:, :2]) and torch.allclose(half[:, 2:], 0.5 * one[:, 2:], atol=1e-7)
    gain = torch.ones(8)
    gain[3] = 0
    muted = method.tokens(e, 1.0, gain)
    assert (muted[:, 5] == 0).all() and torch.equal(muted[:, 6:], one[:, 6:])
    per_clip = method.tokens(e, torch.tensor([1.0, 0.5]))
    assert torch.equal(per_clip[0], one[0]) and torch.allclose(per_clip[1], half[1])


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_has_the_same_weights_and_its_own_plan(method, reader):
    batch = clip_tensors()
    other = method.with_reader(reader)
    e = other.encode(*batch)
    plan = e.plans[-1]
    assert torch.allclose(plan.sum((1, 2, 3, 4)), torch.ones(2), atol=1e-5)
    if reader == "mean":
        share = plan / plan.sum((2, 3, 4), keepdim=True)
        assert torch.allclose(share, share[:, :1].expand_as(share), atol=1e-6), "all slots read the same mean"
    elif reader == "anchor":
        index = batch[3]
        elsewhere = [plan[b, :, [t for t in range(6) if t != index[b]]] for b in range(2)]
        assert all((x == 0).all() for x in elsewhere) and torch.allclose(plan[0, :, index[0]].sum(), torch.tensor(1.0), atol=1e-5)
    else:
        assert plan.std() > 0 and (plan > 0).all()
    if reader != "sinkhorn":
        assert (e.slots - method.encode(*batch).slots).abs().max() > 1e-4


def test_unknown_reader_and_wrong_latents_are_refused(method):
    with pytest.raises(SlotIDError, match="sinkhorn, attention, mean, anchor"):
        SlotConfig(reader="best")
    with pytest.raises(SlotIDError, match="5 channels"):
        method.encode(*[torch.zeros(1, 2, 5, 4, 4), *[x[:1, :2] for x in clip_tensors()[1:3]], torch.tensor([0])])


def test_remember_keeps_what_a_person_may_look_at(code, method):
    shown = code.shown
    assert (code.method, code.version) == ("slots", 1)
    assert {k: tuple(v.shape) for k, v in code.tensors.items()} == {"anchors": (2, 24), "slots": (8, 24), "gates": (8,)}
    assert shown["plans"].shape == (3, 8, 14, 4, 4) and shown["plans"].dtype == np.float16
    assert (shown["plans"][:, :, 4] == 0).all(), "the hidden frame carries no mass"
    assert np.array_equal(shown["gates"], code.tensors["gates"].numpy()), "the gates shown are those that are used"
    assert shown["frames"] == list(range(14)) and shown["crops"].shape == (14, 64, 64, 3)
    assert shown["anchor_frame"] in shown["frames"] and len(shown["slot_names"]) == 8
    assert shown["mass"].sum() == pytest.approx(1, abs=1e-5) and shown["marginal_error"].shape == (3,)


def test_the_plan_is_kept_while_it_forms(code, backbone, method):
    """Every Sinkhorn iteration of every refinement; the last is the plan that was used, and its error has fallen."""
    forming, errors = code.shown["forming"].astype(np.float32), code.shown["forming_error"]
    assert forming.shape == (3, 8, 8, 4, 4) and errors.shape == (3, 8)
    assert np.allclose(forming[:, -1], code.shown["plans"].astype(np.float32).sum(2), atol=2e-3)
    assert np.allclose(errors[:, -1], code.shown["marginal_error"], atol=1e-6) and (np.diff(errors, axis=1) <= 1e-6).all()
    still = method.with_reader("attention").remember(small_face(frames=14, hidden=(4,)), backbone.to_latent)
    assert still.shown["forming"].shape == (3, 1, 8, 4, 4)


def test_remember_reads_long_clips_at_8_frames_a_second_with_the_anchor_among_them(backbone, method):
    face = small_face(frames=100, fps=25.0)
    code = method.remember(face, backbone.to_latent)
    assert 31 <= len(code.shown["frames"]) <= 33 and code.shown["anchor_frame"] in code.shown["frames"]


def test_remember_is_deterministic_and_refuses_an_unseen_face(backbone, method, code):
    again = method.remember(small_face(frames=14, hidden=(4,)), backbone.to_latent)
    assert all(torch.equal(again.tensors[k], v) for k, v in code.tensors.items())
    with pytest.raises(SlotIDError, match="no frame in which the face is seen"):
        method.remember(small_face(frames=3, hidden=(0, 1, 2)), backbone.to_latent)


def test_condition_uses_context_and_lora_alone(code, method):
    """Law 10 for this method: its row of the table and nothing else."""
    given = method.condition(code, (3, 4, 4), 1.5)
    assert given.context.shape == (1, 10, 32) and given.lora == 1.0
    assert all(getattr(given, k) is None for k in ("reference", "cross", "residual", "patch"))
    assert method.condition(code, (3, 4, 4), 0.3).lora == pytest.approx(0.3)
    nothing = method.condition(code, (3, 4, 4), 0.0)
    assert nothing.context is None and nothing.lora == 0


def test_codes_of_others_are_refused_by_name(code, method):
    grid = (3, 4, 4)
    with pytest.raises(SlotIDError, match="'sparse' version 2.*'slots' version 1"):
        method.condition(IdentityCode("sparse", 2, {}), grid)
    with pytest.raises(SlotIDError, match="other weights"):
        small_method(9).condition(code, grid)
    with pytest.raises(SlotIDError, match="3 slot gains.*8 slots"):
        method.condition(code, grid, 1.0, (1.0, 1.0, 1.0))


def test_looks_of_one_with_habits_of_another(backbone, method, code):
    other = method.remember(small_face(5), backbone.to_latent)
    mixed = method.swapped(code, other)
    assert torch.equal(mixed.tensors["slots"][:5], code.tensors["slots"][:5])
    assert torch.equal(mixed.tensors["slots"][5:], other.tensors["slots"][5:])
    assert torch.equal(mixed.tensors["anchors"], code.tensors["anchors"])
    assert method.condition(mixed, (3, 4, 4)).context is not None


def test_streams_follow_the_request(method, code):
    request = Request("x", code)
    assert len(method.streams(request, 3.0, 1.5)) == 3
    assert not any(s.identity for s in method.streams(replace(request, strength=0.0), 3.0, 1.5))
    assert not any(s.identity for s in method.streams(replace(request, reference=None), 3.0, 1.5))


def test_weights_round_trip_and_refusals(tmp_path, method, code):
    method.save_pretrained(tmp_path / "w", backbone="tiny")
    again = SlotID.from_pretrained(tmp_path / "w")
    assert again.config == method.config and not any(p.requires_grad for p in again.parameters())
    assert torch.equal(again.condition(code, (3, 4, 4)).context, method.condition(code, (3, 4, 4)).context)
    config = tmp_path / "w" / "config.json"
    text = config.read_text()
    assert '"backbone": "tiny"' in text and '"feature_extractor"' in text and '"text_width": 32' in text
    config.write_text(text.replace('"method": "slots"', '"method": "sparse"'))
    with pytest.raises(SlotIDError, match="'sparse' version 1; expected 'slots' version 1"):
        SlotID.from_pretrained(tmp_path / "w")
    config.write_text(text.replace('"slots": 8', '"slots": 7'))
    with pytest.raises(SlotIDError, match="do not fit"):
        SlotID.from_pretrained(tmp_path / "w")
    config.write_text("{")
    with pytest.raises(SlotIDError, match="JSON"):
        SlotID.from_pretrained(tmp_path / "w")
    (tmp_path / "w" / "config.json").write_text(text)
    (tmp_path / "w" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(SlotIDError, match="cannot be read"):
        SlotID.from_pretrained(tmp_path / "w")
    with pytest.raises(SlotIDError, match="No identity weights"):
        SlotID.from_pretrained(tmp_path / "nowhere")


def test_half_size_weights_mean_the_same_as_those_in_memory(tmp_path):
    method, backbone = small_method(), small_backbone()
    lora = backbone.adopt(LoraPlan(rank=2))
    torch.nn.init.normal_(next(iter(lora.parameters())))
    method.save_pretrained(tmp_path / "whole", lora=lora)
    method.save_pretrained(tmp_path / "half", lora=lora, half=True)
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    again = SlotID.from_pretrained(tmp_path / "half")
    assert again._fingerprint() == method._fingerprint()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), method.parameters(), strict=True))


def test_methods_by_name():
    assert method_class("slots") is SlotID and set(METHODS) >= {"slots", "exemplars", "none"}
    with pytest.raises(SlotIDError, match="Unknown method 'slot'; known are slots, anchor, mean, attention, exemplars, none"):
        method_class("slot")


def test_a_method_without_identity_asks_for_nothing(backbone):
    method = method_class("none")()
    code = method.remember(small_face(), backbone.to_latent)
    assert (code.method, dict(code.tensors)) == ("none", {}) and method.condition(code, (1, 4, 4)).context is None


def test_the_start_of_a_fresh_encoder_is_the_same_for_the_same_seed():
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(SlotID(small_config()).start.detach().clone())
    assert torch.equal(*made)


@pytest.mark.parametrize("name", ["anchor", "mean", "attention"])
def test_trained_variants_are_methods_of_their_own(name, tmp_path):
    kind = method_class(name)
    made = kind(small_config(reader=kind.reader))
    made.save_pretrained(tmp_path / name, "small")
    assert kind.from_pretrained(tmp_path / name).config.reader == kind.reader == name
    with pytest.raises(SlotIDError, match="slots"):
        SlotID.from_pretrained(tmp_path / name)
