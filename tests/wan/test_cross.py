"""Keys and values of text and identity are computed once per film, and nothing changes by it."""

import pytest
import torch
from small import small_backbone, small_method, stir

from slotid.backbone.backbone import LoraPlan
from slotid.backbone.cross import projected
from slotid.generate import Studio, generate
from slotid.types import Conditioning, Request


@pytest.fixture(scope="module")
def backbone():
    made = small_backbone(5)
    stir(made.adopt(LoraPlan(rank=2)), 5)
    return made


def calls(backbone, monkeypatch):
    """How often the context is projected to keys, by listening to the real layers."""
    count = []
    for block in backbone.transformer.blocks:
        block.attn2.to_k.register_forward_pre_hook(lambda m, args: count.append(args[0].shape[1]))
    return count


@pytest.mark.parametrize("given", [Conditioning(), Conditioning(context=torch.ones(1, 3, 32) / 7)], ids=["plain", "context"])
def test_cached_steps_equal_uncached_ones_bitwise(backbone, given):
    x, text, cache = torch.randn(2, 8, 2, 4, 4), backbone.read(["a man talks", ""]), {}
    for t in (1.0, 0.6, 0.1):
        with torch.no_grad():
            assert torch.equal(backbone.velocity(x, t, text, given, cache), backbone.velocity(x, t, text, given))
    assert len(cache) == 1 + backbone.spec.depth


def test_a_cache_of_another_text_or_person_is_never_read(backbone):
    x, cache = torch.randn(1, 8, 2, 4, 4), {}
    one, two = backbone.read(["a man talks"]), backbone.read(["a woman nods"])
    person = Conditioning(context=torch.randn(1, 3, 32), lora=0.7)
    with torch.no_grad():
        for text, given in ((one, Conditioning()), (two, Conditioning()), (two, person), (one, person)):
            expected = backbone.velocity(x, 0.5, text, given)
            assert torch.allclose(backbone.velocity(x, 0.5, text, given, cache), expected, atol=1e-5)


def test_lora_folded_into_the_weight_is_lora(backbone):
    layer, x = backbone.transformer.blocks[0].attn2.to_q, torch.randn(2, 5, 32)
    before = layer.base_layer.weight.clone()
    with torch.no_grad():
        for scale in (1.0, 0.25):
            layer.set_scale("slotid", scale)
            assert torch.allclose(projected(layer, x), layer(x), atol=1e-5)
            assert (projected(layer, x) - layer.base_layer(x)).abs().max() > 1e-3
    assert torch.equal(layer.base_layer.weight, before), "the frozen weight is not touched"
    assert projected(layer, x).requires_grad, "with gradients peft's own way is taken"


def test_a_film_projects_its_context_once_per_group_of_streams(monkeypatch):
    made = small_backbone(6)
    stir(made.adopt(LoraPlan(rank=2)), 6)
    studio, count = Studio(made, small_method(6)), calls(made, monkeypatch)
    from small import small_face

    *_, film = generate(studio, Request("a man talks", small_face(), steps=5, preview_every=0, likeness=False))
    assert film.clip.frames.std() > 0
    assert len(count) == 2 * made.spec.depth, "once with identity, once without, not once per step"
    assert set(count) == {made.spec.text_length, made.spec.text_length + 2 + 8}


def test_gradient_checkpointing_changes_no_gradient():
    grads = []
    for saving in (False, True):
        made, method = small_backbone(7), small_method(7).train()
        torch.manual_seed(2)  # of the new LoRA
        lora = made.adopt(LoraPlan(rank=2))
        stir(lora, 7)
        if saving:
            made.save_memory()
        torch.manual_seed(3)
        x, text = torch.randn(2, 8, 2, 4, 4), made.read(["a man talks", ""])
        from small import clip_tensors

        tokens = method.tokens(method.encode(*clip_tensors()))
        made.velocity(x, torch.tensor([0.3, 0.9]), text, Conditioning(context=tokens, lora=0.5)).square().mean().backward()
        grads.append([p.grad.clone() for p in [*lora.parameters(), *method.parameters()]])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads, strict=True)) and sum(g.abs().sum() for g in grads[0]) > 0
