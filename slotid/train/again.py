"""The landed weights as the start of another training: what ``--out`` would hold, had they been trained there, without optimisers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slotid.types import SlotIDError


def from_assets(assets: Path, out: Path) -> dict[str, Any]:
    """Writes VAE, tokenizer, latents' scale, text encoder, base and Slot-ID's encoder of ``assets`` into ``out`` as step 0.

    Every stage then goes on from them; moments of the optimisers are not kept in assets, so rates warm up again.

    Raises:
        SlotIDError: ``out`` holds a training already, or ``assets`` no pipeline.
    """
    from safetensors.torch import save_file

    from slotid.backbone.tiny import load_tiny
    from slotid.identity.slots import SlotID
    from slotid.train.loop import write_checkpoint

    if (out / "base").exists() or (out / "vae").exists():
        raise SlotIDError(f"{out} holds a training already; give another --out, or go on with that one.")
    backbone = load_tiny(assets)
    (out / "vae").mkdir(parents=True)
    save_file({name: t.contiguous() for name, t in backbone.vae.state_dict().items()}, out / "vae" / "solved.safetensors")
    backbone.tokenizer.save_pretrained(out / "base" / "tokenizer")
    config = backbone.vae.config
    (out / "base" / "latents.json").write_text(json.dumps([list(config.latents_mean), list(config.latents_std)]))
    parts = {"base": ("transformer", backbone.transformer), "text": ("text_encoder", backbone.text_encoder)}
    if (assets / "identity" / "slots").is_dir():
        parts["slots_start"] = ("method", SlotID.from_pretrained(assets / "identity" / "slots"))
    for stage, (name, net) in parts.items():
        weights = {f"{name}.{key}": p.detach().clone() for key, p in net.named_parameters()}
        write_checkpoint(out / stage, weights, weights, {}, {"step": 0, "minutes": 0.0})
    return {"stages": ["vae", *parts]}
