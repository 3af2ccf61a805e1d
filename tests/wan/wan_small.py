"""Random Wan pipelines of a few thousand weights in the hub's own layout, written by diffusers itself. Real classes, nothing mocked."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from small import small_method

from slotid.backbone.backbone import Spec
from slotid.backbone.tiny import _quiet, build_tokenizer

SENTENCES = ("a person smiles in a park", "a man talks to the camera")
WIDTH, HEADS, TEXT = 32, 2, 32
NET = dict(
    num_attention_heads=HEADS, attention_head_dim=16, text_dim=TEXT, freq_dim=16, ffn_dim=48, num_layers=3, patch_size=(1, 2, 2),
)  # fmt: skip
VAE_21 = dict(base_dim=4, z_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
              latents_mean=[0.1] * 8, latents_std=[1.5] * 8)  # fmt: skip
VAE_22 = dict(base_dim=4, decoder_base_dim=4, z_dim=12, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True],
              is_residual=True, in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16, scale_factor_temporal=4,
              latents_mean=[0.0] * 12, latents_std=[1.0] * 12)  # fmt: skip
KINDS = ("2.1", "2.2-5b", "2.2-a14b", "vace")


def write_wan(folder: Path, kind: str = "2.1", seed: int = 0, spec: bool = True) -> Path:
    """Write a pipeline of a listed kind. ``spec``: with slotid.json, which makes its films 32x32 and 5 to 9 frames long."""
    from diffusers import (
        AutoencoderKLWan,
        UniPCMultistepScheduler,
        WanPipeline,
        WanTransformer3DModel,
        WanVACEPipeline,
        WanVACETransformer3DModel,
    )
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = build_tokenizer(SENTENCES)
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        vae = AutoencoderKLWan(**(VAE_22 if kind == "2.2-5b" else VAE_21))
        channels = vae.config.z_dim
        net = NET | {"in_channels": channels, "out_channels": channels}
        text = UMT5EncoderModel(
            UMT5Config(vocab_size=len(tokenizer), d_model=TEXT, d_kv=16, num_heads=2, d_ff=48, num_layers=1, dropout_rate=0.0)
        )
        scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
        shared = dict(vae=vae, text_encoder=text, tokenizer=tokenizer, scheduler=scheduler)
        if kind == "vace":
            # the control channels of the real one: two latents and one mask value per pixel of a cell
            transformer = WanVACETransformer3DModel(**net, vace_layers=[0, 2], vace_in_channels=2 * channels + 64)
            pipeline = WanVACEPipeline(transformer=transformer, **shared)
        elif kind == "2.2-a14b":
            one, two = WanTransformer3DModel(**net), WanTransformer3DModel(**net)
            pipeline = WanPipeline(transformer=one, transformer_2=two, boundary_ratio=0.875, **shared)
        else:
            pipeline = WanPipeline(transformer=WanTransformer3DModel(**net), expand_timesteps=kind == "2.2-5b", **shared)
        pipeline.save_pretrained(folder, safe_serialization=True)
    if spec:
        small_spec(kind).save(folder)
    return folder


def small_spec(kind: str = "2.1") -> Spec:
    """What ``slotid.json`` says of the small pipelines."""
    five = kind == "2.2-5b"
    return Spec(
        name=f"small-{kind}", channels=12 if five else 8, space=16 if five else 8, time=4, patch=(1, 2, 2), text_width=TEXT, text_length=16,
        width=WIDTH, depth=3, fps=8.0, size=(32, 32), frames=5, frames_min=5, frames_max=9, steps=3, text_guidance=3.0,
        text_guidance_low=2.0 if kind == "2.2-a14b" else None, boundary=0.875 if kind == "2.2-a14b" else None,
    )  # fmt: skip


def hub_cache(cache: Path, repository: str, revision: str, folder: Path) -> Path:
    """Lay a folder out as the hub's cache does after a download: refs, snapshots and blobs that snapshots link to."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / revision
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(revision)
    (home / "blobs").mkdir(exist_ok=True)
    for number, source in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        blob = home / "blobs" / f"{number:040x}"
        blob.write_bytes(source.read_bytes())
        link = snapshot / source.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot


def layout_only(folder: Path, transformer: dict, vae: dict, **index) -> Path:
    """The configs of a real checkpoint with empty weight files: enough for everything that is decided before weights are read."""
    names = ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"] + (["transformer_2"] if "transformer_2" in index else [])
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").touch()
    kinds = {name: ["library", "Class"] for name in names if name not in index}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline", **kinds, **index}))
    for name in ("transformer", "transformer_2"):
        if name in names:
            (folder / name / "config.json").write_text(json.dumps(transformer))
    (folder / "vae" / "config.json").write_text(json.dumps(vae))
    (folder / "text_encoder" / "config.json").write_text("{}")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"flow_shift": 3.0}')
    return folder


def write_vision(folder, kind="dinov2", width=24):
    """A random DINOv2 or CLIP vision model of 4 x 4 patches."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        shared = dict(hidden_size=width, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
        if kind == "dinov2":
            Dinov2Model(Dinov2Config(**shared, mlp_ratio=2)).save_pretrained(folder)
        else:
            CLIPVisionModel(CLIPVisionConfig(**shared, intermediate_size=48)).save_pretrained(folder)
    return folder


def vision_method(folder, width=24):
    return small_method(1, latent_channels=width, grid=4, crop=56, features=str(folder))
