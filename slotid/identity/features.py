"""What the router sees of a clip: per grid cell the frozen latent, how it changes over true time, where and when."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE = 8.0  # frames per second at which a change between neighbouring frames has its natural size
MOST_FRAMES = 48
TIME_WIDTH, SPACE_WIDTH = 16, 16


def feature_width(channels: int) -> int:
    """Width of ``frame_tokens`` for latents of so many channels."""
    return 3 * channels + TIME_WIDTH + SPACE_WIDTH


def waves(values: Tensor, width: int, longest: float, shortest: float) -> Tensor:
    """Sines and cosines (..., width) of ``values`` with periods spaced evenly in logarithm between the two (units of values)."""
    half = width // 2
    periods = torch.exp(torch.linspace(math.log(longest), math.log(shortest), half, device=values.device))
    angle = 2 * math.pi * values.float()[..., None] / periods
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def cell_positions(h: int, w: int, device: torch.device | None = None) -> Tensor:
    """(h*w, SPACE_WIDTH) waves of the row and column in the crop, both from 0 to 1."""
    rows = (torch.arange(h, device=device) + 0.5) / h
    columns = (torch.arange(w, device=device) + 0.5) / w
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    half = SPACE_WIDTH // 2
    return torch.cat([waves(y, half, 2.0, 0.25), waves(x, half, 2.0, 0.25)], dim=-1).reshape(h * w, SPACE_WIDTH)


def changes(latents: Tensor, seconds: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward change per 1/8 s, both (B, T, C, h, w), over *true* time; 0 where either frame is hidden or none follows.

    Both directions differ from a mere speed: where a smile starts fast and fades slowly, one is large when the other is small.
    """
    step = (latents[:, 1:] - latents[:, :-1]) / (seconds[:, 1:] - seconds[:, :-1]).clamp_min(1e-3).to(latents)[..., None, None, None] / RATE
    both = (seen[:, 1:] & seen[:, :-1])[..., None, None, None]
    step = torch.where(both, step, torch.zeros_like(step)).clamp(-6, 6)
    nothing = torch.zeros_like(latents[:, :1])
    return torch.cat([step, nothing], 1), torch.cat([nothing, step], 1)


def frame_tokens(latents: Tensor, seconds: Tensor, seen: Tensor, ordered: bool = True) -> Tensor:
    """Tokens (B, T*h*w, 3C + 32): latent, forward change, backward change, wave of true seconds, wave of the 2-D position.

    Args:
        latents: (B, T, C, h, w) normalised, one latent per crop. seconds: (B, T) true times, increasing. seen: (B, T) bool.
        ordered: False leaves changes and times at zero: the tokens are then a set without order.
    """
    b, t, c, h, w = latents.shape
    zero = torch.zeros_like(latents)
    ahead, behind = changes(latents, seconds, seen) if ordered else (zero, zero)
    when = waves(seconds - seconds[:, :1], TIME_WIDTH, 16.0, 0.25).to(latents)
    when = when if ordered else torch.zeros_like(when)
    per_cell = torch.cat([latents, ahead, behind], dim=2).flatten(3).transpose(2, 3)  # (B, T, hw, 3C)
    where = cell_positions(h, w, latents.device).to(latents).expand(b, t, h * w, SPACE_WIDTH)
    tokens = torch.cat([per_cell, when[:, :, None].expand(b, t, h * w, TIME_WIDTH), where], dim=-1)
    tokens = torch.where(seen[:, :, None, None], tokens, torch.zeros_like(tokens))
    return tokens.reshape(b, t * h * w, feature_width(c))


def pick_frames(seconds, seen, most: int = MOST_FRAMES, rate: float = RATE) -> list[int]:
    """Indices of at most ``most`` frames at at most ``rate`` per second, evenly in *time*: what a method reads of a long or fast clip.

    The slots of time are as wide as 1/rate s, or wider so that ``most`` of them span the clip; each gives its middle-most
    frame, seen frames before hidden ones. So a 25 fps clip is read at 8 fps, a 20 s clip at 2.4 fps, an uneven webcam clip evenly.
    """
    import numpy as np

    seconds, seen = np.asarray(seconds, dtype=np.float64), np.asarray(seen, dtype=bool)
    start, span = float(seconds[0]), float(seconds[-1] - seconds[0])
    width = max(1.0 / rate, span / (most - 0.5) if most > 1 else np.inf)
    bins = np.floor((seconds - start) / width + 0.5).astype(int).clip(0, most - 1)
    distance = np.abs((seconds - start) / width - bins) + np.where(seen, 0.0, 10.0)
    return [int(np.flatnonzero(bins == k)[np.argmin(distance[bins == k])]) for k in np.unique(bins)]
