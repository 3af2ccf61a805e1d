"""How somebody moves, read out of a clip in two steps, so that a face cannot be taken for a habit.

*Frame reader*: each face crop, beside the mean of its clip's, tells the curves of expression and head. *Ear*: convolutions over time
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
CROP, SIDE = 128, 88  # pixels of a face crop, and of its middle, which the reader sees: brows to chin, with room to sway
PATCH = 4  # pixels per cell and side
READER_CELLS, READER_SCENE, READER_WIDTH, READER_TIME = 48, 32, 160, 48
MOVES = {  # some of the curves, for the eye: the person's left and right where there are two
    "smile": (49, 50),
    "mouth opening": (30,),
    "lids closing": (14, 15),
    "brows raised": (6, 7),
    "head to a side": (57,),
    "nod": (58,),
}
EAR_WIDTH = 64
HEAD_WIDTH = 96
EAR_REACH = (1, 2, 4)  # frames between the taps of each layer; together they hear 33 frames at once


class FrameReader(nn.Module):
    """Pictures of face crops -> curves of each frame.

    It sees the pictures themselves: the tiny VAE's latents keep 57 % of what an expression changes in a crop (a film less its calm twin),
    its edges are gone. What the clip shows on the whole, its mean picture, says how to read what changes in a frame: the same shift of an
    edge is light on one face and dark on another, so the mean's cells are gates upon the frame's.
    """

    def __init__(self, curves: int = CURVES):
        super().__init__()
        pixels, c, s = 3 * PATCH**2, READER_CELLS, READER_SCENE
        self.scene = nn.Conv2d(pixels, s, 3, padding=1)
        self.scene2, self.scene3 = (nn.Conv2d(s, s, 3, padding=1, stride=2) for _ in range(2))
        self.gate1, self.gate2, self.gate3 = (nn.Conv2d(s, 2 * c, 1) for _ in range(3))
        self.change, self.first = nn.Conv2d(pixels, c, 1), nn.Conv2d(pixels, c, 1)
        self.second, self.third = nn.Conv2d(2 * c, c, 3, padding=1, stride=2), nn.Conv2d(c, c, 3, padding=1, stride=2)
        self.flat = nn.Linear(c * (-(-SIDE // (4 * PATCH))) ** 2, READER_WIDTH)
        self.norm = nn.LayerNorm(READER_WIDTH)
        # an end is no change: with zeros beyond it a face at rest would seem to move there
        self.near = nn.Conv1d(READER_WIDTH, READER_TIME, 3, padding=1, padding_mode="replicate")
        self.out = nn.Linear(READER_WIDTH + READER_TIME, curves)
        self.drop = nn.Dropout(0.1)

    def forward(self, pictures: Tensor, seen: Tensor) -> Tensor:
        """pictures (B, T, 3, SIDE, SIDE) of ``inner``, seen (B, T) bool -> (B, T, curves) in deviations of each curve; hidden frames tell
        nothing useful."""
        known = seen[..., None, None, None].to(pictures)
        mean = seen_mean(pictures, known)
        # twice: what changes within a clip is small beside the pictures themselves
        x = 2 * F.pixel_unshuffle(((pictures - mean) * known).flatten(0, 1), PATCH)
        near = F.gelu(self.scene(F.pixel_unshuffle(mean[:, 0], PATCH)))
        wide = F.gelu(self.scene2(near))
        whole = F.gelu(self.scene3(wide))

        def gates(layer: nn.Module, scene: Tensor) -> tuple[Tensor, Tensor]:
            """How much of a cell's channels to take and what to add, the same for every frame of a clip."""
            both = layer(scene)[:, None].expand(-1, seen.shape[1], -1, -1, -1)
            return both.flatten(0, 1).chunk(2, 1)

        gain, more = gates(self.gate1, near)
        h = torch.cat([self.change(x) * (1 + gain), F.gelu(self.first(x) + more)], 1)
        for layer, gate, scene in ((self.second, self.gate2, wide), (self.third, self.gate3, whole)):
            gain, more = gates(gate, scene)
            h = F.gelu(layer(h) * (1 + gain) + more)
        h = self.norm(F.gelu(self.flat(self.drop(h.flatten(1))))).unflatten(0, seen.shape)
        known = known[..., 0, 0]
        h = torch.where(known > 0, h, seen_mean(h, known))
        near = F.gelu(self.near(h.transpose(1, 2))).transpose(1, 2)
        return self.out(torch.cat([self.drop(h), near], -1))


def inner(crops: Tensor) -> Tensor:
    """(..., 3, S, S) face crops in [-1, 1] -> (..., 3, SIDE, SIDE): the face in the middle of them, at CROP pixels a crop."""
    if crops.shape[-1] != CROP:
        flat = F.interpolate(crops.flatten(0, -4), size=(CROP, CROP), mode="bilinear", antialias=True, align_corners=False)
        crops = flat.unflatten(0, crops.shape[:-3])
    edge = (CROP - SIDE) // 2
    return crops[..., edge : edge + SIDE, edge : edge + SIDE]


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

    def __init__(self, width: int, slots: int):
        super().__init__()
        self.reader, self.ear = FrameReader(), Ear()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(Ear.width, HEAD_WIDTH), nn.GELU(), nn.Linear(HEAD_WIDTH, width)) for _ in range(slots)
        )

    def curves(self, crops: Tensor, seen: Tensor) -> Tensor:
        """Face crops (B, T, 3, S, S) in [-1, 1], seen (B, T) bool -> (B, T, CURVES) as the frame reader tells them."""
        return self.reader(inner(crops), seen)

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
