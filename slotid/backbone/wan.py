"""Wan 2.1 and 2.2 from the hub's layout, by name or folder, through the same driver as the embedded backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slotid.backbone.backbone import SPEC_FILE, Spec
from slotid.backbone.hub import check_layout, locate, read_json
from slotid.backbone.known import like
from slotid.types import SlotIDError

TEXT_LENGTH = 512  # tokens that Wan's text encoder gives; part of its training, in no config


def folder_spec(folder: str | Path) -> Spec:
    """What a pipeline folder is, read from its configs alone (milliseconds, no weights). ``slotid.json`` in the folder overrides.

    Frame rate, size, shift and guidance are in no config of Wan's: a folder whose transformer has the sizes of a known checkpoint gets
    that one's.

    Raises:
        SlotIDError: no complete pipeline there, or one of another kind.
    """
    folder = check_layout(Path(folder))
    if (folder / SPEC_FILE).is_file():
        return Spec.load(folder)
    index, net, vae = (read_json(folder / name) for name in ("model_index.json", "transformer/config.json", "vae/config.json"))
    experts = 2 if (index.get("transformer_2") or [None])[0] else 1
    boundary = index.get("boundary_ratio")
    if experts == 2 and boundary is None:
        raise SlotIDError(f"{folder} has two experts but no boundary_ratio in model_index.json; fetch it again.")
    known = like(net, experts)
    told = dict(known.spec) if known else {"fps": 16.0, "size": (480, 832), "frames": 81, "frames_min": 17, "frames_max": 81, "steps": 30}
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    if known is None:
        told |= {"text_guidance": 5.0, "shift": float(scheduler.get("flow_shift") or scheduler.get("shift") or 3.0)}
    return Spec(
        name=known.name if known else folder.name,
        channels=vae.get("z_dim", 16),
        space=vae.get("scale_factor_spatial") or 8,
        time=vae.get("scale_factor_temporal") or 4,
        patch=tuple(net.get("patch_size", (1, 2, 2))),
        text_width=net.get("text_dim", 4096),
        text_length=TEXT_LENGTH,
        width=net["num_attention_heads"] * net["attention_head_dim"],
        depth=net["num_layers"],
        max_prompt_chars=2000,
        boundary=boundary if experts == 2 else None,
        predicts="sample" if scheduler.get("prediction_type") == "sample" else "velocity",
        **told,
    )


def load_wan(name: str | Path, memory: str = "auto", device: str | None = None, dtype: Any = None):
    """A Wan pipeline as a frozen backbone, placed by a memory profile.

    Args:
        name: a known name, a fetched repository, or a folder. memory: a profile of ``memory.PROFILES``, or "auto".
        device: where it computes; None takes the accelerator when there is one. dtype: of transformer and text encoder; None is
            bfloat16 on an accelerator and float32 on a CPU. The VAE stays in float32, as its makers advise.

    Raises:
        SlotIDError: not there, another kind of checkpoint, damaged, or too little memory.
    """
    import torch

    from slotid.backbone.memory import choose_profile, estimate_folder, free_memory
    from slotid.backbone.place import place

    folder = locate(name)
    spec = folder_spec(folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise SlotIDError(f"Device '{device}' was asked for, but no CUDA card was found here; leave it out or give cpu.")
    dtype = dtype or (torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16)
    profile = None
    if torch.device(device).type != "cpu" or memory != "auto":
        profile = choose_profile(estimate_folder(folder, spec), free_memory(device), memory, spec.name)
    backbone = _load(folder, spec, dtype)
    return backbone if profile is None else place(backbone, profile, device)


def _load(folder: Path, spec: Spec, dtype: Any):
    import torch
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel, WanVACETransformer3DModel
    from transformers import AutoTokenizer, UMT5EncoderModel

    from slotid.backbone.tiny import _quiet
    from slotid.backbone.vace import WanVACEBackbone
    from slotid.backbone.wan_driver import WanBackbone

    vace = read_json(folder / "model_index.json")["_class_name"] == "WanVACEPipeline"
    net = WanVACETransformer3DModel if vace else WanTransformer3DModel
    options = {"local_files_only": True, "use_safetensors": True}
    try:
        with _quiet():
            transformer = net.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype, **options)
            second = (
                net.from_pretrained(folder, subfolder="transformer_2", torch_dtype=dtype, **options) if spec.boundary is not None else None
            )
            vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, **options)
            text = UMT5EncoderModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype, **options)
            tokenizer = AutoTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if "memory" in str(error).lower():
            raise SlotIDError(
                f"There is not enough memory to read {folder}; close other programs or choose a smaller checkpoint."
            ) from error
        raise SlotIDError(f"{folder} could not be read ({str(error).splitlines()[0][:160]}); fetch it again.") from error
    scheduler = FlowMatchEulerDiscreteScheduler(shift=spec.shift)  # only the times' shift is used: the walk is our own
    driver = WanVACEBackbone if vace else WanBackbone
    return driver(transformer, vae, text, tokenizer, scheduler, spec, transformer_2=second)
