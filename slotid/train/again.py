"""The landed weights as the start of another training: what ``--out`` would hold, had they been trained there, without optimisers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from torch import Tensor

NEW_INPUT = 0.5  # norm of a new channel's input weights, in those of the others


def from_assets(assets: Path, out: Path) -> dict[str, Any]:
    """Writes VAE, tokenizer, latents' scale, text encoder, base, refiner and the methods' encoders of ``assets`` into ``out`` as step 0.

    Every stage then goes on from them; moments of the optimisers are not kept in assets, so rates warm up again. Where
    ``recipes.MOTION_CHANNELS`` asks for more channels than have landed, the base gets them (``widened``).

    Raises:
        SlotIDError: ``out`` holds a training already, or ``assets`` no pipeline.
    """
    from safetensors.torch import save_file

    from slotid.backbone.tiny import load_tiny, without_motion
    from slotid.identity.slots import SlotID
    from slotid.train.finish import keep_finish
    from slotid.train.loop import write_checkpoint
    from slotid.train.recipes import LATENT_CHANNELS, MOTION_CHANNELS, MOTION_FILE

    if (out / "base").exists() or (out / "vae").exists():
        raise SlotIDError(f"{out} holds a training already; give another --out, or go on with that one.")
    backbone = load_tiny(assets)
    (out / "vae").mkdir(parents=True)
    weights = without_motion(backbone.vae.state_dict(), LATENT_CHANNELS)
    save_file({name: t.contiguous() for name, t in weights.items()}, out / "vae" / "solved.safetensors")
    backbone.tokenizer.save_pretrained(out / "base" / "tokenizer")
    config = backbone.vae.config
    scale = [list(values)[-LATENT_CHANNELS:] for values in (config.latents_mean, config.latents_std)]  # the last are a picture's
    (out / "base" / "latents.json").write_text(json.dumps(scale))
    keep_finish(backbone.spec, out / "base")
    new = LATENT_CHANNELS + MOTION_CHANNELS - config.z_dim
    if not new and (assets / MOTION_FILE).exists():
        shutil.copyfile(assets / MOTION_FILE, out / "base" / MOTION_FILE)
    parts = {"base": ("transformer", backbone.transformer), "text": ("text_encoder", backbone.text_encoder)}
    if backbone.refiner is not None and not new:
        parts["refine"] = ("refiner", backbone.refiner)
    if (assets / "identity" / "slots").is_dir():
        method = SlotID.from_pretrained(assets / "identity" / "slots")
        parts["slots_start"] = ("method", method)
        if method.movement is not None:
            parts["frames"] = ("reader", method.movement.reader)
    for stage, (name, net) in parts.items():
        # ears are added last, by a stage of their own
        weights = {f"{name}.{key}": p.detach().clone() for key, p in net.named_parameters() if not key.startswith("movement.")}
        if stage == "base" and new:
            weights = widened(weights, new, backbone.spec.patch)
        write_checkpoint(out / stage, weights, weights, {}, {"step": 0, "minutes": 0.0})
    return {"stages": ["vae", *parts]}


def widened(weights: dict[str, Tensor], count: int, patch: tuple[int, int, int]) -> dict[str, Tensor]:
    """The weights of a transformer with ``count`` more latent channels before its own: it says nothing about them and is moved by them.

    Outputs start at zero. Inputs do not: with both at zero the new weights grew so slowly that 319 steps taught nothing (LOG.md, tenth
    training). What it makes of the old channels is another thing at first, and comes back within some hundred steps.
    """
    import torch

    first, last = "transformer.patch_embedding.weight", "transformer.proj_out."
    own = weights[first]  # (width, C, t, h, w)
    fresh = torch.randn(own.shape[0], count, *own.shape[2:], generator=torch.Generator().manual_seed(0))
    fresh *= NEW_INPUT * own.transpose(0, 1).flatten(1).norm(dim=1).mean() / fresh.transpose(0, 1).flatten(1).norm(dim=1).mean()
    found = weights | {first: torch.cat([fresh, own], 1)}
    cells = patch[0] * patch[1] * patch[2]
    for name in (last + "weight", last + "bias"):
        rows = weights[name].unflatten(0, (cells, -1))  # the channel is what runs fastest
        found[name] = torch.cat([torch.zeros(cells, count, *rows.shape[2:]), rows], 1).flatten(0, 1).contiguous()
    return found
