"""Frame features from a frozen vision model (CLIP, arXiv 2103.00020; DINOv2, arXiv 2304.07193), shaped like a VAE's latents.

Wan's own VAE sees pixels; these see faces and expressions. Each crop becomes C channels on the encoder's grid, so that the router,
its maps and its training are the same for both.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.types import SlotIDError

DINOV2 = "facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415"  # 768 channels
CLIP = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"  # 1024 channels
NORMAL = {  # mean and deviation of RGB that each was trained with
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


class VisionFeatures:
    """A frozen vision model as a ``ToLatent``: (B, 3, 1, H, W) in [-1, 1] -> (B, C, 1, grid, grid), unit deviation per cell.

    Args:
        model: ``CLIPVisionModel`` or ``Dinov2Model``. kind: key of NORMAL. grid: cells both ways; the model's patches are averaged to it.
    """

    def __init__(self, model: nn.Module, kind: str, grid: int):
        self.model, self.kind, self.grid = model.requires_grad_(False).eval(), kind, grid
        self.channels, self.size = model.config.hidden_size, model.config.image_size
        self.patch = model.config.patch_size
        # DINOv2 takes any multiple of its patch; its configs name the size of the last training stage, far more than a face crop needs
        self.size = min(self.size, 16 * self.patch) if kind == "dinov2" else self.size

    @torch.no_grad()
    def __call__(self, video: Tensor) -> Tensor:
        b, _, t, _, _ = video.shape
        if t != 1:
            raise SlotIDError(f"A vision model reads single frames; a video of {t} frames was given. Pass one frame per row.")
        weight = next(self.model.parameters())
        mean, std = (torch.tensor(v, device=weight.device).view(1, 3, 1, 1) for v in NORMAL[self.kind])
        picture = F.interpolate(
            video[:, :, 0].to(weight.device).float(), size=(self.size, self.size), mode="bicubic", antialias=True, align_corners=False
        )
        picture = ((picture.clamp(-1, 1) + 1) / 2 - mean) / std
        states = self.model(pixel_values=picture.to(weight.dtype)).last_hidden_state.float()
        side = self.size // self.patch
        cells = states[:, -side * side :].transpose(1, 2).reshape(b, -1, side, side)  # class and register tokens stand before the patches
        cells = F.adaptive_avg_pool2d(cells, self.grid).permute(0, 2, 3, 1)
        return F.layer_norm(cells, (cells.shape[-1],)).permute(0, 3, 1, 2)[:, :, None]


def open_vision(config, device: str | torch.device = "cpu") -> VisionFeatures:
    """The extractor that an encoder (``SlotConfig``) was trained with, from a folder or from what was fetched of its repository.

    Raises:
        SlotIDError: not on this machine, of another kind, or of another width than the encoder reads.
    """
    folder = vision_folder(config.features)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise SlotIDError(f"{folder} has no readable config.json ({error}); fetch the vision model again.") from error
    if not any(folder.glob("*.safetensors")):
        raise SlotIDError(f"{folder} holds no safetensors weights; fetch the vision model again.")
    from transformers import CLIPVisionModel, Dinov2Model

    classes = {"dinov2": Dinov2Model, "clip": CLIPVisionModel, "clip_vision_model": CLIPVisionModel}
    if kind not in classes:
        raise SlotIDError(f"The vision model in {folder} is a '{kind}'; this version reads CLIP and DINOv2.")
    try:
        model = classes[kind].from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise SlotIDError(
            f"The vision model in {folder} could not be read ({str(error).splitlines()[0][:120]}); fetch it again."
        ) from error
    found = VisionFeatures(model.to(device), "dinov2" if kind == "dinov2" else "clip", config.grid)
    if found.channels != config.latent_channels:
        raise SlotIDError(
            f"The encoder reads features of {config.latent_channels} channels; {config.features} gives {found.channels}. "
            "Use the vision model that it was trained with."
        )
    return found


def vision_folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=["*.json", "*.safetensors"], local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise SlotIDError(
            f"The vision model '{name}' is not on this machine yet; fetch it once with `python -m slotid fetch {name}`."
        ) from error
