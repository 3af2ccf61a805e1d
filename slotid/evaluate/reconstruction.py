"""What is lost before any dreaming: real films through a backbone's VAE and back. No generated film can show more than these do."""

from __future__ import annotations

from typing import Any

import numpy as np

from slotid.evaluate.metrics import flicker
from slotid.pixels import signed


def psnr(frames: np.ndarray, others: np.ndarray) -> float:
    """Mean over frames of the peak signal-to-noise ratio in dB; (T, H, W, 3), 0..255. Equal frames count 100."""
    error = ((np.asarray(frames, np.float64) - np.asarray(others, np.float64)) / 255) ** 2
    return float((-10 * np.log10(error.mean(axis=(1, 2, 3)).clip(1e-10))).mean())


def through_vae(backbone: Any, frames: np.ndarray) -> np.ndarray | None:
    """uint8 (T, H, W, 3) -> float32 (T', H, W, 3) in 0..255 as the backbone's VAE gives them back; T' is the most that it can read.

    None where it cannot read a picture of that size at all.
    """
    import torch

    spec = backbone.spec
    if frames.shape[1] % spec.space or frames.shape[2] % spec.space:
        return None
    count = (len(frames) - 1) // spec.time * spec.time + 1
    video = signed(frames[:count]).transpose(0, 1)[None]
    with torch.no_grad():
        back = backbone.to_pixels(backbone.to_latent(video)).float().cpu().clamp(-1, 1)
    return ((back[0].permute(1, 2, 3, 0) + 1) * 127.5).numpy()


def reconstruction(backbone: Any, frames: np.ndarray) -> dict[str, float] | None:
    """{"psnr", "flicker", "flicker_real"} of one real film, uint8 (T, H, W, 3); see ``psnr``, ``metrics.flicker``. None: see
    ``through_vae``."""
    back = through_vae(backbone, frames)
    if back is None:
        return None
    real = frames[: len(back)]
    return {"psnr": psnr(real, back), "flicker": flicker(back.round().astype(np.uint8)), "flicker_real": flicker(real)}
