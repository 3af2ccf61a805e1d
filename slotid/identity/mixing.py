"""Mixing before the routing: over the cells of each frame, then over time, where each cell looks along its own history by true seconds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TICKS_PER_SECOND = 8.0  # rotary positions are seconds times this: neighbouring frames at 8 fps are one apart


class CellMixing(nn.Module):
    """Two convolutions over the cells of one frame, added to it. A latent cell alone is a patch of pixels; a nose is several.

    Starts as the identity (the second convolution is zero).
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Conv2d(width, width // 2, 3, padding=1), nn.Conv2d(width // 2, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., h, w, D) -> the same shape; frames do not see one another."""
        y = self.norm(x).flatten(0, -4).permute(0, 3, 1, 2)
        y = self.second(F.gelu(self.first(y)))
        return x + y.permute(0, 2, 3, 1).reshape(x.shape)


class TimeMixing(nn.Module):
    """Attention over time per cell (rotary by true seconds, hidden frames masked), then a convolutional MLP over cells.

    Starts as the identity (both output projections are zero).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_time, self.norm_space = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mlp_in, self.mlp_out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        for layer in (self.out, self.mlp_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, seconds: Tensor, seen: Tensor) -> Tensor:
        """x (B, T, h, w, D), seconds (B, T), seen (B, T) bool -> (B, T, h, w, D)."""
        b, t, h, w, d = x.shape
        y = self.norm_time(x).permute(0, 2, 3, 1, 4).reshape(b, h * w, t, d)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in self.qkv(y).chunk(3, dim=-1))  # (B, hw, heads, T, dh)
        cos, sin = self._angles(seconds - seconds[:, :1], d // self.heads)
        mask = seen | ~seen.any(1, keepdim=True)  # a clip with no face seen at all must not turn into NaN
        mask = mask[:, None, None, None, :].expand(b, h * w, 1, 1, t).flatten(0, 1)
        q, k, v = (part.flatten(0, 1) for part in (_turn(q, cos, sin), _turn(k, cos, sin), v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = y.transpose(1, 2).reshape(b, h, w, t, d).permute(0, 3, 1, 2, 4)
        x = x + self.out(y)
        y = self.norm_space(x).reshape(b * t, h, w, d)
        y = self.near(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + y
        return x + self.mlp_out(F.gelu(self.mlp_in(y))).reshape(b, t, h, w, d)

    def _angles(self, seconds: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        frequency = 1.0 / (100.0 ** (torch.arange(0, dim, 2, device=seconds.device) / dim))
        angle = (seconds.float() * TICKS_PER_SECOND)[..., None] * frequency  # (B, T, dh/2)
        return angle.cos()[:, None, None], angle.sin()[:, None, None]


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of channels of (B, hw, heads, T, dh) by angles (B, 1, 1, T, dh/2)."""
    even, odd = x.chunk(2, dim=-1)
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1).to(x)
