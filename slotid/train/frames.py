"""Teaches the frame reader of ``identity.movement``: curves of face crops, from pictures of people whose every curve is known."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slotid.identity.movement import CROP, SIDE, FrameReader, inner
from slotid.pixels import signed
from slotid.train.loop import Learner, Plan, fit, load_weights
from slotid.train.motion import in_deviations
from slotid.train.pairs import REFERENCE_FRAMES

Part = tuple[np.ndarray, Tensor, np.ndarray]  # crops (N, R, S, S, 3) uint8, curves (N, R, M), the rows of them to learn from
RESTING = 0.2  # weight of a curve's own height beside what it does within a clip
SHOWN = 0.02  # deviation of a curve that is asked for
ASIDE = 4  # pixels by which a clip's crops may lie beside where they should


@dataclass(frozen=True)
class Faces:
    """Face crops of clips and what moves in them. N clips of R crops."""

    pictures: np.ndarray  # (N, R, S, S, 3) uint8, may lie on disk
    curves: Tensor  # (N, R, M) as ``motion.curves_of``
    people: np.ndarray  # (N,) int64
    index: np.ndarray  # (N,) int64 number of the take among the person's


def faces_of(folder: str | Path, cache: Path, size: int = CROP, spoilt: float = 0.35) -> Faces:
    """Of all complete shards of ``folder``, cut as ``pairs.encode_shards`` cuts them and in its order; ``cache`` (.npy) keeps the pictures.

    Raises SlotIDError when there is nothing to cut.
    """
    from slotid.train.pairs import cut, moments
    from slotid.world.shards import read_shards

    records = read_shards(folder)
    sparse, picked = moments(records[0].seconds)
    keys = np.array([(record.person, record.index) for record in records])
    beside = cache.with_suffix(".npz")
    known = dict(np.load(beside, allow_pickle=False)) if beside.exists() and cache.exists() else {}
    if not np.array_equal(known.get("keys"), keys):
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(f".{os.getpid()}.part")  # of several processes each cuts its own, and the last stays
        pictures = np.lib.format.open_memmap(part, "w+", np.uint8, (len(records), len(picked), size, size, 3))
        curves = []
        for row, record in enumerate(records):
            found = cut(picked, sparse, size, spoilt, record)
            pictures[row] = found["faces"]
            curves.append(found["motion"][picked])
        pictures.flush()
        os.replace(part, cache)
        known = {"keys": keys, "curves": np.stack(curves)}
        with open(part, "wb") as file:
            np.savez(file, **known)
        os.replace(part, beside)
    return Faces(np.load(cache, mmap_mode="r"), torch.from_numpy(known["curves"]), keys[:, 0], keys[:, 1])


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
        pictures = batch["pictures"]
        seen = torch.ones(pictures.shape[:2], dtype=torch.bool, device=pictures.device)
        error = self.reader(pictures, seen) - in_deviations(batch["curves"], (self.mean, self.spread))
        within = error - error.mean(1, keepdim=True)
        return (self.asked * (within.square() + RESTING * error.square())).mean()


def face_batch(parts: list[Part], rng: np.random.Generator, count: int) -> dict:
    """A batch of runs of one part: pictures (B, T, 3, SIDE, SIDE) and curves (B, T, M), half of them in a mirror, half of them backwards,
    each clip in a light and at a place of its own.

    A part is drawn by how many clips it has.
    """
    sizes = np.array([len(rows) for *_, rows in parts], float)
    pictures, curves, among = parts[int(rng.choice(len(parts), p=sizes / sizes.sum()))]
    most, edge = pictures.shape[1], (pictures.shape[2] - SIDE) // 2
    long = int(rng.integers(min(10, most), most + 1))
    start = int(rng.integers(most - long + 1))
    if most < REFERENCE_FRAMES:  # of short takes more people for the same work
        count = count * REFERENCE_FRAMES // long
    rows = rng.choice(among, count)
    corners = edge + rng.integers(-ASIDE, ASIDE + 1, (count, 2))
    run = slice(start, start + long)
    x = signed(np.stack([pictures[row, run, top : top + SIDE, left : left + SIDE] for row, (top, left) in zip(rows, corners, strict=True)]))
    y = curves[torch.from_numpy(rows), run].float()
    if rng.random() < 0.5:
        x, y = x.flip(-1), mirror_curves(y)
    if rng.random() < 0.5:
        x, y = x.flip(1), y.flip(1)  # a film backwards is a film
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    x = x * (1 + 0.2 * drawn(count, 1, 1, 1, 1) + 0.06 * drawn(count, 1, 3, 1, 1)) + 0.1 * drawn(count, 1, 3, 1, 1)
    if rng.random() < 0.3:
        x = x + 0.06 * rng.random() * drawn(*x.shape)
    return {"pictures": x, "curves": y}


def told(reader: FrameReader, pictures: np.ndarray, curves: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """(M,) share of the variance within clips that a reader tells."""
    truth = in_deviations(curves, scale)
    error = read(reader, pictures) - truth
    error, truth = error - error.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    return 1 - error.square().mean((0, 1)) / truth.square().mean((0, 1)).clamp_min(1e-3)


@torch.no_grad()
def read(reader: FrameReader, pictures: np.ndarray) -> Tensor:
    """Readings (N, R, M) of crops (N, R, S, S, 3) uint8."""
    training = reader.training
    reader.eval()
    parts = (inner(signed(pictures[start : start + 20])) for start in range(0, len(pictures), 20))
    found = [reader(part, torch.ones(part.shape[:2], dtype=torch.bool)) for part in parts]
    reader.train(training)
    return torch.cat(found)


def train_reader(parts: list[Part], scale: tuple[Tensor, Tensor], plan: Plan, out: Path, **kwargs) -> FrameReader:
    """A reader trained on ``parts`` (see ``face_batch``), the average of its last steps."""
    torch.manual_seed(0)
    spread = torch.cat([curves[torch.from_numpy(rows)].flatten(0, 1) for _, curves, rows in parts]).float().std(0)
    learner = ReaderLearner(FrameReader(), scale, (spread > SHOWN).float())

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        return face_batch(parts, rng, plan.batch)

    def loss_of(module: nn.Module, batch: dict) -> tuple[Tensor, dict[str, float]]:
        return module(batch), {}

    fit(learner, plan, out, batch_at, loss_of, **kwargs)
    load_weights(learner, out / "checkpoint")
    return learner.to("cpu").reader.requires_grad_(False).eval()
