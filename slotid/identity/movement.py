"""How somebody moves, read out of a clip in two steps, so that a face cannot be taken for a habit.

*Frame reader*: each crop's latent, beside the mean of its clip's, tells the curves of expression and head. *Ear*: convolutions over time
turn those curves, freed of their mean, into states whose mean over the clip tells the habits. Between the two stand 62 numbers a frame
that have names, so each can learn from what it needs most: the first from pictures with known curves, the second from curves of any number
of people, which are played in milliseconds and never rendered (``train.ear``). Slots that learned habits from pictures alone knew
their people by heart and told nothing of others (LOG.md, twelfth session).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.identity.features import RATE

CURVES = 62  # 57 expressions, yaw, pitch and roll of the head, two angles of gaze; in deviations
READER_CELLS, READER_WIDTH, READER_TIME = 32, 128, 64
EAR_WIDTH = 64
HEAD_WIDTH = 96
EAR_REACH = (1, 2, 4)  # frames between the taps of each layer; together they hear 33 frames at once


class FrameReader(nn.Module):
    """Latents of face crops -> curves of each frame."""

    def __init__(self, channels: int, grid: int, curves: int = CURVES):
        super().__init__()
        self.first = nn.Conv2d(2 * channels, READER_CELLS, 3, padding=1)
        self.second = nn.Conv2d(READER_CELLS, READER_CELLS, 3, padding=1, stride=2)
        self.flat = nn.Linear(READER_CELLS * ((grid + 1) // 2) ** 2, READER_WIDTH)
        self.norm = nn.LayerNorm(READER_WIDTH)
        # an end is no change: with zeros beyond it a face at rest would seem to move there
        self.near = nn.Conv1d(READER_WIDTH, READER_TIME, 3, padding=1, padding_mode="replicate")
        self.out = nn.Linear(READER_WIDTH + READER_TIME, curves)
        self.drop = nn.Dropout(0.2)

    def forward(self, latents: Tensor, seen: Tensor) -> Tensor:
        """latents (B, T, C, h, w), seen (B, T) bool -> (B, T, curves) in deviations of each curve; hidden frames tell nothing useful."""
        known = seen[..., None, None, None].to(latents)
        mean = seen_mean(latents, known)
        cells = torch.cat([latents - mean, mean.expand_as(latents)], 2) * known
        h = F.gelu(self.second(F.gelu(self.first(cells.flatten(0, 1)))))
        h = self.norm(F.gelu(self.flat(self.drop(h.flatten(1))))).unflatten(0, latents.shape[:2])
        known = known[..., 0, 0]
        h = torch.where(known > 0, h, seen_mean(h, known))
        near = F.gelu(self.near(h.transpose(1, 2))).transpose(1, 2)
        return self.out(torch.cat([self.drop(h), near], -1))


class Ear(nn.Module):
    """Curves over time -> states of each frame, whose mean over a clip tells how somebody moves."""

    width = 2 * EAR_WIDTH

    def __init__(self, curves: int = CURVES):
        super().__init__()
        self.start = nn.Conv1d(2 * curves, EAR_WIDTH, 5, padding=2)
        self.layers = nn.ModuleList(nn.Conv1d(EAR_WIDTH, EAR_WIDTH, 5, padding=2 * reach, dilation=reach) for reach in EAR_REACH)
        self.norms = nn.ModuleList(nn.LayerNorm(EAR_WIDTH) for _ in EAR_REACH)

    def forward(self, curves: Tensor, seconds: Tensor, seen: Tensor) -> Tensor:
        """curves (B, T, M) in deviations, seconds (B, T) increasing, seen (B, T) bool -> (B, T, ``width``)."""
        curves = fill_hidden(curves, seconds, seen)
        # where a face rests is how it looks; only what it does besides is how it moves
        curves = curves - seen_mean(curves, seen[..., None].to(curves))
        step = (seconds[:, 1:] - seconds[:, :-1]).clamp_min(1e-3).to(curves)[..., None] * RATE
        speed = F.pad((curves[:, 1:] - curves[:, :-1]) / step, (0, 0, 1, 0))
        x = self.start(torch.cat([curves, 2 * speed], -1).clamp(-8, 8).transpose(1, 2))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(F.silu(norm(x.transpose(1, 2)).transpose(1, 2)))
        x = F.silu(x).transpose(1, 2)
        return torch.cat([x, x.square()], -1)  # with the squares a mean also tells how much a state varies


class Movement(nn.Module):
    """Frame reader, ear, and for each habit slot what it makes of the states."""

    def __init__(self, channels: int, grid: int, width: int, slots: int):
        super().__init__()
        self.reader, self.ear = FrameReader(channels, grid), Ear()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(Ear.width, HEAD_WIDTH), nn.GELU(), nn.Linear(HEAD_WIDTH, width)) for _ in range(slots)
        )

    def states(self, latents: Tensor, seconds: Tensor, seen: Tensor) -> Tensor:
        """latents (B, T, C, h, w) of face crops, true seconds (B, T), seen (B, T) bool -> (B, T, ``Ear.width``)."""
        return self.ear(self.reader(latents, seen), seconds, seen)

    def heard(self, states: Tensor, mass: Tensor) -> Tensor:
        """states (B, T, ``Ear.width``), mass (B, slots, T) that habit slots took of frames, 0 where hidden -> (B, slots, width)."""
        share = mass / mass.sum(-1, keepdim=True).clamp_min(1e-8)
        took = share.to(states) @ states
        return torch.stack([head(took[:, k]) for k, head in enumerate(self.heads)], 1)


def seen_mean(values: Tensor, known: Tensor) -> Tensor:
    """values (B, T, ...) and known (B, T, 1, ...), 1 where a frame is seen and else 0 -> (B, 1, ...) the mean over seen frames."""
    return (values * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)


def fill_hidden(values: Tensor, seconds: Tensor, seen: Tensor) -> Tensor:
    """values (B, T, M) with hidden moments put on the line between their seen neighbours, or at the nearest; at least one is seen."""
    b, t, _ = values.shape
    place = torch.arange(t, device=values.device).expand(b, t)
    before = torch.where(seen, place, -1).cummax(1).values
    after = torch.where(seen, place, t).flip(1).cummin(1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after >= t, before, after)
    at = [values.gather(1, rows[..., None].expand_as(values)) for rows in (before, after)]
    start, end = seconds.gather(1, before), seconds.gather(1, after)
    share = ((seconds - start) / (end - start).clamp_min(1e-3)).clamp(0, 1).to(values)[..., None]
    return torch.lerp(at[0], at[1], share)
