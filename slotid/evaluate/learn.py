"""Training the judges: ``run_recipe("judge_looks", out)``. Resumable; a short run gives a short run's judge.

Order: judge_looks, judge_habits, judge_facts (the last keeps the statistics of real films, in features that need the looks judge).
Every recipe renders its lessons first (kept, and shared by all recipes in one folder), trains, and grades itself on held-out people;
that grade goes into the judge's JSON and from there into every report.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.evaluate import lessons as lessons_of
from slotid.evaluate.grade import grade_acts, grade_habits, grade_looks, grade_scene, real_films
from slotid.evaluate.judges import HOME, build, load_looks, save_judge, world_facts
from slotid.evaluate.lessons import ANY, FILM, HELD_OUT, INTRODUCTION, Lessons, act_targets, note, scene_labels
from slotid.evaluate.networks import contrast, in_ball
from slotid.evaluate.schooling import school
from slotid.evaluate.simulate import Bank, fit_measuring, perform_bank
from slotid.types import SlotIDError
from slotid.world.person import PERSON_LAYOUT
from slotid.world.splits import SPLITS

RECIPES = ("judge_looks", "judge_habits", "judge_facts")
LOOKS_GROUPS = ("shape", "skin", "hair", "trim")
FIRST = SPLITS["judges"].start


def run_recipe(
    name: str,
    out: str | Path,
    kit: str | None = None,
    minutes: float | None = None,
    *,
    data: str | Path | None = None,
    judges: str | Path | None = None,
    films: int = 600,
    stills: int = 4000,
    held: int = 96,
    bank: int = 6000,
    steps: int = 20_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Renders what is missing, trains, grades, and writes the judge into ``judges``.

    Args:
        name: one of RECIPES.
        out: where checkpoints go; the same folder goes on where it was.
        kit: the packed head kit (None: SLOTID_HEADKIT or the cache folder).
        minutes: of wall time for everything but grading; None: until all people are rendered and all steps taken. With less, the
            judge is what that time gives, and says so in its grade.
        data: folder of rendered lessons, shared by the three recipes (None: ``out``'s neighbour "judge_world").
        judges: folder of the judges (None: assets/judges).
        films, stills: how many people to render as films and as stills for training; ``held``: as films for grading.
        bank: people whose performances are simulated (they are the judges' own people too).

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
    begun = time.monotonic()
    share = {"judge_looks": 0.5, "judge_habits": 0.3, "judge_facts": 0.25}[name]
    until = begun + share * minutes * 60 if minutes is not None else float("inf")
    if name != "judge_habits":
        _render_stills(data, kit, stills, until, share_of_films=0.4 if minutes is not None else 1.0)
    _render_films(data, kit, films, held, until)
    world = lessons_of.read(data / "films", False, note)
    still = lessons_of.read(data / "stills", True, note) if (data / "stills").is_dir() and name != "judge_habits" else None
    left = None if minutes is None else max(0.2, minutes - (time.monotonic() - begun) / 60)
    teach = {"judge_looks": _teach_looks, "judge_habits": _teach_habits, "judge_facts": _teach_facts}[name]
    return teach(out, judges, world, still, left, steps, bank, seed)


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
    """The looks judge with a teacher's head: the world's true parameters, told from the vector before it is normalised."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net
        self.groups = [PERSON_LAYOUT[name] for name in LOOKS_GROUPS]
        self.truth = nn.Linear(net.out.out_features, sum(g.stop - g.start for g in self.groups))

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


def _to_tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _teach_looks(
    out: Path, judges: Path, world: Lessons, still: Lessons | None, minutes: float | None, steps: int, bank: int, seed: int
) -> dict[str, Any]:
    acts, facts = world_facts()
    learner = LooksLearner(build(facts, acts)["looks"]["net"])
    parts = [part for part in (world.split()[0], still.split()[0] if still else None) if part is not None and len(part.people)]
    people = np.concatenate([part.people for part in parts])
    faces, vectors = np.concatenate([part.faces for part in parts]), np.concatenate([part.vectors for part in parts])
    rows_of = [np.flatnonzero(people == who) for who in np.unique(people)]
    rows_of = [rows for rows in rows_of if len(rows) > 1]
    if len(rows_of) < 2:
        raise SlotIDError("fewer than 2 people are rendered to train the looks judge on; give it more time.")

    def loss_at(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        who = rng.permutation(len(rows_of))[:32]
        a, b = np.array([rng.choice(rows_of[k], 2, replace=False) for k in who]).T
        rows = np.concatenate([a, b])
        x = varied(_to_tensor(faces[rows, rng.integers(0, faces.shape[1], len(rows))]))
        raw = learner.net.raw(x)
        unit = F.normalize(raw, dim=1)
        margin = contrast(unit[: len(a)], unit[len(a) :], temperature=0.08, margin=0.15)
        truth = F.mse_loss(learner.truth(raw), learner.looks_part(vectors[rows]))
        return margin + truth, {"margin": float(margin.detach()), "truth": float(truth.detach())}

    taken = school(learner, loss_at, out, steps=steps, lr=1e-3, minutes=minutes, seed=seed)
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


def _set_scale(net: nn.Module, values: np.ndarray) -> None:
    net.scale.copy_(torch.from_numpy(np.maximum(values.reshape(-1, values.shape[-1]).std(axis=0), 1e-3)).float())


def _hide(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Frames in which the face is found: nearly all."""
    return torch.from_numpy(rng.random(shape) > 0.03 * (rng.random((shape[0], 1)) < 0.3))


def _teach_habits(
    out: Path, judges: Path, world: Lessons, still: Lessons | None, minutes: float | None, steps: int, bank: int, seed: int
) -> dict[str, Any]:
    begun = time.monotonic()
    acts, facts = world_facts()
    train, held = world.split()
    measuring = fit_measuring(train)
    known = perform_bank(range(FIRST + 20_000, FIRST + 20_000 + bank), _until(minutes, 0.4))
    learner = HabitsLearner(build(facts, acts)["habits"]["net"], known.habits.shape[1])
    rng = np.random.default_rng(seed)
    _set_scale(learner.net, measuring.curves(known.truth[:64, FILM].astype(np.float32), rng))
    real, real_seen = train.centred(), train.seen
    owned = _owned(train)

    def loss_at(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        if rng.random() < min(0.3, len(owned) / 1000):  # measured films, where there are enough of them
            picked = [owned[k] for k in rng.permutation(len(owned))[:48]]
            values = [real[[pair[side] for pair in picked]] for side in (0, 1)]
            seen = [torch.from_numpy(real_seen[[pair[side] for pair in picked]]) for side in (0, 1)]
            truth = torch.from_numpy(train.vectors[[pair[0] for pair in picked]][:, PERSON_LAYOUT["smile"].start :])
        else:
            who = rng.integers(0, len(known.truth), 48)
            pair = [(FILM, INTRODUCTION), (INTRODUCTION, FILM), (ANY, INTRODUCTION)][int(rng.choice(3, p=[0.45, 0.4, 0.15]))]
            values = [measuring.curves(known.truth[who, k].astype(np.float32), rng) for k in pair]
            seen = [_hide(v.shape[:2], rng) for v in values]
            truth = torch.from_numpy(known.habits[who])
        raw = [learner.net(torch.from_numpy(v), s) for v, s in zip(values, seen, strict=True)]
        pull = contrast(in_ball(raw[0]), in_ball(raw[1]), temperature=0.12)
        told = sum(F.mse_loss(learner.truth(r), truth) for r in raw) / 2
        # A film that stands still or whose order is lost shows nothing: its vector is drawn to the middle of the ball.
        empty = _empty(values[0], measuring.noise, rng)
        nothing = learner.net(torch.from_numpy(empty), seen[0]).square().sum(1).clamp(max=4).mean()
        return pull + told + 0.3 * nothing, {"pull": float(pull.detach()), "told": float(told.detach()), "nothing": float(nothing.detach())}

    left = None if minutes is None else max(0.2, minutes - (time.monotonic() - begun) / 60)
    taken = school(learner, loss_at, out, steps=steps, lr=1.5e-3, minutes=left, seed=seed)
    quality, scale = grade_habits(learner.net.eval(), held)
    quality["told_by_simulation"] = measuring.told
    training = {"steps": taken, "people": _count(train), "simulated_people": len(known.truth), "held_out": _count(held)}
    save_judge(judges, "habits", {"net": learner.net}, {"scale": scale, "quality": quality, "training": training})
    return quality | training


def _until(minutes: float | None, share: float) -> float | None:
    return None if minutes is None else time.monotonic() + share * minutes * 60


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


def _teach_facts(
    out: Path, judges: Path, world: Lessons, still: Lessons | None, minutes: float | None, steps: int, bank: int, seed: int
) -> dict[str, Any]:
    begun = time.monotonic()
    looks, looks_mark = load_looks(judges)  # before the work: real films are kept in features that need it
    acts, facts = world_facts()
    train, held = world.split()
    measuring = fit_measuring(train)
    known: Bank = perform_bank(range(FIRST + 20_000, FIRST + 20_000 + bank), _until(minutes, 0.3))
    learner = FactsLearner(**build(facts, acts)["facts"])
    rng = np.random.default_rng(seed)
    _set_scale(learner.acts, measuring.curves(known.truth[:64, ANY].astype(np.float32), rng))
    told = [act_targets([row[k] for row in known.acts], acts) for k in range(known.truth.shape[1])]
    parts = [train] + ([still.split()[0]] if still else [])
    frames = np.concatenate([part.frames for part in parts])
    labels = scene_labels([f for part in parts for f in part.facts], facts)
    takes = np.array([0.2, 0.6, 0.2])

    def loss_at(rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        which = int(rng.choice(3, p=takes))
        who = rng.integers(0, len(known.truth), 64)
        values = measuring.curves(known.truth[who, which].astype(np.float32), rng)
        logits = learner.acts(torch.from_numpy(values), _hide(values.shape[:2], rng))
        act = F.cross_entropy(logits, torch.from_numpy(told[which][who]))
        rows = rng.integers(0, len(frames), 32)
        x = varied(_to_tensor(frames[rows, rng.integers(0, frames.shape[1], len(rows))]))
        found = learner.scene(x)
        scene = sum(F.cross_entropy(found[name], torch.from_numpy(labels[name][rows])) for name in found) / len(found)
        return act + scene, {"act": float(act.detach()), "scene": float(scene.detach())}

    left = None if minutes is None else max(0.2, minutes - (time.monotonic() - begun) / 60)
    taken = school(learner, loss_at, out, steps=steps, lr=1.5e-3, minutes=left, seed=seed)
    learner.eval()
    quality = grade_acts(learner.acts, held) | grade_scene(learner.scene, held)
    real, arrays = real_films(learner.scene, looks, train, held)
    training = {"steps": taken, "people": _count(train), "simulated_people": len(known.truth), "held_out": _count(held)}
    about = {"quality": quality, "real": real, "looks_weights": looks_mark, "training": training}
    save_judge(judges, "facts", {"acts": learner.acts, "scene": learner.scene}, about, arrays)
    return quality | training
