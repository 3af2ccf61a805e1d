"""Teaches the motion refiner (``backbone.refiner``): from films that show too little or the wrong of their expressions, and their plan.

What it is shown stands for what the base draws: a film's calm twin with some of its expressions, or with those of another moment, with
noise; and, for half of a batch, films as the base itself draws them on from such a start, under the lively film's plan. It is asked for
what lacks. A conditional mean is enough here, for the face is there to be seen and the plan says how it moves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from slotid import flow
from slotid.backbone.refiner import MotionRefiner
from slotid.train.base import channel_weight
from slotid.train.calibrate import told
from slotid.train.loop import Learner, Plan, fit, load_weights
from slotid.train.pairs import Latents, face_weight, latent_scale
from slotid.train.twins import with_twins
from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.train.recipes import Job

NOISE = 0.3  # largest deviation of the noise upon what is shown
MOST_SHOWN = 1.6  # of an expression: guidance overdoes them
WINDOW = (6, 5)  # cells around a face, high and wide, that are shown instead of all
WINDOW_SHARE = 0.85  # of the steps: they cost half, and elsewhere nothing lacks
RUN = 8  # neighbouring frames of a film that are shown at once
DRAWN_SHARE = 0.5  # of a batch: as the base draws it
DRAWN = 1200  # films that it draws, 0.6 s of a core each
BEGIN = (0.38, 0.68)  # at these times; later its films are those they came from, earlier they are other ones
ON = (0.62, 0.28, 0.0)  # of that time, where its steps lead


class RefineLearner(Learner):
    """A refiner that learns what lacks."""

    def __init__(self, refiner: MotionRefiner, channels: Tensor):
        """channels: (C, 1, 1) weight of each."""
        super().__init__()
        self.refiner = refiner
        self.register_buffer("channels", channels, persistent=False)

    def forward(self, batch: dict) -> Tensor:
        """The error's square as a share of what the expressions change."""
        error = self.refiner(batch["frames"], batch["plan"]) - batch["missing"]
        weight = batch["weight"] * self.channels
        return (weight * error.square()).mean() / (weight * batch["lively"].square()).mean().clamp_min(1e-4)


def refine_batch(
    clips: Latents,
    calm: Tensor,
    drawn: tuple[Tensor, Tensor] | None,
    scale: tuple[Tensor, Tensor],
    planned: int,
    rng: np.random.Generator,
    count: int,
) -> dict:
    """Runs of neighbouring frames (count, T, C, h, w) and what lacks in them.

    Args:
        calm: (N, C, T, h, w) the twins of ``clips``, all of which have one. drawn: films (M, C, T, h, w), normalised, with what they began
            from (M,), rows of ``clips``; None without. scale: mean and deviation of the latents. planned: channels of motion, the first.
    """
    mean, std = scale
    most = calm.shape[2]
    long = min(RUN, most)
    rows = torch.from_numpy(rng.integers(0, len(calm), count))
    at = torch.from_numpy(rng.integers(0, most - long + 1, count))[:, None] + torch.arange(long)
    own = 0 if drawn is None else int(DRAWN_SHARE * count)
    if own:
        which = torch.from_numpy(rng.integers(0, len(drawn[0]), own))
        rows[:own] = drawn[1][which]

    def frames_of(films: Tensor, moments: Tensor) -> Tensor:
        return (films[rows[:, None], planned:, moments].float() - mean[planned:, 0]) / std[planned:, 0]

    def chance(*shape: int) -> Tensor:
        return torch.from_numpy(rng.random((*shape, 1, 1, 1), np.float32))

    still, asked = frames_of(calm, at), frames_of(clips.films, at)
    lively = asked - still
    # all of a run lacks the same share, or each frame another one: then it trembles
    kind = chance(count, 1)
    share = MOST_SHOWN * torch.where(chance(count, 1) < 0.5, chance(count, 1), chance(count, long))
    later = (at + torch.from_numpy(rng.integers(1, most, (count, 1)))) % most
    anyone = torch.from_numpy(rng.integers(0, most, at.shape))
    other = torch.where(chance(count, 1)[:, :, 0, 0, 0] < 0.5, later, anyone)
    shown = torch.where(kind < 0.3, 0.0, share) * torch.where(kind < 0.7, lively, frames_of(clips.films, other) - frames_of(calm, other))
    missing = lively - shown
    noise = NOISE * torch.from_numpy(rng.standard_normal(still.shape, np.float32)) * chance(count, 1)
    frames = still + shown + noise
    if own:
        frames[:own] = drawn[0][which[:, None], planned:, at[:own]].float()
        missing[:own] = asked[:own] - frames[:own]
    plan = ((clips.films[rows[:, None], :planned, at].float() - mean[:planned, 0]) / std[:planned, 0]).mean((-2, -1))
    weight = face_weight(clips.focus[rows, 0], clips.reach[rows, 0], frames.shape[-2:])
    if rng.random() < WINDOW_SHARE:
        size = [min(part, whole) for part, whole in zip(WINDOW, frames.shape[-2:], strict=True)]
        corner = (clips.focus[rows, 0].flip(-1) - torch.tensor(size) / 2).round().long() + torch.from_numpy(rng.integers(-1, 2, (count, 2)))
        corner = corner.clamp_min(0).minimum(torch.tensor(frames.shape[-2:]) - torch.tensor(size))
        y, x = (corner[:, axis, None] + torch.arange(size[axis]) for axis in (0, 1))
        place = (torch.arange(count)[:, None, None], slice(None), slice(None), y[:, :, None], x[:, None, :])
        frames, missing, lively, weight = (value[place].permute(0, 3, 4, 1, 2) for value in (frames, missing, lively, weight))
    return {"frames": frames, "plan": plan, "missing": missing, "lively": lively, "weight": weight}


@torch.no_grad()
def draw(backbone, embedder, clips: Latents, calm: Tensor, count: int = DRAWN, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Films (M, C, T, h, w), float16 and normalised, as the base draws them from ``calm`` ones with a share of their expressions or those
    of another moment, told person, scene and the lively film's motion; and the rows (M,) of ``clips`` that they began from."""
    planned, (mean, std) = backbone.spec.noise_shared, latent_scale(backbone)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(calm), generator=generator)[:count]
    films = []
    for row in rows.tolist():
        one = told(backbone, embedder, clips, torch.tensor([row]), generator, row)
        still = (calm[row : row + 1].float() - mean) / std
        lively = one.film - still
        kind, share, begin = torch.rand(3, generator=generator).tolist()
        if kind >= 0.8:
            lively = lively.roll(int(torch.randint(1, lively.shape[2], (), generator=generator)), 2)
        start = still + (share * lively if kind >= 0.5 else 0)
        start[:, :planned] = one.film[:, :planned]
        begin = BEGIN[0] + (BEGIN[1] - BEGIN[0]) * begin
        path = torch.tensor([begin, *(begin * part for part in ON)], dtype=torch.float64)

        def field(x: Tensor, t: float, one=one) -> Tensor:
            velocity = backbone.velocity(x, t, one.text, one.given)
            return torch.cat([(x[:, :planned] - one.film[:, :planned]) / t, velocity[:, planned:]], 1)

        *_, (_, film, _) = flow.walk(flow.at(start, one.noise, begin), field, path)
        films.append(film[0].half())
    return torch.stack(films), rows


def refine(job: Job, plan: Plan) -> dict[str, Any]:
    """The refiner, from the job's clips that have a calm twin and from films that the trained base draws of them."""
    from safetensors.torch import load_file, save_file

    from slotid.train.base import PersonEmbedder
    from slotid.train.quick import muon
    from slotid.train.recipes import latents, trained_base, twins_of

    backbone = trained_base(job)
    if not twins_of(job).is_dir():
        raise SlotIDError(f"No calm twins in {twins_of(job)}; render the people of {job.clips} again with --calm into that folder.")
    clips, twins = latents(job, backbone.vae, (job.clips, twins_of(job)))
    clips, calm = with_twins(clips, twins)
    kept = job.out / f"{job.clips.name}.drawn.safetensors"
    if not kept.exists():
        films, rows = draw(backbone, PersonEmbedder(), clips, calm)
        part = kept.with_suffix(f".{os.getpid()}.part")
        save_file({"films": films, "rows": rows}, part)
        os.replace(part, kept)
    drawn = load_file(kept)
    out = job.out / "refine"
    return train_refiner(backbone, clips, calm, (drawn["films"], drawn["rows"]), plan, out, minutes=job.minutes, optimizers=muon)


def train_refiner(
    backbone, clips: Latents, calm: Tensor, drawn: tuple[Tensor, Tensor] | None, plan: Plan, out: Path, **kwargs
) -> dict[str, float]:
    """Trains a new refiner for ``backbone``, or goes on in ``out``; arguments as ``refine_batch``."""
    planned, scale = backbone.spec.noise_shared, latent_scale(backbone)
    torch.manual_seed(0)
    weight = channel_weight(backbone, clips.films)[0, planned:, 0]
    learner = RefineLearner(new_refiner(backbone.spec), weight / weight.mean())

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        return refine_batch(clips, calm, drawn, scale, planned, rng, plan.batch)

    def loss_of(module: nn.Module, batch: dict) -> tuple[Tensor, dict[str, float]]:
        return module(batch), {}

    return fit(learner, plan, out, batch_at, loss_of, **kwargs)


def new_refiner(spec) -> MotionRefiner:
    """Untrained, for the latents of a ``Spec``: adds nothing."""
    return MotionRefiner(spec.noise_shared, spec.channels - spec.noise_shared)


def trained_refiner(job: Job, spec) -> MotionRefiner | None:
    """What ``refine`` made in ``job.out``; None where it has not run."""
    if not (job.out / "refine" / "checkpoint").exists():
        return None
    learner = RefineLearner(new_refiner(spec), torch.ones(1))
    load_weights(learner, job.out / "refine" / "checkpoint")
    return learner.refiner.requires_grad_(False).eval()
