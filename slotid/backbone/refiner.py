"""Draws what a film's plan of motion says and its picture lacks: a small convolutional network at the end of sampling.

The tiny transformer sees a frame as 16 tokens. Told the very motion of a film it puts a third of it into the picture: a mouth is one or two
tokens, and what of an expression is not drawn at first is never drawn (LOG.md, sixteenth to nineteenth session). Its plan is right, though,
and filmed beside the picture (``Spec.noise_shared``). So a second network, which works on cells instead of tokens, is given the finished
picture and the plan and adds the difference, as cascades leave detail to a stage of its own (Ho et al. 2022, arXiv 2106.15282). It looks at
neighbouring frames too: what trembles there and not in the plan is an error. It learned from films and their calm twins (``train.refine``),
is frozen like the rest, and is told nothing of a person.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

REACH = 2  # frames to either side that a block sees


def _unit(x: Tensor) -> Tensor:
    """Each cell of (B, C, h, w) at root mean square 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class _Conv(nn.Module):
    """A 3x3 convolution whose weight is kept as a matrix (out, 9 in), which Muon takes (``train.quick``)."""

    def __init__(self, width: int, zero: bool = False):
        super().__init__()
        bound = (1 / (9 * width)) ** 0.5
        self.weight = nn.Parameter(torch.zeros(width, 9 * width) if zero else torch.empty(width, 9 * width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.unflatten(1, (-1, 3, 3)), self.bias, padding=1)


class _Block(nn.Module):
    """Two convolutions over cells, each after a scale and a shift by the plan (FiLM, Perez et al. 2018, arXiv 1709.07871), and one over
    frames between them, each channel for itself; starts as the identity."""

    def __init__(self, width: int, told: int):
        super().__init__()
        self.c1, self.c2 = _Conv(width), _Conv(width, zero=True)
        self.film = nn.Linear(told, 4 * width)
        self.time = nn.Parameter(torch.zeros(width, 2 * REACH + 1))

    def forward(self, x: Tensor, told: Tensor, frames: int) -> Tensor:
        """x (B frames, width, h, w), told (B frames, told)."""
        scale, shift, scale_again, shift_again = self.film(told)[:, :, None, None].chunk(4, 1)
        y = self.c1(F.silu(_unit(x) * (1 + scale) + shift))
        y = y + self._over_time(y.unflatten(0, (-1, frames))).flatten(0, 1)
        return x + self.c2(F.silu(_unit(y) * (1 + scale_again) + shift_again))

    def _over_time(self, y: Tensor) -> Tensor:
        """(B, T, width, h, w); before the first and after the last frame stand copies of them."""
        count = y.shape[1]
        around = torch.cat([y[:, :1].expand(-1, REACH, -1, -1, -1), y, y[:, -1:].expand(-1, REACH, -1, -1, -1)], 1)
        return sum(around[:, k : k + count] * self.time[:, k, None, None] for k in range(2 * REACH + 1))


class MotionRefiner(ModelMixin, ConfigMixin):
    """Frames and their plan -> what is missing in the frames. Convolutions alone, so that a film may have any size."""

    @register_to_config
    def __init__(self, planned: int = 16, pictured: int = 48, width: int = 128, depth: int = 5, told: int = 128):
        """``planned``: channels of motion. ``pictured``: latent channels of a picture. ``told``: width of what the plan is read into."""
        super().__init__()
        self.plan = nn.Sequential(nn.Linear(planned, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU())
        self.inp = nn.Conv2d(pictured, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width, told) for _ in range(depth))
        self.out = nn.Conv2d(width, pictured, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, frames: Tensor, plan: Tensor) -> Tensor:
        """What is to be added to ``frames`` (B, T, pictured, h, w), normalised latents of neighbouring frames; ``plan`` (B, T, planned)."""
        count = frames.shape[1]
        told = self.plan(plan.flatten(0, 1))
        x = self.inp(frames.flatten(0, 1))
        for block in self.blocks:
            x = block(x, told, count)
        return self.out(F.silu(_unit(x))).unflatten(0, (-1, count))

    def refined(self, film: Tensor) -> Tensor:
        """A sampled film (B, planned + pictured, T, h, w), normalised, with its picture drawn by the plan in its first channels."""
        planned = self.config.planned
        plan = film[:, :planned].mean((-2, -1)).transpose(1, 2)  # the same in every cell
        missing = self(film[:, planned:].transpose(1, 2).to(self.dtype), plan.to(self.dtype)).transpose(1, 2).to(film)
        return torch.cat([film[:, :planned], film[:, planned:] + missing], 1)
