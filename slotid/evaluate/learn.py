"""Training the judges: ``run_recipe("judge_looks", out)``. Resumable; a short run gives a short run's judge.

Order: judge_looks, judge_habits, judge_facts (the last keeps the statistics of real films, in features that need the looks judge).
Every recipe renders its lessons first (kept, and shared by all recipes in one folder), trains, and grades itself on held-out people;
that grade goes into the judge's JSON and from there into every report.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.evaluate import lessons as lessons_of
from slotid.evaluate.grade import grade_acts, grade_habits, grade_looks, grade_scene, real_films
from slotid.evaluate.judges import HOME, build, load_looks, save_judge, world_facts
from slotid.evaluate.lessons import FILM, HELD_OUT, INTRODUCTION, Lessons, act_targets, note, scene_labels
from slotid.evaluate.networks import contrast, in_ball
from slotid.evaluate.schooling import school
from slotid.evaluate.simulate import BANK_TAKES, Bank, Measuring, fit_measuring, perform_bank
from slotid.pixels import signed
from slotid.types import SlotIDError
from slotid.world.person import PERSON_LAYOUT
from slotid.world.splits import SPLITS

RECIPES = ("judge_looks", "judge_habits", "judge_facts")
LOOKS_GROUPS = ("shape", "skin", "hair", "trim")
HABIT_GROUPS = ("smile", "talk", "pose")
FIRST = SPLITS["judges"].start


@dataclass(frozen=True)
class Teaching:
    """How much a recipe renders and how long it learns; the numbers are those of ``slotid/train/judge_recipes.py``."""

    steps: int
    batch: int  # people for looks and habits, films for acts; half as many frames for the rest of the facts
    lr: float
    films: int = 0  # people rendered as films to train on
    stills: int = 0  # people rendered as stills
    held: int = 0  # people rendered as films to grade by
    bank: int = 0  # people whose performances are simulated; they are the judges' own people too
    minutes: float | None = None  # of wall time for everything but grading; None: until all is rendered and all steps are taken
    seed: int = 0


def run_recipe(
    name: str,
    out: str | Path,
    how: Teaching,
    kit: str | None = None,
    *,
    data: str | Path | None = None,
    judges: str | Path | None = None,
) -> dict[str, Any]:
    """Renders what is missing, trains, grades, and writes the judge into ``judges``.

    Args:
        name: one of RECIPES.
        out: where checkpoints go; the same folder goes on where it was.
        how: sizes. With ``minutes`` the judge is what that time gives, and says so in its grade.
        kit: the packed head kit (None: SLOTID_HEADKIT or the cache folder).
        data: folder of rendered lessons, shared by the three recipes (None: ``out``'s neighbour "judge_world").
        judges: folder of the judges (None: assets/judges).

    Returns:
        the judge's quality on held-out people, with steps and how many people were seen.

    Raises:
        SlotIDError: unknown recipe, no kit, or too little rendered to learn from.
    """
    if name not in RECIPES:
        raise SlotIDError(f"recipe {name!r} is unknown here; judges are trained by {', '.join(RECIPES)}.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    data, judges = Path(data or out.parent / "judge_world"), Path(judges or HOME)
    begun, minutes = time.monotonic(), how.minutes
    share = {"judge_looks": 0.5, "judge_habits": 0.3, "judge_facts": 0.25}[name]
    until = begun + share * minutes * 60 if minutes is not None else float("inf")
    if name != "judge_habits":
        _render_stills(data, kit, how.stills, until, share_of_films=0.4 if minutes is not None else 1.0)
    _render_films(data, kit, how.films, how.held, until)
    world = lessons_of.read(data / "films", False, note)
    still = lessons_of.read(data / "stills", True, note) if (data / "stills").is_dir() and name != "judge_habits" else None
    left = None if minutes is None else max(0.2, minutes - (time.monotonic() - begun) / 60)
    teach = {"judge_looks": _teach_looks, "judge_habits": _teach_habits, "judge_facts": _teach_facts}[name]
    return teach(out, judges, world, still, how, left)


def _render_films(data: Path, kit: str | None, films: int, held: int, until: float) -> None:
    """Training and held-out people in turn, so that a short run has both."""
    group = lessons_of.GROUP
    for k in range(0, max(films, held), group):
        for first, most in ((FIRST, films), (HELD_OUT, held)):
            people = range(first + k, min(first + k + group, first + most))
            late = k >= 2 * group and time.monotonic() > until
            if len(people) and not late:
                lessons_of.render(data / "films", people, False, kit, float("inf"), note)


def _render_stills(data: Path, kit: str | None, stills: int, until: float, share_of_films: float) -> None:
    stop = until if until == float("inf") else time.monotonic() + (until - time.monotonic()) * (1 - share_of_films)
    lessons_of.render(data / "stills", range(FIRST + 10_000, FIRST + 10_000 + 4), True, kit, float("inf"), note)
    lessons_of.render(data / "stills", range(FIRST + 10_000, FIRST + 10_000 + stills), True, kit, stop, note)


# --- looks ---------------------------------------------------------------------------------------------------------


class LooksLearner(nn.Module):
    """The looks judge with what only its training needs: one direction for every person it learns from, and a teacher's head that tells
    the world's true parameters from the vector before it is normalised.
    """

    def __init__(self, net: nn.Module, people: int):
        super().__init__()
        self.net = net
        self.groups = [PERSON_LAYOUT[name] for name in LOOKS_GROUPS]
        self.truth = nn.Linear(net.out.out_features, sum(g.stop - g.start for g in self.groups))
        self.people = nn.Parameter(torch.randn(people, net.out.out_features))

    def looks_part(self, vectors: np.ndarray) -> Tensor:
        return torch.from_numpy(np.concatenate([vectors[:, g] for g in self.groups], axis=1))


def varied(faces: Tensor) -> Tensor:
    """Other framing, light and sharpness: (B, 3, H, W) in [-1, 1]. Robust to what cameras, codecs and generators do to a face."""
    count = len(faces)
    angle, scale = 0.06 * torch.randn(count), torch.exp(0.05 * torch.randn(count))
    move = 0.05 * torch.randn(count, 2)
    rows = [torch.stack([scale * angle.cos(), -scale * angle.sin(), move[:, 0]], 1)]
    rows += [torch.stack([scale * angle.sin(), scale * angle.cos(), move[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(faces.shape), align_corners=False)
    x = F.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    amount = torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5)
    x = x + amount * (soft - x)
    x = (x + 1) * torch.exp(0.10 * torch.randn(count, 1, 1, 1) + 0.05 * torch.randn(count, 3, 1, 1)) - 1
    return (x + 0.03 * torch.rand(count, 1, 1, 1) * torch.randn_like(x)).clamp(-1, 1)


def _half():
    """bfloat16 where it pays: convolutions run twice as fast on processors that have it, and no slower on others."""
    return torch.autocast("cpu", torch.bfloat16)


def _teach_looks(out: Path, judges: Path, world: Lessons, still: Lessons | None, how: Teaching, minutes: float | None) -> dict[str, Any]:
    acts, facts = world_facts()
    parts = [part for part in (world.split()[0], still.split()[0] if still else None) if part is not None and len(part.people)]
    people = np.concatenate([part.people for part in parts])
    faces, vectors = np.concatenate([part.faces for part in parts]), np.concatenate([part.vectors for part in parts])
    rows_of = [np.flatnonzero(people == who) for who in np.unique(people)]
    rows_of = [rows for rows in rows_of if len(rows) > 1]
    if len(rows_of) < 2:
        raise SlotIDError("fewer than 2 people are rendered to train the looks judge on; give it more time.")
    learner = LooksLearner(build(facts, acts)["looks"]["net"], len(rows_of))

    def loss_at(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        who = rng.permutation(len(rows_of))[: how.batch]
        a, b = np.array([rng.choice(rows_of[k], 2, replace=False) for k in who]).T
        rows = np.concatenate([a, b])
        x = varied(signed(faces[rows, rng.integers(0, faces.shape[1], len(rows))]))
        with _half():
            raw = learner.net.raw(x)
        raw = raw.float()
        unit = F.normalize(raw, dim=1)
        pairs = contrast(unit[: len(a)], unit[len(a) :], temperature=0.08, margin=0.15)
        # among all people at once, so that everybody meets everybody who is like him (CosFace, Wang et al. 2018)
        label = torch.from_numpy(np.concatenate([who, who]))
        scores = unit @ F.normalize(learner.people, dim=1).T - 0.2 * F.one_hot(label, len(rows_of))
        named = F.cross_entropy(16 * scores, label)
        truth = F.mse_loss(learner.truth(raw), learner.looks_part(vectors[rows]))
        numbers = {"pairs": float(pairs.detach()), "named": float(named.detach()), "truth": float(truth.detach())}
        return 0.5 * pairs + 0.25 * named + truth, numbers

    taken = school(learner, loss_at, out, steps=how.steps, lr=how.lr, minutes=minutes, seed=how.seed)
    held = world.split()[1]
    quality, scale = grade_looks(learner.net.eval(), held)
    about = {"scale": scale, "quality": quality, "training": {"steps": taken, "people": len(rows_of), "held_out": _count(held)}}
    save_judge(judges, "looks", {"net": learner.net}, about)
    return quality | about["training"]


def _count(part: Lessons) -> int:
    return int(len(np.unique(part.people)))


# --- habits and acts, from curves ----------------------------------------------------------------------------------


class HabitsLearner(nn.Module):
    """The habit judge with a teacher's head: the true habits, told from the vector before it is shortened to the ball."""

    def __init__(self, net: nn.Module, habits: int):
        super().__init__()
        self.net = net
        self.truth = nn.Linear(net.head[-1].out_features, habits)


def _simulation(train: Lessons, how: Teaching, minutes: float | None) -> tuple[Measuring, Bank]:
    until = None if minutes is None else time.monotonic() + 0.3 * minutes * 60
    return fit_measuring(train), perform_bank(range(FIRST + 20_000, FIRST + 20_000 + how.bank), until)


def _set_scale(net: nn.Module, values: np.ndarray) -> None:
    net.scale.copy_(torch.from_numpy(np.maximum(values.reshape(-1, values.shape[-1]).std(axis=0), 1e-3)).float())


def _teach_habits(out: Path, judges: Path, world: Lessons, still: Lessons | None, how: Teaching, minutes: float | None) -> dict[str, Any]:
    begun = time.monotonic()
    acts, facts = world_facts()
    train, held = world.split()
    measuring, known = _simulation(train, how, minutes)
    learner = HabitsLearner(build(facts, acts)["habits"]["net"], known.habits.shape[1])
    _set_scale(learner.net, measuring.curves(known.truth[:64, FILM].astype(np.float32), np.random.default_rng(how.seed))[0])
    real, owned = train.centred(), _owned(train)
    habits = np.concatenate([train.vectors[:, PERSON_LAYOUT[name]] for name in HABIT_GROUPS], axis=1)

    def taught(takes: list[np.ndarray], seen: list[np.ndarray], truth: np.ndarray) -> tuple[Tensor, Tensor]:
        """A film and one or two introductions of the same people: do they find one another, and what do they tell?"""
        with _half():
            raw = learner.net(torch.from_numpy(np.concatenate(takes)), torch.from_numpy(np.concatenate(seen)))
        told = F.mse_loss(learner.truth(raw), torch.from_numpy(truth).repeat(len(takes), 1))
        film, *introductions = in_ball(raw).chunk(len(takes))
        pull = contrast(film, F.normalize(sum(introductions), dim=1), temperature=0.12)
        if len(introductions) == 2:
            pull = (pull + 0.5 * contrast(introductions[0], F.normalize(introductions[1], dim=1), temperature=0.12)) / 1.5
        return pull, told

    def loss_at(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        if rng.random() < min(0.25, len(owned) / 500):  # measured films, where there are enough of them
            picked = np.array([owned[k] for k in rng.permutation(len(owned))[: how.batch]])
            gain = np.exp(rng.normal(0, 0.08, (len(picked), 1, real.shape[2])))
            takes, seen = [(real[column] * gain).astype(np.float32) for column in picked.T], [train.seen[column] for column in picked.T]
            truth = habits[picked[:, 0]]
        else:
            who = rng.integers(0, len(known.truth), how.batch)
            takes, seen = zip(
                *(measuring.curves(known.truth[who, k].astype(np.float32), rng) for k in (FILM, INTRODUCTION, INTRODUCTION + 1)),
                strict=True,
            )
            truth = known.habits[who]
        pull, told = taught(takes, seen, truth)
        # A film that stands still or whose order is lost shows nothing: its vector is drawn to the middle of the ball.
        empty = torch.from_numpy(_empty(takes[0][:48], measuring.noise, rng))
        with _half():
            nothing = learner.net(empty, torch.from_numpy(seen[0][:48])).square().sum(1).clamp(max=4).mean()
        return pull + told + 0.3 * nothing, {"pull": float(pull.detach()), "told": float(told.detach()), "nothing": float(nothing.detach())}

    left = None if minutes is None else max(0.2, minutes - (time.monotonic() - begun) / 60)
    taken = school(learner, loss_at, out, steps=how.steps, lr=how.lr, minutes=left, seed=how.seed)
    quality, scale = grade_habits(learner.net.eval(), held)
    quality["told_by_simulation"] = measuring.told(held)
    training = {"steps": taken, "people": _count(train), "simulated_people": len(known.truth), "held_out": _count(held)}
    save_judge(judges, "habits", {"net": learner.net}, {"scale": scale, "quality": quality, "training": training})
    return quality | training


def _owned(part: Lessons) -> list[tuple[int, int]]:
    """Pairs of rows of one person: a film and an introduction, both well seen."""
    rows = {(int(p), int(i)): k for k, (p, i) in enumerate(zip(part.people, part.index, strict=True)) if part.seen[k].mean() > 0.5}
    return [(k, rows[p, INTRODUCTION]) for (p, i), k in rows.items() if i == FILM and (p, INTRODUCTION) in rows]


def _empty(values: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half the films as one still with a trembling mesh, half with their frames in random order."""
    out = np.empty_like(values)
    for k in range(len(values)):
        if k % 2:
            out[k] = values[k][rng.permutation(len(values[k]))]
        else:
            out[k] = rng.normal(0, rng.choice([0.0, 0.3, 1.0]), values[k].shape) * noise
    return (out - np.median(out, axis=1, keepdims=True)).astype(np.float32)


# --- facts ---------------------------------------------------------------------------------------------------------


class FactsLearner(nn.Module):
    """Acts from curves and everything else from frames, trained side by side."""

    def __init__(self, acts: nn.Module, scene: nn.Module):
        super().__init__()
        self.acts, self.scene = acts, scene


def _teach_facts(out: Path, judges: Path, world: Lessons, still: Lessons | None, how: Teaching, minutes: float | None) -> dict[str, Any]:
    begun = time.monotonic()
    looks, looks_mark = load_looks(judges)  # before the work: real films are kept in features that need it
    acts, facts = world_facts()
    train, held = world.split()
    measuring, known = _simulation(train, how, minutes)
    learner = FactsLearner(**build(facts, acts)["facts"])
    _set_scale(learner.acts, measuring.curves(known.truth[:64, FILM + 1].astype(np.float32), np.random.default_rng(how.seed))[0])
    told = [act_targets([row[k] for row in known.acts], acts) for k in range(BANK_TAKES)]
    real, real_told = train.centred(), act_targets(train.acts, acts)
    parts = [train] + ([still.split()[0]] if still else [])
    frames = np.concatenate([part.frames for part in parts])
    labels = scene_labels([f for part in parts for f in part.facts], facts)
    well = np.flatnonzero(train.seen.mean(axis=1) > 0.3)
    measured = min(how.batch // 3, len(well) // 4)

    def loss_at(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        which, who = int(rng.choice(3, p=[0.15, 0.7, 0.15])), rng.integers(0, len(known.truth), how.batch - measured)
        values, seen = measuring.curves(known.truth[who, which].astype(np.float32), rng)
        own = rng.choice(well, measured, replace=False)
        gain = np.exp(rng.normal(0, 0.08, (measured, 1, real.shape[2]))).astype(np.float32)
        values, seen = np.concatenate([values, real[own] * gain]), np.concatenate([seen, train.seen[own]])
        with _half():
            logits = learner.acts(torch.from_numpy(values), torch.from_numpy(seen))
        act = F.cross_entropy(logits, torch.from_numpy(np.concatenate([told[which][who], real_told[own]])))
        rows = rng.integers(0, len(frames), how.batch // 2)
        x = varied(signed(frames[rows, rng.integers(0, frames.shape[1], len(rows))]))
        with _half():
            found = learner.scene(x)
        scene = sum(F.cross_entropy(found[name].float(), torch.from_numpy(labels[name][rows])) for name in found) / len(found)
        return act + scene, {"act": float(act.detach()), "scene": float(scene.detach())}

    left = None if minutes is None else max(0.2, minutes - (time.monotonic() - begun) / 60)
    taken = school(learner, loss_at, out, steps=how.steps, lr=how.lr, minutes=left, seed=how.seed)
    learner.eval()
    quality = grade_acts(learner.acts, held) | grade_scene(learner.scene, held)
    real_ranges, arrays = real_films(learner.scene, looks, parts, held)
    training = {"steps": taken, "people": _count(train), "simulated_people": len(known.truth), "held_out": _count(held)}
    about = {"quality": quality, "real": real_ranges, "looks_weights": looks_mark, "training": training}
    save_judge(judges, "facts", {"acts": learner.acts, "scene": learner.scene}, about, arrays)
    return quality | training
