"""A trained Slot-ID for Wan: one folder of safetensors with metadata, its vision features, and what does not belong together."""

import json
from dataclasses import replace

import pytest
import torch
from small import small_face, small_method, stir
from wan_small import hub_cache, vision_method, write_vision

from slotid.backbone.backbone import LoraPlan
from slotid.backbone.wan import load_wan
from slotid.generate import Studio, adopt_weights, generate, open_studio
from slotid.identity.slots import SlotID
from slotid.identity.vision import VisionFeatures, open_vision
from slotid.types import Request, SlotIDError


@pytest.mark.parametrize("kind", ["dinov2", "clip"])
def test_vision_features_are_shaped_like_latents(tmp_path, kind):
    folder = write_vision(tmp_path / kind, kind)
    method = vision_method(folder)
    read = open_vision(method.config)
    assert isinstance(read, VisionFeatures) and read.size == 56
    crops = torch.rand(3, 3, 1, 64, 64) * 2 - 1
    features = read(crops)
    assert features.shape == (3, 24, 1, 4, 4) and features.std(1).mean() == pytest.approx(1, abs=0.1)
    assert torch.allclose(features[:1], read(crops[:1]), atol=1e-5), "each crop by itself"
    moved = crops.clone()
    moved[:, :, :, :16, :16] = -1
    assert (read(moved) - features).abs()[:, :, 0, 0, 0].mean() > (read(moved) - features).abs()[:, :, 0, 3, 3].mean(), (
        "cells lie where the crop's are"
    )
    with pytest.raises(SlotIDError, match="single frames"):
        read(torch.zeros(1, 3, 5, 56, 56))
    method.extractor = read
    assert method.remember(small_face(1), None).tensors["slots"].shape == (8, 24)


def test_a_vision_model_that_is_not_the_trained_one_is_refused(tmp_path):
    folder = write_vision(tmp_path / "d")
    with pytest.raises(SlotIDError, match="reads features of 16 channels.*gives 24"):
        open_vision(vision_method(folder, 16).config)
    with pytest.raises(SlotIDError, match="fetch it once with `python -m slotid fetch facebook/dinov2-base@f9e44"):
        open_vision(replace(vision_method(folder).config, features="facebook/dinov2-base@f9e44c"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(SlotIDError, match="'vit'; this version reads CLIP and DINOv2"):
        open_vision(vision_method(folder).config)
    next(folder.glob("*.safetensors")).rename(folder / "pytorch_model.bin")
    with pytest.raises(SlotIDError, match="no safetensors"):
        open_vision(vision_method(folder).config)


def test_an_adapter_is_a_folder_of_safetensors_that_says_what_it_is(adapter):
    folder = adapter[0]
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "lora.safetensors", "model.safetensors"]
    about = json.loads((folder / "config.json").read_text())
    assert {k: about[k] for k in ("method", "version", "backbone", "text_width", "recipe")} == {
        "method": "slots", "version": 1, "backbone": "small-2.1", "text_width": 32, "recipe": "test",
    }  # fmt: skip
    assert "dino" in about["feature_extractor"] and about["slotid"] and about["lora"]["rank"] == 2


def test_it_generates_as_it_was_saved_from_a_folder_and_from_the_hubs_cache(adapter, pipelines, tmp_path, monkeypatch):
    folder, backbone, method, _ = adapter
    method.extractor = open_vision(method.config)
    wish = Request("a man talks", small_face(2), steps=2, preview_every=0, likeness=False)
    *_, expected = generate(Studio(backbone, method), wish)
    *_, found = generate(open_studio(pipelines("2.1"), "slots", "cpu", adapter=folder), wish)
    assert abs(found.clip.frames.astype(int) - expected.clip.frames.astype(int)).max() <= 1
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub_cache(tmp_path, "me/slots-for-wan", "2" * 40, folder)
    opened = open_studio(pipelines("2.1"), "slots", "cpu", adapter="me/slots-for-wan")
    assert opened.method._fingerprint() == method._fingerprint() and opened.backbone.adopted
    with pytest.raises(SlotIDError, match="adapter 'me/other' is not on this machine yet"):
        open_studio(pipelines("2.1"), "slots", "cpu", adapter="me/other")
    with pytest.raises(SlotIDError, match="no trained adapter \\(config.json, model.safetensors missing\\)"):
        open_studio(pipelines("2.1"), "slots", "cpu", adapter=tmp_path)


def test_an_adapter_of_another_backbone_is_refused_by_name(adapter, pipelines):
    with pytest.raises(SlotIDError, match="trained for backbone 'small-2.1' \\(text width 32\\); this is 'small-2.2-5b'"):
        open_studio(pipelines("2.2-5b"), "slots", "cpu", adapter=adapter[0])


def test_both_experts_get_their_lora(pipelines, tmp_path):
    backbone = load_wan(pipelines("2.2-a14b"), device="cpu")
    lora = backbone.adopt(LoraPlan(rank=2))
    names = [name for name, _ in lora.named_parameters()]
    assert len(names) == 2 * 3 * 4 * 2 and sum(name.startswith("weights.expert2/") for name in names) == len(names) // 2
    stir(lora, 2)
    method = small_method(2)
    method.save_pretrained(tmp_path, "small-2.2-a14b", lora)
    again = load_wan(pipelines("2.2-a14b"), device="cpu")
    adopt_weights(again, SlotID.from_pretrained(tmp_path), tmp_path)
    from slotid.types import Conditioning

    x, text = torch.randn(1, 8, 2, 4, 4), again.read(["a man talks"])
    with torch.no_grad():
        for t in (0.95, 0.5):
            one, two = (b.velocity(x, t, text, Conditioning(lora=1.0)) for b in (backbone, again))
            assert torch.allclose(one, two, atol=1e-5) and (one - again.velocity(x, t, text)).abs().max() > 1e-3


def test_a_share_of_lora_is_told_by_the_plan_that_is_kept(pipelines, tmp_path):
    whole, part = (load_wan(pipelines("2.1"), device="cpu") for _ in range(2))
    lora = whole.adopt(LoraPlan(rank=2))
    stir(lora, 2)
    lora.plan = replace(lora.plan, alpha=0.3 * 2)
    small_method(2).save_pretrained(tmp_path, "small-2.1", lora)
    adopt_weights(part, SlotID.from_pretrained(tmp_path), tmp_path)
    from slotid.types import Conditioning

    x, text = torch.randn(1, 8, 2, 4, 4), whole.read(["a man talks"])
    with torch.no_grad():
        bent, share, asked = (b.velocity(x, 0.5, text, Conditioning(lora=s)) for b, s in ((whole, 1.0), (part, 1.0), (whole, 0.3)))
    assert torch.allclose(share, asked, atol=1e-5) and (share - bent).abs().max() > 1e-3
