"""The world's truth about motion, as a teacher of the base. In training only; no judge sees any of it, and it sees no judge.

What an act does to a film is lost among what the head does: told an act, 46 % of the variance of the expression curves is known, and of
the film's own change over time nothing (0.00, as with a wrong act), because where the head will turn is not told. A base trained on pixels
alone for 2,400 steps did not use the act at all. Two lessons make it: a middle layer has to tell the true curves (as REPA has it tell
another network's features, Yu et al. 2024, arXiv 2410.06940), and the predicted film has to show the expressions that the true film shows
to a small network that reads them from clean latents.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.train.loop import Learner, Plan, fit
from slotid.types import SlotIDError

LEAST_SPREAD = 0.05  # of a curve: below it is not worth a scale of its own


def motion_of(record) -> np.ndarray:
    """(T, M) float32 curves of a shard's record, played again: 57 expressions in 0 to 1, head and gaze in units of 10 degrees."""
    from slotid.world.performance import perform, script_from_fact
    from slotid.world.person import person
    from slotid.world.take import take_seed

    seconds = record.seconds
    fps = 1 / float(seconds[1] - seconds[0])
    script = script_from_fact(record.facts["act"])
    motion = perform(person(record.person).habits, script, take_seed(record.person, record.index), len(seconds), fps)
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
