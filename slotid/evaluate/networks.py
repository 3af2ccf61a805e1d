"""The judges' networks: small on purpose, trained from nothing, of no kin to anything that generates, conditions or refines."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.pixels import signed

FACE_PIXELS = 64
FRAME_PIXELS = 64


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.norms[1](self.first(F.silu(self.norms[0](x))))))


def _trunk(widths: tuple[int, ...]) -> nn.Sequential:
    """Each stage halves the picture; the first, where a residual block would cost most, has none."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.SiLU()]
    for before, width in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), _Residual(width)]
    return nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU())


class LooksNet(nn.Module):
    """Face crop -> unit vector. 1.3 M parameters."""

    def __init__(self, size: int = 128, widths: tuple[int, ...] = (24, 48, 96, 160)):
        super().__init__()
        self.trunk = _trunk(widths)
        cells = (FACE_PIXELS // 2 ** len(widths)) ** 2
        self.out = nn.Linear(widths[-1] * cells, size)

    def raw(self, faces: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> (B, size) before normalisation: also the face's part of the frame features."""
        return self.out(self.trunk(faces).flatten(1))

    def forward(self, faces: Tensor) -> Tensor:
        return F.normalize(self.raw(faces), dim=1)


class SceneNet(nn.Module):
    """Whole frame -> what is to be seen in it beside the person: {fact: logits}. The penultimate layer is the frame feature."""

    def __init__(self, facts: dict[str, int], size: int = 64, widths: tuple[int, ...] = (24, 48, 96, 96)):
        super().__init__()
        self.trunk = _trunk(widths)
        self.squeeze = nn.Linear(2 * widths[-1] + widths[-1] * 2, size)
        self.heads = nn.ModuleDict({name: nn.Linear(size, count) for name, count in facts.items()})

    def features(self, frames: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> (B, size). Upper and lower half are pooled apart: the background is above, the clothes below."""
        x = self.trunk(frames)
        half = x.shape[2] // 2
        parts = [x.mean((2, 3)), x.amax((2, 3)), x[:, :, :half].mean((2, 3)), x[:, :, half:].mean((2, 3))]
        return self.squeeze(torch.cat(parts, 1))

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        z = F.silu(self.features(frames))
        return {name: head(z) for name, head in self.heads.items()}


class CurveNet(nn.Module):
    """Curves -> (B, size): convolutions over time at half their rate, then what is typical, how much it varies and what is extreme."""

    def __init__(self, channels: int, size: int, width: int = 128, hidden: int = 256):
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))  # standard deviation of each channel over films
        self.start = nn.Conv1d(2 * channels + 1, width, 5, stride=2, padding=2)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2 * d, dilation=d) for d in (1, 1, 2, 2))
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in self.layers)
        self.head = nn.Sequential(nn.Linear(3 * width, hidden), nn.SiLU(), nn.Linear(hidden, size))

    def forward(self, values: Tensor, seen: Tensor) -> Tensor:
        """values (B, T, C) in curve units, seen (B, T) bool."""
        known = seen.to(values.dtype)
        x = (values / self.scale).clamp(-6, 6).transpose(1, 2)
        speed = F.pad(x[:, :, 1:] - x[:, :, :-1], (1, 0))
        x = self.start(torch.cat([x, 2 * speed, known[:, None]], 1))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(F.silu(norm(x)))
        x, mask = F.silu(x).float(), F.max_pool1d(known[:, None], 3, stride=2, padding=1)
        count = mask.sum(2).clamp_min(1)
        mean = (x * mask).sum(2) / count
        spread = (((x - mean[..., None]).square() * mask).sum(2) / count + 1e-4).sqrt()
        most = x.masked_fill(mask == 0, -1e4).amax(2).clamp_min(-10)
        return self.head(torch.cat([mean, spread, most], 1)).float()


def in_ball(raw: Tensor) -> Tensor:
    """Unit vectors whose length falls towards 0 where ``raw`` is short: a film that shows no habit is like nobody, not like everybody."""
    return raw * torch.rsqrt(raw.square().sum(1, keepdim=True) + 1)


def pictures(frames, size: int) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, size, size) in [-1, 1], shrunk by averaging."""
    x = signed(frames)
    if x.shape[-2:] != (size, size):
        x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return x


def contrast(a: Tensor, b: Tensor, temperature: float = 0.12, margin: float = 0.0) -> Tensor:
    """Which b belongs to which a, both ways: a, b (B, D), row i of both is one person, the others of the batch are impostors.

    With ``margin`` the right pair must win by that much cosine: the large-margin cosine loss (CosFace, Wang et al. 2018) with the batch as
    its classes, so that new people may come during training (as in InfoNCE, van den Oord et al. 2018).
    """
    scores = (a @ b.T - margin * torch.eye(len(a))) / temperature
    label = torch.arange(len(a))
    return (F.cross_entropy(scores, label) + F.cross_entropy(scores.T, label)) / 2


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(math.prod(p.shape) for p in module.parameters())
