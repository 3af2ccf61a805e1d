"""The world's truth about motion: curves played again, and channels that film them beside the picture. In training only; no judge sees any
of it, and it sees no judge.

What an act does to a film is lost among what the head does: told an act, 46 % of the variance of the expression curves is known, and of
the film's own change over time nothing (0.00, as with a wrong act), because where the head will turn is not told. A base trained on pixels
alone did not use the act at all. Lessons, by which a middle layer had to tell the curves and the film to show them, made it hear acts, and
still it lost them where their phase has to be told from noise (LOG.md, fourth to ninth training).

So what moves is filmed beside the picture, as VideoJAM (Chefer et al. 2025, arXiv 2502.02492) has a video model predict optical flow with
appearance: the base denoises both at once and plans an act before it draws it. Here the channels hold the curves that the film was
rendered from. Every cell of a frame holds the same numbers, and so does its noise (``flow.placed``), which is the mean of the cells'
over ``Spec.noise_ahead`` and hides them a sixteenth as much as it hides a cell of the picture: they are decided first, by the sentence and
by the person's habits. A visitor's film begins from noise in them as in all others; nothing of the world is needed to make it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Basis = tuple[Tensor, Tensor]  # mean (M,) and directions (M, count) of the channels
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
    return curves_of(perform(person(record.person).habits, script, take_seed(record.person, record.index), len(seconds), fps))


def curves_of(motion) -> np.ndarray:
    """(T, M) float32 curves of a played ``Motion``, as ``motion_of``."""
    return np.concatenate([motion.expressions, motion.head / 10, motion.gaze / 10], axis=1).astype(np.float32)


def scale_of(curves: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (M,) of curves (..., M)."""
    flat = curves.flatten(0, -2)
    return flat.mean(0), flat.std(0).clamp_min(LEAST_SPREAD)


def in_deviations(curves: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """Curves (..., M) less the mean, in deviations, of ``scale_of``."""
    mean, spread = scale
    return (curves.float() - mean) / spread


def motion_basis(count: int) -> Basis:
    """Mean (M,) and the first ``count`` principal directions (M, count) of what training people play, strongest first.

    Projected on, they fall from a deviation of FIRST to LAST. Played anew each time (2 s); directions nearly as strong as one another may
    come out turned on another machine, so a training keeps those it began with (``recipes``).
    """
    from slotid.world.habits import sample_habits
    from slotid.world.performance import EXPRESSIONS, perform, reference_script, sample_script
    from slotid.world.take import take_seed

    played = []
    for person in range(PERFORMERS):
        for index, script in enumerate((sample_script, reference_script)):
            seed = take_seed(person, index)
            played.append(curves_of(perform(sample_habits(person), script(seed), seed, 33, 12.0)))
    curves = np.concatenate(played).astype(np.float64)
    weight = np.ones(curves.shape[1])
    weight[len(EXPRESSIONS) :] = HEAD_SHARE
    spread, directions = np.linalg.eigh(np.cov((curves * weight).T))
    order = np.argsort(-spread)[:count]
    directions = weight[:, None] * directions[:, order] / np.sqrt(np.maximum(spread[order], 1e-9))
    directions *= np.where(directions[np.abs(directions).argmax(0), np.arange(count)] < 0, -1, 1)  # eigh's signs are anyone's
    directions = np.ascontiguousarray(directions * np.linspace(FIRST, LAST, count))
    return torch.from_numpy(curves.mean(0)).float(), torch.from_numpy(directions).float()


def motion_channels(curves: Tensor, basis: Basis) -> Tensor:
    """Curves (..., M) as ``motion_of`` gives them -> (..., count), told in ``basis``."""
    mean, directions = basis
    return (curves - mean) @ directions


def fill_motion(films: Tensor, curves: Tensor, basis: Basis) -> None:
    """Writes the motion (N, T, M) of films (N, C, T, h, w) into their first channels, as many as ``basis`` has, the same in every cell."""
    told = motion_channels(curves, basis).transpose(1, 2)  # (N, count, T)
    films[:, : told.shape[1]] = told[..., None, None].to(films.dtype)
