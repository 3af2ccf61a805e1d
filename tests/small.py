"""Small worlds for tests: the real classes with sizes that run in milliseconds. Nothing here is a mock."""

from __future__ import annotations

import numpy as np
import torch

from slotid.backbone.backbone import LoraPlan
from slotid.backbone.tiny import build_tiny
from slotid.generate import Studio
from slotid.identity.slots import SlotConfig, SlotID
from slotid.types import FaceQuality, FaceTrack

SENTENCES = ("a person smiles in a park", "a man talks to the camera", "a woman nods, in a room with warm light")
SIZES = dict(
    channels=8, motion=0, vae_base=8, vae_decoder_base=8, heads=2, head_dim=16, depth=2, ffn=64, frequencies=32,
    text_width=32, text_length=16, text_depth=1, text_heads=2, text_ffn=48, size=(64, 64), frames=9, frames_min=5, frames_max=17,
    predicts="velocity", time=4, patch_time=1,  # as Wan has it; the embedded pipeline leaves time alone
)  # fmt: skip


def small_backbone(seed: int = 0, **changes):
    """A random frozen Wan pipeline of 64x64 films, latents (8, T', 4, 4)."""
    return build_tiny(seed, SENTENCES, **(SIZES | changes))


def small_config(**changes) -> SlotConfig:
    """Sizes of an encoder that fits ``small_backbone``."""
    sizes = dict(latent_channels=8, grid=4, width=24, slots=8, anchors=2, text_width=32, cell_mixing=1, mixing=1, heads=2, crop=64)
    return SlotConfig(**(sizes | changes))


def small_method(seed: int = 0, **changes) -> SlotID:
    """An encoder with every weight away from its special starting value (zeros would hide missing gradients and effects)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = SlotID(small_config(**changes))
        stir(method, seed)
    return method.eval()


def stir(module: torch.nn.Module, seed: int = 0, size: float = 0.2) -> None:
    """Add seeded noise to all weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def small_studio(seed: int = 0, **changes) -> Studio:
    """A backbone with LoRA that does something, and an encoder."""
    backbone = small_backbone(seed)
    stir(backbone.adopt(LoraPlan(rank=2)), seed)
    return Studio(backbone, small_method(seed, **changes))


def small_face(seed: int = 0, frames: int = 12, fps: float = 8.0, size: int = 64, hidden: tuple[int, ...] = ()) -> FaceTrack:
    """A face track of smoothly moving coloured blobs: content with an order, known quality, chosen frames hidden."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    t = np.arange(frames) / fps
    phase, speed = rng.uniform(0, 6, 3), rng.uniform(1, 3, 3)
    crops = np.stack(
        [
            np.stack([127.5 + 100 * np.sin(6 * (x if c else y) + phase[c] + 4 * speed[c] * s * (1 + s)) for c in range(3)], axis=-1)
            for s in t
        ]
    ).astype(np.uint8)
    seen = np.ones(frames, bool)
    seen[list(hidden)] = False
    nan = np.where(seen, 0.0, np.nan)
    turn = np.where(seen, 20 * np.cos(t * 2 + 1), np.nan)
    quality = FaceQuality(turn, nan, nan, nan + 0.5, nan + 0.5, nan + 0.1, nan + 0.3, nan, nan + 50)
    landmarks = np.full((frames, 478, 3), np.nan, np.float32)
    boxes = np.tile(np.float32([0, 0, size, size]), (frames, 1))
    return FaceTrack(crops, boxes, landmarks, seen, t, quality)


def clip_tensors(seed: int = 0, batch: int = 2, frames: int = 6, channels: int = 8, grid: int = 4):
    """Latents (B, T, C, h, w), seconds (B, T), seen (B, T), anchor index (B,) as ``SlotID.encode`` takes them."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, frames, channels, grid, grid, generator=generator)
    seconds = torch.arange(frames).float().expand(batch, frames) / 8
    return latents, seconds, torch.ones(batch, frames, dtype=torch.bool), torch.arange(batch) % frames
