"""Teaches the ear of ``identity.movement``: habits from curves, most of them of people who are never filmed.

A few thousand filmed people are too few to learn habits from: encoders knew theirs by heart (LOG.md, twelfth session). What tells habits
is curves, and curves of any number of people are played in milliseconds. What a frame reader makes of true curves, and where it errs, is
measured on clips of people whom it has not seen and laid upon the played ones (``Reading``), so that the ear learns how much to believe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slotid.identity.slots import HABIT_SLOTS, Encoded, SlotID
from slotid.pixels import signed
from slotid.train.base import PersonEmbedder, told_groups
from slotid.train.loop import Learner, Plan, fit, load_weights
from slotid.train.motion import curves_of

PLAYERS = 5_000_000  # the first of the people who play: no split's, so that nobody films them
REAL = 0.04  # share of a batch that are readings of filmed clips
PROBED = 0.3  # weight of the habits' numbers, told from the slots, beside the tokens'


def played(count: int, picked: list[int], frames: int = 33, fps: float = 12.0, first: int = PLAYERS) -> tuple[Tensor, Tensor]:
    """Curves (N, R, M) at the moments ``picked`` of films that nobody makes, three in four of them introductions, and their people's
    habits (N, H), standardised."""
    from slotid.world.habits import habits_vector, sample_habits
    from slotid.world.performance import perform, reference_script, sample_script
    from slotid.world.take import take_seed

    curves, vectors = [], []
    for person in range(first, first + count):
        habits, seed = sample_habits(person), take_seed(person, 0)
        script = sample_script if person % 4 == 0 else reference_script
        curves.append(curves_of(perform(habits, script(seed), seed, frames, fps))[picked].astype(np.float16))
        vectors.append(habits_vector(habits))
    return torch.from_numpy(np.stack(curves)), torch.from_numpy(np.stack(vectors))


@dataclass(frozen=True)
class Reading:
    """How a reader errs, by clips (N, R, M) of people whom it has not seen: what it makes of a curve, and what it adds."""

    moving: Tensor  # (M, M) what changes within a clip as it is, to as it is read
    resting: Tensor  # (M, M) the same of the clip's mean
    noise: Tensor  # (N, R, M) what it adds to moments
    bias: Tensor  # (N, 1, M) to a clip

    @classmethod
    def of(cls, readings: Tensor, truth: Tensor, ridge: float = 50.0) -> Reading:
        def solved(a: Tensor, b: Tensor) -> Tensor:
            a, b = a.flatten(0, 1).double(), b.flatten(0, 1).double()
            return torch.linalg.solve(a.T @ a + ridge * torch.eye(a.shape[1], dtype=a.dtype), a.T @ b).float()

        rest, own = readings.mean(1, keepdim=True), truth.mean(1, keepdim=True)
        moving, resting = solved(truth - own, readings - rest), solved(own, rest)
        return cls(moving, resting, readings - rest - (truth - own) @ moving, rest - own @ resting)

    def lay(self, truth: Tensor, rng: np.random.Generator) -> Tensor:
        """``truth`` (B, R, M) as it would be read."""
        which = torch.from_numpy(rng.integers(0, len(self.noise), (2, len(truth))))
        own = truth.mean(1, keepdim=True)
        # as likely the other way, so that no clip's errors are known by heart
        sign = torch.from_numpy(rng.choice([-1.0, 1.0], (len(truth), 1, 1))).float()
        return (truth - own) @ self.moving + sign * self.noise[which[0]] + own @ self.resting + self.bias[which[1]]


@dataclass(frozen=True)
class Heard:
    """Clips as the ear hears them. N of them."""

    curves: Tensor  # (N, R, M) readings
    seconds: Tensor  # (N, R)
    mass: Tensor  # (N, habit slots, R) what each habit slot's plan took of every frame
    anchors: Tensor  # (N, D) mean of the anchors, which the gate sees
    vectors: Tensor  # (N, P) the person, as ``world.person.person_vector``

    def of(self, rows) -> Heard:
        return Heard(*(value[rows] for value in vars(self).values()))


@torch.no_grad()
def hear(method: SlotID, crops: Tensor, pictures: np.ndarray, seconds: Tensor, vectors: Tensor) -> Heard:
    """``Heard`` of clips by a method with a trained reader.

    crops: (N, R, C, h, w) normalised latents, the passed-over channels among them. pictures: (N, R, S, S, 3) uint8 of the same crops.
    """
    parts = []
    for start in range(0, len(crops), 16):
        x, when, shown = (values[start : start + 16] for values in (crops, seconds, pictures))
        seen, middle = torch.ones(x.shape[:2], dtype=torch.bool), torch.full((len(x),), x.shape[1] // 2)
        found = method.encode(x, when, seen, middle, signed(shown))
        mass = found.plans[-1][:, list(HABIT_SLOTS)].sum((3, 4))
        parts.append((found.curves, mass, found.anchors.mean(1)))
    curves, mass, anchors = (torch.cat(values) for values in zip(*parts, strict=True))
    return Heard(curves, seconds, mass, anchors, vectors)


class EarLearner(Learner):
    """Ear and heads of a method's movement, by the base's own tokens for habits; all else of the method stays as it is."""

    def __init__(self, method: SlotID, teacher: PersonEmbedder):
        super().__init__()
        self.method = method.requires_grad_(False)
        for part in (method.movement.ear, method.movement.heads):
            part.requires_grad_(True)
        self.teacher = [teacher]  # in a list: it is fixed, not trained and not saved
        self.layout = told_groups()[HABIT_SLOTS[0] :]
        self.probes = nn.ModuleList(nn.Linear(method.config.width, group.stop - group.start) for group in self.layout)

    def beside(self) -> list[nn.Module]:
        return self.teacher

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        heard = Heard(**batch["heard"])
        slots = self.slots(heard, batch["seen"])
        anchors = heard.anchors[:, None]
        found = Encoded(anchors, slots, self.method.gates(slots, anchors), [], heard.mass, [])
        tokens = self.method.tokens(found)[:, 1:]
        wanted = self.teacher[0](heard.vectors)[:, HABIT_SLOTS[0] :]
        meet = (tokens - wanted).square().mean() / wanted.square().mean()
        probe = torch.stack(
            [(p - heard.vectors[:, g]).square().mean() for p, g in zip(self.probed(slots), self.layout, strict=True)]
        ).mean()
        return meet + PROBED * probe, {"meet": meet.detach(), "probe": probe.detach(), "gate": found.gates.detach().mean()}

    def slots(self, heard: Heard, seen: Tensor) -> Tensor:
        movement = self.method.movement
        return movement.heard(movement.ear(heard.curves, heard.seconds, seen), heard.mass * seen[:, None])

    def probed(self, slots: Tensor) -> list[Tensor]:
        return [probe(slots[:, k]) for k, probe in enumerate(self.probes)]

    @torch.no_grad()
    def tells(self, heard: Heard) -> dict[str, float]:
        """Share of the variance of each group of habits that the slots tell of ``heard``."""
        slots = self.slots(heard, torch.ones(heard.curves.shape[:2], dtype=torch.bool))
        told = {}
        for name, guess, group in zip(("smile", "talk", "pose"), self.probed(slots), self.layout, strict=True):
            truth = heard.vectors[:, group]
            told[name] = round(float(1 - (guess - truth).square().mean() / truth.square().mean()), 3)
        return told


def train_ear(
    method: SlotID, teacher: PersonEmbedder, filmed: Heard, truth: Tensor, plays: tuple[Tensor, Tensor], plan: Plan, out: Path, **kwargs
) -> tuple[EarLearner, bool]:
    """Trains ear and heads of ``method`` by ``plays`` (curves in the reader's scale (K, R, M), habits (K, H)) and filmed clips.

    ``truth``: (N, R, M) the true curves of ``filmed`` in the reader's scale; nobody of ``filmed`` may be known to the reader.
    Returns the learner with the average of its last steps, and whether all steps of ``plan`` are done.
    """
    torch.manual_seed(0)
    learner, reading = EarLearner(method, teacher), Reading.of(filmed.curves, truth)
    curves, habits = plays
    group = slice(told_groups()[HABIT_SLOTS[0]].start, told_groups()[HABIT_SLOTS[-1]].stop)

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        rows = torch.from_numpy(rng.integers(0, len(filmed.curves), plan.batch))
        heard, real = filmed.of(rows), int(REAL * plan.batch)
        who = torch.from_numpy(rng.integers(0, len(curves), plan.batch - real))
        heard.curves[real:] = reading.lay(curves[who].float(), rng)
        heard.vectors[real:, group] = habits[who]
        most = heard.curves.shape[1]
        long = most if rng.random() < 0.6 else int(rng.integers(min(8, most), most + 1))
        start = int(rng.integers(most - long + 1))
        run = slice(start, start + long)
        heard = Heard(heard.curves[:, run], heard.seconds[:, run], heard.mass[..., run], heard.anchors, heard.vectors)
        seen = torch.from_numpy(rng.random((plan.batch, long)) > 0.05)
        seen[:, long // 2] = True
        return {"heard": vars(heard), "seen": seen}

    last = fit(learner, plan, out, batch_at, lambda module, batch: module(batch), **kwargs)
    load_weights(learner, out / "checkpoint")
    return learner.to("cpu").eval(), last["step"] >= plan.steps
