"""The world's truth about motion, as a teacher of the base. In training only; no judge sees any of it, and it sees no judge.

What an act does to a film is lost among what the head does: told an act, 46 % of the variance of the expression curves is known, and of
the film's own change over time nothing (0.00, as with a wrong act), because where the head will turn is not told. A base trained on pixels
alone for 2,400 steps did not use the act at all. There are two ways to make it, one at a time (``recipes.MOTION_CHANNELS``):

*Lessons*, by which the landed base learned: a middle layer has to tell the true curves (as REPA has it tell another network's features, Yu
et al. 2024, arXiv 2410.06940), and the predicted film has to show the expressions that the true film shows to a small network that reads
them from clean latents. Acts are heard then, and still lost where their phase has to be told from noise (LOG.md, eighth training).

*Channels*: what moves is filmed beside the picture, as VideoJAM (Chefer et al. 2025, arXiv 2502.02492) has a video model predict optical
flow with appearance: the base denoises both at once and so plans an act before it draws it. Here the channels hold the curves that the film
was rendered from. Every cell of a frame holds the same numbers, so that noise, which differs from cell to cell, hides them an eighth as
much as it hides a cell of the picture: they are decided first, by the sentence and by the person's habits. A visitor's film begins from
noise in them as in all others; nothing of the world is needed to make it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.train.loop import Learner, Plan, fit
from slotid.types import SlotIDError

LEAST_SPREAD = 0.05  # of a curve: below it is not worth a scale of its own
HEAD_SHARE = 0.5  # of the head's and the gaze's turns (in units of 10 degrees) beside an expression's weight
FIRST, LAST = 0.8, 0.4  # deviation of the first and the last channel; the first of the picture has 1
PERFORMERS = 600  # people who played for the basis


def motion_of(record) -> np.ndarray:
    """(T, M) float32 curves of a shard's record, played again: 57 expressions in 0 to 1, head and gaze in units of 10 degrees."""
    from slotid.world.performance import perform, script_from_fact
    from slotid.world.person import person
    from slotid.world.take import take_seed

    seconds = record.seconds
    fps = 1 / float(seconds[1] - seconds[0])
    script = script_from_fact(record.facts["act"])
    return _curves(perform(person(record.person).habits, script, take_seed(record.person, record.index), len(seconds), fps))


def _curves(motion) -> np.ndarray:
    return np.concatenate([motion.expressions, motion.head / 10, motion.gaze / 10], axis=1).astype(np.float32)


class MotionReader(nn.Module):
    """Normalised latents of single frames (N, C, cells, cells) -> standardised curves (N, M)."""

    def __init__(self, channels: int, curves: int, cells: int = 8):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, 96, 1), nn.SiLU(), nn.Dropout2d(0.1), nn.Conv2d(96, 192, 3, 2, 1), nn.SiLU(), nn.Flatten(),
            nn.Dropout(0.4), nn.Linear(192 * (cells // 2) ** 2, 256), nn.SiLU(), nn.Dropout(0.3), nn.Linear(256, curves),
        )  # fmt: skip
        self.mean, self.spread = nn.Parameter(torch.zeros(curves)), nn.Parameter(torch.ones(curves))  # set, not learned

    def forward(self, latents: Tensor) -> Tensor:
        """(N, C, cells, cells) -> (N, M)"""
        return self.net(latents)

    @torch.no_grad()
    def told(self, curves: Tensor) -> Tensor:
        """Curves as ``motion_of`` gives them, standardised as this network tells them."""
        return (curves - self.mean) / self.spread


def scale_of(curves: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (M,) of curves (..., M)."""
    flat = curves.flatten(0, -2)
    return flat.mean(0), flat.std(0).clamp_min(LEAST_SPREAD)


def train_reader(reader: MotionReader, data: list, mean: Tensor, std: Tensor, plan: Plan, out: Path, **kwargs) -> dict[str, float]:
    """Teaches the reader on the frames of ``data`` (Latents); the last tenth of each is kept: "unseen" in the log, 1 is told nothing."""
    films = [(d.films.transpose(1, 2).flatten(0, 1), d.motion.flatten(0, 1)) for d in data]
    cut = [round(0.9 * len(x)) for x, _ in films]
    centre, spread = scale_of(torch.cat([m for _, m in films]))
    reader.mean.data.copy_(centre)  # parameters, so that checkpoints hold them; no gradient ever reaches them
    reader.spread.data.copy_(spread)
    mean, std = mean[:, 0], std[:, 0]

    def pick(rng: np.random.Generator, unseen: bool) -> tuple[Tensor, Tensor]:
        frames, curves = [], []
        for (x, m), end in zip(films, cut, strict=True):
            rows = rng.integers(end, len(x), plan.batch // 2) if unseen else rng.integers(0, end, plan.batch // 2)
            frames.append(x[rows])
            curves.append(m[rows])
        return (torch.cat(frames).float() - mean) / std, torch.cat(curves)

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        x, wanted = pick(rng, False)
        return {"x": x, "wanted": wanted, "unseen": pick(rng, True) if step % 10 == 0 else None}

    def loss_of(module: nn.Module, batch: dict) -> tuple[Tensor, dict[str, float]]:
        x = batch["x"]
        # a prediction is never quite a real latent: noise, and some softness
        level = torch.rand(len(x), 1, 1, 1, device=x.device) * 0.5
        soft = torch.lerp(x, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), torch.rand(len(x), 1, 1, 1, device=x.device) * 0.5)
        loss = (module(soft + level * torch.randn_like(x)) - reader.told(batch["wanted"])).square().mean()
        numbers = {}
        if batch["unseen"] is not None:
            with torch.no_grad():
                module.eval()  # asked every tenth step, so ten times: the log holds a mean over all steps
                frames, curves = batch["unseen"]
                numbers["unseen"] = 10 * float((module(frames) - reader.told(curves)).square().mean())
                module.train()
        return loss, numbers

    return fit(reader.train(), plan, out, batch_at, loss_of, **kwargs)


class MotionLesson(Learner):
    """Both lessons of the base: ``hidden`` from a middle layer, ``shown`` from the predicted film."""

    def __init__(self, reader: MotionReader, width: int, patch_time: int, layer: nn.Module):
        super().__init__()
        self.reader = [reader.requires_grad_(False).eval()]  # in a list: frozen, not saved
        curves = len(reader.mean)
        self.patch_time = patch_time
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 512), nn.SiLU(), nn.Linear(512, patch_time * curves))
        self.kept: list[Tensor] = []
        layer.register_forward_hook(self._keep)

    def beside(self) -> list[nn.Module]:
        return self.reader

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.kept[:] = [output]

    def forward(self, predicted: Tensor, x0: Tensor, motion: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """predicted, x0: clean films (B, C, T, cells, cells). motion: (B, T, M). t: (B,) -> the two losses."""
        if not self.kept:
            raise SlotIDError("The layer that is to tell the motion was not run; give MotionLesson a layer of the trained transformer.")
        reader = self.reader[0]
        wanted = reader.told(motion)
        count, frames = wanted.shape[:2]
        slots = frames // self.patch_time
        hidden = self.kept[0].unflatten(1, (slots, -1)).mean(2).float()  # over the places of a moment
        told = self.head(hidden).reshape(count, frames, -1)
        hidden_loss = (told - wanted).square().mean()

        def read(film: Tensor) -> Tensor:
            return reader(film.transpose(1, 2).flatten(0, 1)).unflatten(0, (count, frames))

        with torch.no_grad():
            shown = read(x0)
        # very near noise the prediction is a mean of many poses, which no reader of frames can read
        sure = ((1 - t) / 0.15).clamp(max=1).view(-1, 1, 1)
        return hidden_loss, ((read(predicted) - shown).square() * sure).mean()


@lru_cache(maxsize=1)
def motion_basis() -> tuple[Tensor, Tensor]:
    """Mean (M,) and principal directions (M, M) of what training people play, strongest first, each of deviation 1 when projected on.

    Played anew each time (2 s). Directions nearly as strong as one another may come out turned on another machine: once weights that were
    trained with them land, they have to be kept beside those.
    """
    from slotid.world.habits import sample_habits
    from slotid.world.performance import EXPRESSIONS, perform, reference_script, sample_script
    from slotid.world.take import take_seed

    played = []
    for person in range(PERFORMERS):
        for index, script in enumerate((sample_script, reference_script)):
            seed = take_seed(person, index)
            played.append(_curves(perform(sample_habits(person), script(seed), seed, 33, 12.0)))
    curves = np.concatenate(played).astype(np.float64)
    weight = np.ones(curves.shape[1])
    weight[len(EXPRESSIONS) :] = HEAD_SHARE
    spread, directions = np.linalg.eigh(np.cov((curves * weight).T))
    order = np.argsort(-spread)
    directions = weight[:, None] * directions[:, order] / np.sqrt(np.maximum(spread[order], 1e-9))
    directions *= np.where(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])] < 0, -1, 1)  # eigh's signs are anyone's
    return torch.from_numpy(curves.mean(0)).float(), torch.from_numpy(directions).float()


def motion_channels(curves: Tensor, count: int) -> Tensor:
    """Curves (..., M) as ``motion_of`` gives them -> (..., count), the strongest principal directions, falling from FIRST to LAST."""
    mean, directions = motion_basis()
    return (curves - mean) @ directions[:, :count] * torch.linspace(FIRST, LAST, count)


def fill_motion(films: Tensor, curves: Tensor, count: int) -> None:
    """Writes the motion (N, T, M) of films (N, C, T, h, w) into their first ``count`` channels, the same in every cell."""
    told = motion_channels(curves, count).transpose(1, 2)  # (N, count, T)
    films[:, :count] = told[..., None, None].to(films.dtype)
