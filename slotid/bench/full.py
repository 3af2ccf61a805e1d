"""Full-size Wan 2.1 1.3B from its config with random weights, under each memory profile: seconds per step, what identity adds to one, and
the true peak. For CUDA."""

from __future__ import annotations

import gc
from typing import Any

from slotid.bench.timing import median, ratio
from slotid.types import SlotIDError


def build(name: str, transformer: dict[str, Any], vae: dict[str, Any], text: dict[str, Any], spec: Any, dtype: Any):
    """A whole backbone of given sizes with random weights, in main memory."""
    import torch
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    from slotid.backbone.tiny import build_tokenizer
    from slotid.backbone.wan_driver import WanBackbone

    before = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        torch.set_default_dtype(dtype)
        net = WanTransformer3DModel(**transformer)
        words = UMT5EncoderModel(UMT5Config(**text))
    finally:
        torch.set_default_dtype(before)
    pictures = AutoencoderKLWan(**vae)
    return WanBackbone(net, pictures, words, build_tokenizer(["a person"]), FlowMatchEulerDiscreteScheduler(), spec)


def profiles(name: str = "wan2.1-1.3b", device: str = "cuda", steps: int = 4, chosen: tuple[str, ...] | None = None, known: Any = None,
             spec: Any = None) -> dict[str, Any]:  # fmt: skip
    """Per profile: seconds per step (both streams of text guidance), the share that identity adds to it, estimated and true peak in GiB,
    or why it could not run.

    Args:
        steps: denoising steps, with and without identity in turn, of which the first is not counted. chosen: profiles; None all.
        known, spec: instead of those of ``name`` (tests).
    """
    import torch

    from slotid.backbone import memory
    from slotid.backbone.known import need_known
    from slotid.backbone.place import place

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SlotIDError("The full-size bench needs a CUDA card, and none was found; leave `full` out.")
    known, spec = known or need_known(name), spec or memory.known_spec(name)
    needs = memory.estimate(known.transformer, known.vae, known.text, spec, known.experts)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    out: dict[str, Any] = {}
    for profile in chosen or tuple(memory.PROFILES):
        row: dict[str, Any] = {"estimated_gib": needs[profile].vram}
        backbone = build(name, known.transformer, known.vae, known.text, spec, dtype)
        try:
            row |= _film(place(backbone, profile, device), spec, steps, device)
        except torch.OutOfMemoryError:
            row["failed"] = "out of memory"
        del backbone
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        out[profile] = row
    return out


def _film(backbone: Any, spec: Any, steps: int, device: str) -> dict[str, Any]:
    import time

    import torch

    from slotid.backbone.backbone import LoraPlan
    from slotid.bench.steps import ANCHORS, RANK, SLOTS
    from slotid.types import Conditioning

    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    backbone.adopt(LoraPlan(rank=RANK)).to(device)
    tokens = torch.randn(1, ANCHORS + SLOTS, spec.text_width, device=device)
    given = {"bare": Conditioning(), "slots": Conditioning(context=tokens, lora=1.0)}
    spent: dict[str, list[float]] = {name: [] for name in given}
    caches: dict[str, dict] = {name: {} for name in given}
    with torch.no_grad():
        text = backbone.read(["", "a person smiles"])
        x = torch.randn(1, spec.channels, *spec.grid(spec.frames), device=device)
        for step in range(steps):
            for name, asked in given.items():
                start = time.perf_counter()
                v = backbone.velocity(x.expand(2, -1, -1, -1, -1), 1 - step / steps, text, asked, caches[name])
                if cuda:
                    torch.cuda.synchronize()
                spent[name].append(time.perf_counter() - start)
        backbone.to_pixels(v[:1].float())
    counted = {name: values[1:] or values for name, values in spent.items()}
    row: dict[str, Any] = {"seconds_per_step": median(counted["bare"]), "slots_added": ratio(counted, "slots", "bare")[0] - 1}
    if cuda:
        row["peak_gib"] = torch.cuda.max_memory_reserved() / 2**30
    return row
