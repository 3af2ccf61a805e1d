"""Memory profiles: estimates follow the real classes, the choice is the fastest that fits, and no profile changes the film."""

import gc

import pytest
import torch
from torch import nn
from wan_small import NET, VAE_21, small_spec

from slotid.backbone import memory
from slotid.backbone.backbone import LoraPlan
from slotid.backbone.memory import PROFILES, Free, Need, choose_profile, estimate, estimate_folder
from slotid.backbone.place import place
from slotid.backbone.wan import load_wan
from slotid.backbone.weigh import LivePeak, peak_bytes, sizes_of
from slotid.types import Conditioning, SlotIDError

TEXT = dict(vocab_size=300, d_model=32, d_kv=16, num_heads=2, d_ff=48, num_layers=1, dropout_rate=0.0)
VRAM = dict(zip(PROFILES, (20.0, 14.0, 11.0, 10.0, 9.0, 5.0, 3.0), strict=True))
NEEDS = {name: Need(vram, 12.0) for name, vram in VRAM.items()}


def test_the_tracer_counts_what_is_alive_at_once():
    with LivePeak() as tracker:
        a = torch.ones(1000)  # 4000 bytes
        b = a + 1  # 8000
        b = b * 2  # 12000, then the old one goes
        view = b.view(10, 100)  # nothing new
        del a
    assert tracker.peak == 12000 and tracker.live == 4000 and view.numel() == 1000
    del b, view
    gc.collect()
    assert tracker.live == 0


def test_a_pretended_forward_weighs_what_a_real_one_weighs():
    def build():
        return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    guess = peak_bytes(build, lambda net: net(torch.empty(100, 64)), torch.float32)
    net, x = build(), torch.randn(100, 64)
    with torch.no_grad(), LivePeak() as tracker:
        net(x)
    assert guess == tracker.peak + x.nbytes  # the pretended one also makes its input
    assert sizes_of(build)["all"] == sum(p.numel() for p in net.parameters())


def test_attention_is_not_weighed_by_the_square_of_the_tokens():
    net = {**NET, "in_channels": 8, "out_channels": 8}
    small, large = (memory._weigh_transformer(net, grid, 16, 2)["peak"] for grid in ((4, 16, 16), (16, 16, 16)))
    assert 3 < large / small < 5


@pytest.fixture(scope="module")
def needs():
    net = {**NET, "in_channels": 8, "out_channels": 8}
    return estimate(net, VAE_21, TEXT, small_spec()), estimate(net, VAE_21, TEXT, small_spec(), experts=2)


def test_every_profile_takes_less_than_the_one_before_where_it_should(needs):
    one, two = needs
    assert list(one) == list(PROFILES)
    vram = {name: need.vram - memory.OVERHEAD for name, need in one.items()}
    assert (
        vram["full"] > vram["full-8bit"] and vram["full"] > vram["model"] >= vram["model-8bit"] and vram["model"] > vram["sequential"] > 0
    )
    weights = (two["full"].vram - one["full"].vram) * memory.GIB / 2
    assert weights == pytest.approx(sizes_of(lambda: _net())["all"], rel=1e-3), "a second expert is all its weights on the card"
    assert two["model"].vram == pytest.approx(one["model"].vram), "and nothing more where one part is there at a time"


def _net():
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(**NET, in_channels=8, out_channels=8)


def test_a_folder_is_estimated_from_its_configs(pipelines):
    found = estimate_folder(pipelines("2.1"), small_spec())
    assert set(found) == set(PROFILES) and all(need.vram > memory.OVERHEAD and need.ram > 0 for need in found.values())
    assert memory.table({"mine": found}).count("|") == 3 * (len(PROFILES) + 2)
    vace = estimate_folder(pipelines("vace"), small_spec("vace"))
    assert set(vace) == {name for name, profile in PROFILES.items() if profile.moves in ("none", "parts")}, "its forward runs whole"
    assert memory.table({"vace": vace}).endswith(" | - | - |")


@pytest.mark.parametrize("free,expected", [(24, "full"), (15, "full-8bit"), (11.6, "model"), (6, "group"), (3.5, "sequential")])
def test_the_fastest_that_fits_is_chosen(free, expected):
    assert choose_profile(NEEDS, Free(free, 32)).name == expected


def test_what_does_not_fit_is_refused_with_what_would():
    assert choose_profile(NEEDS, Free(12, 32), "group").name == "group"
    assert choose_profile(NEEDS, Free(None, 8)).name == "full"
    with pytest.raises(
        SlotIDError,
        match=r"--memory full needs 20.0 GiB of VRAM and 12.0 of RAM; 12.0 GiB of VRAM and 32.0 GiB of RAM are free. "
        "--memory model would fit",
    ):
        choose_profile(NEEDS, Free(12, 32), "full", "wan2.1-1.3b")
    with pytest.raises(SlotIDError, match="needs at least 3.0 GiB of VRAM.*--memory sequential"):
        choose_profile(NEEDS, Free(2, 32))
    with pytest.raises(SlotIDError, match="needs at least"):
        choose_profile(NEEDS, Free(80, 4))
    with pytest.raises(SlotIDError, match="Unknown memory profile 'huge'; expected auto or one of full"):
        choose_profile(NEEDS, Free(80, 64), "huge")


class Moves:
    """Which parts are moved, by listening to the real ``Module.to``."""

    def __init__(self, monkeypatch, parts):
        self.seen, names = [], {id(part): name for name, part in parts.items()}
        original = nn.Module.to

        def to(module, *args, **kwargs):
            if id(module) in names:
                self.seen.append((names[id(module)], str(args[0])))
            return original(module, *args, **kwargs)

        monkeypatch.setattr(nn.Module, "to", to)


def outputs(backbone):
    with torch.no_grad():
        text = backbone.read(["a man talks"])
        x = torch.randn(1, 8, 2, 4, 4, generator=torch.Generator().manual_seed(1))
        cache = {}
        parts = [backbone.velocity(x, t, text, Conditioning(), cache) for t in (0.9, 0.5)]
        return [*parts, backbone.to_pixels(x), backbone.to_latent(torch.zeros(1, 3, 5, 32, 32)), text]


def adopted(backbone):
    """With LoRA that does something, the same each time."""
    lora = backbone.adopt(LoraPlan(rank=2))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in lora.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return backbone


def perturbed(backbone):
    """A velocity with perturbed attention, and one after it."""
    x = torch.randn(1, 8, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        text = backbone.read(["a man talks"])
        with backbone.perturbed(1):
            inside = backbone.velocity(x, 0.9, text)
        return inside, backbone.velocity(x, 0.9, text)


def bent(backbone, cache=None):
    x = torch.randn(1, 8, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return backbone.velocity(x, 0.9, backbone.read(["a man talks"]), Conditioning(lora=1.0), cache)


@pytest.fixture(scope="module")
def unplaced(pipelines):
    backbone = adopted(load_wan(pipelines("2.2-a14b"), device="cpu"))
    return outputs(backbone), bent(backbone), perturbed(backbone)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_no_profile_changes_the_film(pipelines, unplaced, profile):
    backbone = adopted(place(load_wan(pipelines("2.2-a14b"), device="cpu"), profile, "cpu"))
    again = outputs(backbone)
    loose = PROFILES[profile].bits == 8
    for one, two in zip(unplaced[0], again, strict=True):
        assert torch.allclose(one, two, atol=0.3 if loose else 1e-5), float((one - two).abs().max())
    assert torch.allclose(bent(backbone), unplaced[1], atol=0.3 if loose else 1e-4)
    assert torch.allclose(bent(backbone), bent(backbone, {}), atol=1e-4)
    assert (unplaced[1] - unplaced[0][0]).abs().max() > 1e-3
    for one, two in zip(unplaced[2], perturbed(backbone), strict=True):
        assert torch.allclose(one, two, atol=0.3 if loose else 1e-4)
    assert (unplaced[2][0] - unplaced[2][1]).abs().max() > 1e-3
    if loose:
        assert (unplaced[0][0] - again[0]).abs().max() > 1e-6, "8 bits must have an effect"
        kept = {p.dtype for p in backbone.transformer.blocks[0].attn1.to_q.parameters()}
        assert kept == {torch.float8_e4m3fn} and backbone.transformer.dtype == torch.float32
    if profile == "sequential":
        assert backbone.transformer.blocks[0].attn1.to_q.weight.is_meta and not backbone.transformer.scale_shift_table.is_meta
    if profile in ("group", "sequential"):
        with pytest.raises(SlotIDError, match="at work already"):
            backbone.adopt(LoraPlan(rank=2))


def test_model_offload_moves_the_part_that_is_needed_and_only_that(pipelines, monkeypatch):
    backbone = load_wan(pipelines("2.2-a14b"), device="cpu")
    moves = Moves(monkeypatch, backbone.parts())
    place(backbone, "model", "cpu")
    assert moves.seen == []
    outputs(backbone)
    assert [name for name, _ in moves.seen] == [
        "text_encoder", "text_encoder", "transformer", "transformer", "transformer_2", "transformer_2", "vae",
    ]  # fmt: skip
    backbone.to("cpu")
    with pytest.raises(SlotIDError, match="placed on 'cpu' by memory profile 'model'; open it again"):
        backbone.to("cuda")
    with pytest.raises(SlotIDError, match="already"):
        place(backbone, "full", "cpu")


def test_group_offload_hooks_sit_on_blocks_and_fire(pipelines):
    from diffusers.hooks.group_offloading import _is_group_offload_enabled

    backbone = place(load_wan(pipelines("2.1"), device="cpu"), "group", "cpu")
    outputs(backbone)
    assert _is_group_offload_enabled(backbone.text_encoder) and not _is_group_offload_enabled(backbone.vae)
    assert all(hasattr(block, "_diffusers_hook") for block in backbone.transformer.blocks)
    with pytest.raises(SlotIDError, match="Unknown memory profile 'none'"):
        place(load_wan(pipelines("2.1"), device="cpu"), "none", "cpu")
