"""How good the judges are on held-out people, and what their scale is: measured, never asserted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from slotid.evaluate import metrics
from slotid.evaluate.judges import world_facts
from slotid.evaluate.lessons import FILM, INTRODUCTION, MORE_INTRODUCTIONS, Lessons, scene_labels
from slotid.evaluate.metrics import known_by
from slotid.evaluate.networks import in_ball, pictures
from slotid.types import SlotIDError
from slotid.world.performance import acts_of

LEAST_PEOPLE = 2


def _matched(part: Lessons, film: int, least_seen: float = 0.3) -> tuple[np.ndarray, list[list[int]]]:
    """Rows of take ``film`` and of all introductions, person by person, all with enough frames seen."""
    rows = {(int(p), int(i)): k for k, (p, i) in enumerate(zip(part.people, part.index, strict=True)) if part.seen[k].mean() >= least_seen}
    known = {p: [rows[p, i] for i in (INTRODUCTION, *MORE_INTRODUCTIONS) if (p, i) in rows] for p, _ in rows}
    pairs = [(k, known[p]) for (p, i), k in sorted(rows.items()) if i == film and known[p]]
    if len(pairs) < LEAST_PEOPLE:
        raise SlotIDError(f"{len(pairs)} held-out people are too few to grade a judge; render at least {LEAST_PEOPLE} (more time).")
    return np.array([k for k, _ in pairs]), [intro for _, intro in pairs]


def _scale(similarity: np.ndarray) -> tuple[dict[str, float], float]:
    """(P, P) similarity of films (rows) with people (columns): means of same and of impostor, and AUC over all pairs."""
    own = np.eye(len(similarity), dtype=bool)
    same, other = similarity[own], similarity[~own]
    return {"impostor": float(other.mean()), "same": float(same.mean())}, metrics.auc(same, other)


def grade_looks(net: nn.Module, held: Lessons) -> tuple[dict[str, Any], dict[str, float]]:
    """Verification across scenes: films against people known by their introductions; frame by frame for the scale, by means for the AUC."""
    film, known = _matched(held, FILM)
    vectors = _looks(net, held.faces)  # (N, 4, D)
    template = np.stack([known_by(vectors[rows].mean(axis=1)) for rows in known])
    frames = np.einsum("pfd,qd->pqf", vectors[film], template).mean(axis=2)
    scale, _ = _scale(frames)
    similarity = _unit(vectors[film].mean(axis=1)) @ template.T
    _, auc = _scale(similarity)
    one = _unit(vectors[film].mean(axis=1)) @ _unit(vectors[[rows[0] for rows in known]].mean(axis=1)).T
    ranks = [metrics.rank_of(similarity[k, k], np.delete(similarity[k], k)) for k in range(len(similarity))]
    quality = {"auc": auc, "auc_by_one_clip": _scale(one)[1], "rank1": float(np.mean(np.array(ranks) == 1)), "people": len(film)}
    return quality, scale


def _looks(net: nn.Module, faces: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        flat = net(pictures(faces.reshape(-1, *faces.shape[2:]), faces.shape[2])).numpy()
    return flat.reshape(*faces.shape[:2], -1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def grade_habits(net: nn.Module, held: Lessons) -> tuple[dict[str, Any], dict[str, float]]:
    """Films of acts that show habits against introductions, by measured curves; and what stills and shuffled films get."""
    film, known = _matched(held, FILM)
    vectors = _habits(net, held)
    template = np.stack([known_by(vectors[rows]) for rows in known])
    scale, auc = _scale(vectors[film] @ template.T)
    by_one = _scale(vectors[film] @ _unit(vectors[[rows[0] for rows in known]]).T)[1]
    one = held.of(film)
    still = [np.broadcast_to(np.median(values[seen], axis=0), values.shape) for values, seen in zip(one.curves, one.seen, strict=True)]
    rng = np.random.default_rng(0)
    mixed = [values[rng.permutation(len(values))] for values in one.curves]
    lost = {}
    for name, curves in (("still", still), ("shuffled", mixed)):
        found = _habits(net, replace(one, curves=np.array(curves, np.float32)))
        lost[name] = float((found * template).sum(axis=1).mean())
    return {"auc": auc, "auc_by_one_clip": by_one, "people": len(film), **lost}, scale


def _habits(net: nn.Module, part: Lessons) -> np.ndarray:
    with torch.no_grad():
        return in_ball(net(torch.from_numpy(part.centred()), torch.from_numpy(part.seen))).numpy()


def grade_acts(net: nn.Module, held: Lessons) -> dict[str, Any]:
    """Accuracy on held-out films: single acts by the likeliest one; scripts of two by both among the two likeliest."""
    acts, _ = world_facts()
    part = held.of([k for k in range(len(held.people)) if held.seen[k].mean() >= 0.3])
    if not len(part.people):
        raise SlotIDError("no held-out film shows a face: the acts judge cannot be graded; render more people.")
    with torch.no_grad():
        logits = net(torch.from_numpy(part.centred()), torch.from_numpy(part.seen)).numpy()
    single, double = [], []
    for row, fact in zip(logits, part.acts, strict=True):
        wanted = acts_of(fact)
        top = [acts[k] for k in np.argsort(-row)[: len(wanted)]]
        (single if len(wanted) == 1 else double).append(set(top) == set(wanted))
    quality: dict[str, Any] = {"acts": float(np.mean(single)) if single else 0.0, "act_films": len(single)}
    return quality | ({"acts_of_two": float(np.mean(double))} if double else {})


def grade_scene(net: nn.Module, held: Lessons) -> dict[str, float]:
    """Accuracy of light, background, colour, garment and framing on held-out films, from the mean over a film's frames."""
    _, names = world_facts()
    labels = scene_labels(held.facts, names)
    flat = held.frames.reshape(-1, *held.frames.shape[2:])
    with torch.no_grad():
        found = net(pictures(flat, flat.shape[1]))
    count = len(held.people)
    return {
        name: float(
            (logits.log_softmax(1).reshape(count, -1, logits.shape[1]).mean(1).argmax(1) == torch.from_numpy(labels[name])).float().mean()
        )
        for name, logits in found.items()
    }


def real_films(
    scene: nn.Module, looks: nn.Module, known: list[Lessons], held: Lessons
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Ranges of strangeness, jitter and flicker over held-out real films; mean and covariance of the frame features of ``known`` ones."""

    def features(part: Lessons) -> np.ndarray:
        with torch.no_grad():
            flat = [x.reshape(-1, *x.shape[2:]) for x in (part.frames, part.faces)]
            both = [scene.features(pictures(flat[0], 64)).numpy(), looks.raw(pictures(flat[1], 64)).numpy()]
        return np.concatenate(both, axis=1).reshape(len(part.people), -1, both[0].shape[1] + both[1].shape[1])

    mean, cov = metrics.gaussian(np.concatenate([film for part in known for film in features(part)]))
    strange = [metrics.strangeness(one, mean, cov) for one in features(held)]
    values = {"strangeness": np.array(strange), "jitter": held.unrest[:, 0], "flicker": held.unrest[:, 1]}
    ranges = {name: np.nanpercentile(value, [5, 95]).tolist() for name, value in values.items()}
    return ranges, {"real_mean": mean, "real_cov": cov}
