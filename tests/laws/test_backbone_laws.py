"""Laws 1, 3, 4 and 5: what may never change about how a frozen backbone is driven."""

import copy

import pytest
import torch
from small import clip_tensors, small_backbone, small_method, stir

from slotid import flow
from slotid.backbone.backbone import LoraPlan
from slotid.backbone.layers import Reference, grid_positions, rotary, turn
from slotid.types import Conditioning, SlotIDError


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


def stock(backbone, x, t, text):
    """The library's own forward, with per-sample times."""
    with torch.no_grad():
        return backbone.transformer(x, t * 1000, text, return_dict=False)[0]


@pytest.mark.parametrize("shape", [(2, 8, 3, 4, 4), (1, 8, 1, 4, 4), (1, 8, 2, 6, 4)])
def test_law_1_empty_conditioning_equals_the_library(backbone, shape):
    torch.manual_seed(1)
    x, t, text = torch.randn(shape), torch.rand(shape[0]), backbone.read(["a man talks"] * shape[0])
    with torch.no_grad():
        ours = backbone.velocity(x, t, text, Conditioning())
    assert torch.equal(ours, stock(backbone, x, t, text))


def test_law_1_holds_with_adopted_lora_switched_off():
    backbone = small_backbone(3)
    x, t, text = torch.randn(2, 8, 3, 4, 4), torch.rand(2), backbone.read(["a man talks", ""])
    before = stock(backbone, x, t, text)
    lora = backbone.adopt(LoraPlan(rank=2))
    stir(lora)
    with torch.no_grad():
        bent = backbone.velocity(x, t, text, Conditioning(lora=1.0))
        assert torch.equal(backbone.velocity(x, t, text, Conditioning()), before)
        half = backbone.velocity(x, t, text, Conditioning(lora=0.5))
    assert (bent - before).abs().max() > 1e-3  # otherwise the line above proves nothing
    assert (half - bent).abs().max() > 1e-4
    assert all(w.requires_grad for w in lora.parameters()), "switching LoRA off must not freeze it"


def test_law_1_catches_a_changed_context(backbone):
    x, text = torch.randn(1, 8, 2, 4, 4), backbone.read(["a man talks"])
    with torch.no_grad():
        plain = backbone.velocity(x, 0.5, text)
        with_tokens = backbone.velocity(x, 0.5, text, Conditioning(context=torch.randn(1, 3, 32)))
        with_none = backbone.velocity(x, 0.5, text, Conditioning(context=torch.zeros(1, 0, 32)))
    assert (plain - with_tokens).abs().max() > 1e-4
    assert torch.equal(plain, with_none)


def test_law_3_gradients_reach_the_method_and_no_frozen_weight():
    backbone, method = small_backbone(4), small_method(4).train()
    lora = backbone.adopt(LoraPlan(rank=2))
    stir(lora)
    torch.manual_seed(0)
    x0, noise, t = torch.randn(2, 8, 3, 4, 4), torch.randn(2, 8, 3, 4, 4), torch.tensor([0.3, 0.8])
    given = Conditioning(context=method.tokens(method.encode(*clip_tensors())), lora=1.0)
    predicted = backbone.velocity(flow.at(x0, noise, t), t, backbone.read(["a man talks", ""]), given)
    flow.loss(predicted, flow.target(x0, noise)).backward()
    for name, weight in [*method.named_parameters(), *lora.named_parameters()]:
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, f"{name} gets no gradient"
    trained = {id(p) for p in lora.parameters()}
    frozen = [p for part in (backbone.transformer, backbone.vae, backbone.text_encoder) for p in part.parameters() if id(p) not in trained]
    assert len(frozen) > 100
    assert all(p.grad is None and not p.requires_grad for p in frozen)


def test_law_3_lora_sits_on_cross_attention_only():
    backbone = small_backbone(5)
    untouched = copy.deepcopy({k: v for k, v in backbone.transformer.state_dict().items()})
    lora = backbone.adopt(LoraPlan(rank=2))
    assert {name.split("/")[2] for name, _ in lora.named_parameters()} == {"attn2"}
    assert {"/".join(name.split("/")[3:-1]) for name, _ in lora.named_parameters()} == {"to_q", "to_k", "to_v", "to_out/0"}
    now = backbone.transformer.state_dict()
    assert all(torch.equal(v, now[k] if k in now else now[k.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")])
               for k, v in untouched.items())  # fmt: skip


def seen_by_references(backbone, x, reference):
    """What the first self-attention layers read of the reference tokens, per block, and the velocity."""
    states, handles = [], []
    tokens = reference.latents.shape[2] * 4
    for block in backbone.transformer.blocks:
        handles.append(
            block.attn1.to_k.register_forward_hook(lambda m, i, o: states.append(o[:, -tokens:]) if i[0].shape[1] != 12 else None)
        )
    try:
        with torch.no_grad():
            v = backbone.velocity(x, 0.7, backbone.read(["a man talks"]), Conditioning(reference=reference))
    finally:
        for handle in handles:
            handle.remove()
    return states, v


def test_law_4_references_that_see_only_themselves_do_not_depend_on_the_video(backbone):
    torch.manual_seed(2)
    one, two = torch.randn(1, 8, 3, 4, 4), torch.randn(1, 8, 3, 4, 4)  # 12 tokens each
    latents = torch.randn(1, 8, 2, 4, 4)  # 8 tokens
    alone = Reference(latents, (-1.0, 2.0, 2.0), "itself")
    first, v1 = seen_by_references(backbone, one, alone)
    second, _ = seen_by_references(backbone, two, alone)
    assert len(first) == len(second) >= 2 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    joint = Reference(latents, (3.0, 2.0, 2.0), "all")
    third, v3 = seen_by_references(backbone, one, joint)
    fourth, _ = seen_by_references(backbone, two, joint)
    assert not torch.equal(third[-1], fourth[-1]), "references that see all must depend on the video from the second block on"
    with torch.no_grad():
        plain = backbone.velocity(one, 0.7, backbone.read(["a man talks"]))
    assert (v1 - plain).abs().max() > 1e-4 and (v3 - plain).abs().max() > 1e-4, "the video must see the reference"


def test_law_4_two_calls_equal_one_masked_attention(backbone, monkeypatch):
    """The one-way reference, computed with a dense mask over [video, reference] instead, gives the same velocity."""
    torch.manual_seed(3)
    x, latents, offset = torch.randn(1, 8, 3, 4, 4), torch.randn(1, 8, 2, 4, 4), (-1.0, 2.0, 2.0)
    text, attend, masked = backbone.read(["a man talks"]), torch.nn.functional.scaled_dot_product_attention, []

    def with_mask(query, key, value, attn_mask=None, **rest):
        if query.shape[-2] == key.shape[-2] == 20:  # self-attention over both
            attn_mask = torch.ones(20, 20, dtype=torch.bool)
            attn_mask[12:, :12] = False
            masked.append(1)
        return attend(query, key, value, attn_mask=attn_mask, **rest)

    with torch.no_grad():
        ours = backbone.velocity(x, 0.7, text, Conditioning(reference=Reference(latents, offset, "itself")))
        both = backbone.velocity(x, 0.7, text, Conditioning(reference=Reference(latents, offset, "all")))
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", with_mask)
        dense = backbone.velocity(x, 0.7, text, Conditioning(reference=Reference(latents, offset, "all")))
    assert len(masked) == backbone.spec.depth
    assert torch.allclose(ours, dense, atol=2e-5), float((ours - dense).abs().max())
    assert not torch.allclose(both, dense, atol=1e-4)


def test_law_5_rotary_from_positions_equals_the_table(backbone):
    net = backbone.transformer
    for grid in [(3, 2, 2), (1, 4, 3), (7, 4, 4)]:
        table = net.rope(torch.zeros(1, 8, grid[0], 2 * grid[1], 2 * grid[2]))
        ours = rotary(grid_positions(grid), net.config.attention_head_dim)
        assert torch.equal(ours[0], table[0]) and torch.equal(ours[1], table[1])


def test_law_5_negative_and_fractional_positions_are_real():
    torch.manual_seed(0)
    a, b = torch.randn(1, 1, 2, 16), torch.randn(1, 1, 2, 16)

    def meeting(p, q):
        return (turn(a, *rotary(torch.tensor([p]), 16)) * turn(b, *rotary(torch.tensor([q]), 16))).sum()

    here = meeting([0.0, 1.0, 2.0], [2.5, 3.0, 1.5])
    assert torch.allclose(meeting([-1.0, -3.0, 0.5], [1.5, -1.0, 0.0]), here, atol=1e-4), "only differences of positions may count"
    assert not torch.allclose(meeting([0.0, 1.0, 2.0], [3.5, 3.0, 1.5]), here, atol=1e-4)


def test_what_a_backbone_cannot_do_is_refused_by_name(backbone):
    x, text = torch.randn(1, 8, 2, 4, 4), backbone.read(["a man talks"])
    with pytest.raises(SlotIDError, match="residual"):
        backbone.velocity(x, 0.5, text, Conditioning(residual=torch.zeros(1)))
    with pytest.raises(SlotIDError, match="trained for this backbone"):
        backbone.velocity(x, 0.5, text, Conditioning(context=torch.zeros(1, 2, 31)))
    with pytest.raises(SlotIDError, match="LoRA"):
        backbone.velocity(x, 0.5, text, Conditioning(lora=1.0))
    with pytest.raises(SlotIDError, match="'itself' or 'all'"):
        backbone.velocity(x, 0.5, text, Conditioning(reference=Reference(torch.zeros(1, 8, 1, 4, 4), (0, 0, 0), "some")))


def test_law_1_a_clean_sample_becomes_the_velocity_that_leads_there():
    backbone, same = small_backbone(4, predicts="sample"), small_backbone(4)
    x, t, text = torch.randn(3, 8, 2, 4, 4), torch.tensor([0.9, 0.4, 0.01]), backbone.read(["a man talks"] * 3)
    with torch.no_grad():
        clean = same.velocity(x, t, text)  # the same network: its output, read as the clean latent
        velocity = backbone.velocity(x, t, text)
    assert torch.allclose(flow.clean(x, velocity, t)[:2], clean[:2], atol=1e-5)
    assert torch.allclose(velocity[2], (x[2] - clean[2]) / 0.05, atol=1e-4), "near time 0 the division stops growing"


def test_law_1_the_stock_pipeline_knows_what_the_transformer_predicts():
    from diffusers import WanPipeline

    backbone = small_backbone(5, predicts="sample")
    with torch.no_grad():
        backbone.transformer.proj_out.weight.zero_()
        backbone.transformer.proj_out.bias.copy_(torch.linspace(-1, 1, 32))
    pipeline = WanPipeline(
        backbone.tokenizer, backbone.text_encoder, backbone.vae, backbone.scheduler, transformer=backbone.transformer
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(
        "a man talks", height=64, width=64, num_frames=5, num_inference_steps=6, guidance_scale=1.0, output_type="latent",
        max_sequence_length=16, generator=torch.Generator().manual_seed(0),
    ).frames  # fmt: skip
    text = backbone.read(["a man talks"])
    with torch.no_grad():
        wanted = flow.clean(found, backbone.velocity(found, 0.5, text), 0.5)
    assert torch.allclose(found, wanted, atol=1e-4), "a transformer that always says the same clean latent must be believed"
