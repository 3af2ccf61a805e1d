"""The Wan checkpoints known by name: where they are, which revision was read, and the sizes that estimates are computed from.

The configs are those of the repositories' own ``config.json`` files, so that memory can be told before anything is downloaded.
A revision is a commit: what a name means must not change under a trained adapter. ``NAME@REVISION`` picks another.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from slotid.types import SlotIDError

UMT5_XXL = {
    "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0,
}  # fmt: skip
VAE_21 = {"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [False, True, True]}
VAE_22 = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
    "temperal_downsample": [False, True, True], "is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2,
    "scale_factor_temporal": 4, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip


def _transformer(heads: int, ffn: int, layers: int, channels: int = 16) -> dict[str, Any]:
    return {
        "num_attention_heads": heads, "attention_head_dim": 128, "ffn_dim": ffn, "num_layers": layers, "in_channels": channels,
        "out_channels": channels, "text_dim": 4096, "freq_dim": 256, "patch_size": (1, 2, 2),
    }  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A checkpoint. ``spec`` holds the fields of ``backbone.Spec`` that the weights' own configs do not tell."""

    name: str
    repository: str
    revision: str
    gib: float  # to download, GiB
    transformer: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any] = field(default_factory=lambda: UMT5_XXL)
    experts: int = 1
    kind: str = "WanPipeline"  # the class its model_index.json must name
    spec: dict[str, Any] = field(default_factory=dict)


_480P = {"fps": 16.0, "size": (480, 832), "frames": 81, "frames_min": 17, "frames_max": 81, "steps": 30, "text_guidance": 5.0}
_VACE = {**_transformer(12, 8960, 30), "vace_layers": list(range(0, 30, 2)), "vace_in_channels": 96}

# The revisions are the commits that `main` pointed to when this was written; others' published runs name the same ones.
KNOWN = {
    known.name: known
    for known in (
        Known("wan2.1-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "0fad780a534b6463e45facd96134c9f345acfa5b", 27.0,
              _transformer(12, 8960, 30), VAE_21, spec={**_480P, "shift": 3.0}),
        Known("wan2.1-14b", "Wan-AI/Wan2.1-T2V-14B-Diffusers", "38ec498cb3208fb688890f8cc7e94ede2cbd7f68", 75.0,
              _transformer(40, 13824, 40), VAE_21, spec={**_480P, "shift": 5.0}),
        Known("wan2.2-5b", "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "b8fff7315c768468a5333511427288870b2e9635", 32.0,
              _transformer(24, 14336, 30, 48), VAE_22,
              spec={"fps": 24.0, "size": (704, 1280), "frames": 121, "frames_min": 25, "frames_max": 121, "steps": 30,
                    "text_guidance": 5.0, "shift": 5.0}),
        Known("wan2.2-a14b", "Wan-AI/Wan2.2-T2V-A14B-Diffusers", "5be7df9619b54f4e2667b2755bc6a756675b5cd7", 118.0,
              _transformer(40, 13824, 40), VAE_21, experts=2,
              spec={**_480P, "shift": 12.0, "text_guidance": 4.0, "text_guidance_low": 3.0}),
        Known("wan2.1-vace-1.3b", "Wan-AI/Wan2.1-VACE-1.3B-diffusers", "ec4d2cb062b548996b179d493fdd05340de702a1", 30.0,
              _VACE, VAE_21, kind="WanVACEPipeline", spec={**_480P, "shift": 3.0}),
    )
}  # fmt: skip


def known_for(name: str) -> Known | None:
    """The entry of a short name or of a repository, ``@REVISION`` allowed; None when it is not one of ours."""
    wanted, _, revision = str(name).partition("@")
    for known in KNOWN.values():
        if wanted.lower() in (known.name, known.repository.lower()):
            return replace(known, revision=revision) if revision else known
    return None


def like(transformer: dict[str, Any], experts: int) -> Known | None:
    """The entry whose transformer has these sizes: a folder copied by hand gets the frame rate and guidance of what it is."""
    keys = ("num_attention_heads", "attention_head_dim", "ffn_dim", "num_layers", "in_channels", "text_dim")
    for known in KNOWN.values():
        same = all(known.transformer[key] == transformer.get(key) for key in keys)
        if same and known.experts == experts and ("vace_layers" in known.transformer) == ("vace_layers" in transformer):
            return known
    return None


def names() -> str:
    """The short names, for messages."""
    return ", ".join(KNOWN)


def need_known(name: str) -> Known:
    """Like ``known_for``; SlotIDError for another name."""
    found = known_for(name)
    if found is None:
        raise SlotIDError(f"Unknown Wan checkpoint '{name}'; known by name are {names()}. Give one of these, or the folder of a pipeline.")
    return found
