"""Teaches the frame reader of ``identity.movement``: curves of face crops, from pictures of people whose every curve is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slotid.identity.movement import FrameReader
from slotid.train.loop import Learner, Plan, fit, load_weights
from slotid.train.motion import in_deviations
from slotid.train.pairs import REFERENCE_FRAMES

RESTING = 0.2  # weight of a curve's own height beside what it does within a clip
SHOWN = 0.02  # deviation of a curve that is asked for


def mirror_map(before: Tensor, after: Tensor) -> Tensor:
    """(C + 1, C) the linear map that turns latents of pictures into those of the same pictures in a mirror, cell for cell.

    The solved encoder is linear in patches (``train.principal``), so that a mirror is too: 98 % of the variance of world frames.

    Args:
        before, after: (N, C, h, w) latents of pictures and of the pictures mirrored left to right.
    """
    cells, wanted = (x.movedim(1, -1).flatten(0, 2).double() for x in (before, after.flip(-1)))
    cells = torch.cat([cells, torch.ones(len(cells), 1, dtype=cells.dtype)], 1)
    return torch.linalg.solve(cells.T @ cells + 1e-3 * torch.eye(cells.shape[1], dtype=cells.dtype), cells.T @ wanted).float()


def mirrored(latents: Tensor, through: Tensor) -> Tensor:
    """latents (..., C, h, w) of the mirrored pictures; ``through`` as ``mirror_map``."""
    return (latents.movedim(-3, -1) @ through[:-1] + through[-1]).movedim(-1, -3).flip(-1)


def mirror_curves(curves: Tensor) -> Tensor:
    """Curves (..., 62) of the same motion in a mirror: left and right change places, turns to a side change their sign."""
    from slotid.world.performance import EXPRESSIONS

    def other(name: str) -> str:
        for a, b in (("_L", "_R"), ("_R", "_L"), ("Left", "Right"), ("Right", "Left")):
            if name.endswith(a):
                return name.removesuffix(a) + b
        return name

    places = [EXPRESSIONS.index(other(name)) for name in EXPRESSIONS]
    count = len(places)
    sign = torch.ones(curves.shape[-1])
    sign[[count, count + 2, count + 3]] = -1  # yaw, roll, gaze to a side
    return curves[..., [*places, *range(count, curves.shape[-1])]] * sign


class ReaderLearner(Learner):
    """A ``FrameReader`` that learns to tell curves, most of all what changes within a clip."""

    def __init__(self, reader: FrameReader, scale: tuple[Tensor, Tensor], asked: Tensor):
        """scale: of the curves, ``motion.scale_of``. asked: (M,) weight of each."""
        super().__init__()
        self.reader = reader
        for name, value in zip(("mean", "spread"), scale, strict=True):
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("asked", asked / asked.mean(), persistent=False)

    def forward(self, batch: dict) -> Tensor:
        crops = batch["crops"]
        seen = torch.ones(crops.shape[:2], dtype=torch.bool, device=crops.device)
        error = self.reader(crops, seen) - in_deviations(batch["curves"], (self.mean, self.spread))
        within = error - error.mean(1, keepdim=True)
        return (self.asked * (within.square() + RESTING * error.square())).mean()


def face_batch(parts: list[tuple[Tensor, Tensor]], through: Tensor, rng: np.random.Generator, count: int) -> dict:
    """A batch of runs of one part: crops (B, T, C, h, w) and curves (B, T, M), half of them in a mirror, some with another's face.

    ``parts``: crops (N, R, C, h, w) and curves (N, R, M); a part is drawn by how many people it shows.
    """
    sizes = np.array([len(crops) for crops, _ in parts], float)
    crops, curves = parts[int(rng.choice(len(parts), p=sizes / sizes.sum()))]
    most = crops.shape[1]
    long = int(rng.integers(min(10, most), most + 1))
    start = int(rng.integers(most - long + 1))
    if most < REFERENCE_FRAMES:  # of short takes more people for the same work
        count = count * REFERENCE_FRAMES // long
    rows = torch.from_numpy(rng.integers(0, len(crops), count))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    x, y = crops[rows, start : start + long].float(), curves[rows, start : start + long].float()
    if rng.random() < 0.5:
        x, y = mirrored(x, through), mirror_curves(y)
    if rng.random() < 0.5:
        x, y = x.flip(1), y.flip(1)  # a film backwards is a film
    mean = x.mean(1, keepdim=True)
    # somebody else's face that moves so: what changes must be known whosever it is
    chance = torch.rand(3, count, 1, 1, 1, 1, generator=generator)
    x = x - mean + torch.lerp(mean, mean.roll(1, 0), chance[0] * (chance[1] < 0.3))
    x = x * (1 + 0.1 * torch.randn(count, 1, x.shape[2], 1, 1, generator=generator))
    x = x + 0.15 * chance[2] * torch.randn(x.shape, generator=generator)
    return {"crops": x, "curves": y}


def told(reader: FrameReader, crops: Tensor, curves: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """(M,) share of the variance within clips that a reader tells."""
    truth = in_deviations(curves, scale)
    error = read(reader, crops) - truth
    error, truth = error - error.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    return 1 - error.square().mean((0, 1)) / truth.square().mean((0, 1)).clamp_min(1e-3)


@torch.no_grad()
def read(reader: FrameReader, crops: Tensor) -> Tensor:
    """Readings (N, R, M) of crops (N, R, C, h, w)."""
    training = reader.training
    reader.eval()
    found = [reader(part.float(), torch.ones(part.shape[:2], dtype=torch.bool)) for part in crops.split(20)]
    reader.train(training)
    return torch.cat(found)


def train_reader(
    parts: list[tuple[Tensor, Tensor]], through: Tensor, scale: tuple[Tensor, Tensor], plan: Plan, out: Path, **kwargs
) -> FrameReader:
    """A reader trained on ``parts`` (see ``face_batch``), the average of its last steps."""
    crops = parts[0][0]
    torch.manual_seed(0)
    spread = torch.cat([curves.flatten(0, 1) for _, curves in parts]).float().std(0)
    learner = ReaderLearner(FrameReader(crops.shape[2], crops.shape[-1]), scale, (spread > SHOWN).float())

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        return face_batch(parts, through, rng, plan.batch)

    def loss_of(module: nn.Module, batch: dict) -> tuple[Tensor, dict[str, float]]:
        return module(batch), {}

    fit(learner, plan, out, batch_at, loss_of, **kwargs)
    load_weights(learner, out / "checkpoint")
    return learner.to("cpu").reader.requires_grad_(False).eval()
