"""What identity adds to one denoising forward of a Wan-shaped stack of blocks, random weights: time, and memory at the peak."""

from __future__ import annotations

from typing import Any

from slotid.bench.timing import measure, median, ratio

ANCHORS, SLOTS, RANK = 4, 8, 16


def wan_shaped(blocks: int, config: dict[str, Any] | None = None, vace: bool = False, device: str = "cpu", dtype: Any = None):
    """A backbone whose blocks have the sizes of Wan 2.1 1.3B (or ``config``'s) and random weights; VAE and text encoder are tiny.

    With ``vace`` every second block has a control block, as in Wan 2.1 VACE 1.3B.
    """
    import torch
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel, WanVACETransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    from slotid.backbone.backbone import Spec
    from slotid.backbone.known import KNOWN
    from slotid.backbone.tiny import _quiet, build_tokenizer
    from slotid.backbone.vace import WanVACEBackbone
    from slotid.backbone.wan_driver import WanBackbone

    config = {**KNOWN["wan2.1-1.3b"].transformer, **(config or {}), "num_layers": blocks}
    channels = config["in_channels"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = build_tokenizer(["a person"])
        vae = AutoencoderKLWan(base_dim=4, z_dim=channels, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * channels,
                               latents_std=[1.0] * channels)  # fmt: skip
        text = UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, num_heads=2, d_ff=16, num_layers=1))
        if vace:
            net = WanVACETransformer3DModel(**config, vace_layers=list(range(0, blocks, 2)), vace_in_channels=2 * channels + 64)
        else:
            net = WanTransformer3DModel(**config)
    width = config["num_attention_heads"] * config["attention_head_dim"]
    spec = Spec(
        name="wan-shaped", channels=channels, space=8, time=4, patch=(1, 2, 2), text_width=config["text_dim"], text_length=512,
        width=width, depth=blocks, size=(480, 832), fps=16.0, frames=81, frames_min=1, frames_max=81,
    )  # fmt: skip
    backbone = (WanVACEBackbone if vace else WanBackbone)(net, vae, text, tokenizer, FlowMatchEulerDiscreteScheduler(), spec)
    with _quiet():  # the library warns that from_pretrained would keep norms in float32; a bench needs no exact films
        for part in backbone.parts().values():
            part.to(device, dtype or torch.float32)
    return backbone


def step_cost(
    blocks: int = 2, grid: tuple[int, int, int] = (1, 60, 104), rounds: int = 5, config: dict[str, Any] | None = None, device: str = "cpu",
    dtype: Any = None, exemplars: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Added time of one forward of one stream, per method, against the bare backbone; keys and values cached as in ``generate``.

    Args:
        grid: latent (T', h, w); (1, 60, 104) is one latent frame of 480x832. More tokens make identity's share smaller.
        exemplars: also measure VACE with one reference image: its control blocks, and the image as one more latent frame, which weighs
            as much as a frame of the film (one of 21 in a film of five seconds).
    """
    import torch

    from slotid.backbone.backbone import LoraPlan
    from slotid.bench.peak import peak_of
    from slotid.types import Conditioning

    stock = wan_shaped(blocks, config, device=device, dtype=dtype)  # never adopted: without even the wrapping of LoRA
    backbone = wan_shaped(blocks, config, device=device, dtype=dtype)
    spec = backbone.spec
    x = torch.randn(1, spec.channels, *grid, device=device)
    text = torch.randn(1, spec.text_length, spec.text_width, device=device)
    plain = Conditioning()
    caches: dict[str, dict] = {"bare": {}, "slots": {}}
    lora = backbone.adopt(LoraPlan(rank=RANK))
    with torch.no_grad():
        for weight in lora.parameters():
            weight.normal_(0, 0.02)
    identity = Conditioning(context=torch.randn(1, ANCHORS + SLOTS, spec.text_width, device=device), lora=1.0)

    def forward(model, given: Conditioning, cache: dict | None):
        with torch.no_grad():
            return model.velocity(x, 0.5, text, given, cache)

    candidates = {
        "bare": lambda: forward(stock, plain, caches["bare"]),
        "slots": lambda: forward(backbone, identity, caches["slots"]),
        "bare, nothing cached": lambda: forward(stock, plain, None),
        "slots, nothing cached": lambda: forward(backbone, identity, None),
    }
    cached = {name: candidates[name] for name in ("bare", "slots")}
    again = {name: run for name, run in candidates.items() if name not in cached}
    seconds = measure(cached, 3 * rounds, device=device)  # a difference of a percent needs more rounds than one of ten
    rows = {name: ratio(seconds, name, "bare") for name in cached}
    other = measure({"bare": candidates["bare"], **again}, rounds, device=device)
    rows |= {name: ratio(other, name, "bare") for name in again}
    seconds |= {name: other[name] for name in again}
    peaks = {name: peak_of(run, device) for name, run in candidates.items()}
    if exemplars:
        rows["exemplars"], seconds["exemplars"], peaks["exemplars"] = _exemplars(blocks, grid, rounds, config, device, dtype)
    tokens = grid[0] * grid[1] * grid[2] // 4
    return {
        "blocks": blocks, "tokens": tokens, "width": spec.width,
        "methods": {
            name: {"seconds": median(seconds[name]), "added": rows[name][0] - 1, "added_low": rows[name][1] - 1,
                   "added_high": rows[name][2] - 1, "peak_mib": peaks[name] / 2**20}
            for name in rows
        },
    }  # fmt: skip


def _exemplars(blocks: int, grid: tuple[int, int, int], rounds: int, config: dict[str, Any] | None, device: str, dtype: Any):
    """(ratio, seconds, peak) of VACE with one reference image over the same transformer without: encoding it is not counted."""
    import numpy as np
    import torch

    from slotid.backbone.layers import ReferenceImages
    from slotid.bench.peak import peak_of
    from slotid.types import Conditioning

    backbone = wan_shaped(blocks, config, vace=True, device=device, dtype=dtype)
    spec = backbone.spec
    x = torch.randn(1, spec.channels, *grid, device=device)
    longer = torch.randn(1, spec.channels, grid[0] + 1, *grid[1:], device=device)
    text = torch.randn(1, spec.text_length, spec.text_width, device=device)
    asked = ReferenceImages(np.zeros((1, 64, 64, 3), np.uint8), 1.0, grid)
    plain, given = Conditioning(), Conditioning(residual=asked)
    control = torch.zeros(1, 2 * spec.channels + 64, grid[0] + 1, *grid[1:], device=device)
    caches: list[dict] = [{}, {"asked": asked, "controls": control}]

    def forward(latent, what, cache):
        with torch.no_grad():
            return backbone.velocity(latent, 0.5, text, what, cache)

    candidates = {"bare": lambda: forward(x, plain, caches[0]), "exemplars": lambda: forward(longer, given, caches[1])}
    seconds = measure(candidates, rounds, device=device)
    return ratio(seconds, "exemplars", "bare"), seconds["exemplars"], peak_of(candidates["exemplars"], device)
