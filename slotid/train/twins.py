"""What an expression changes in a film: the film less its calm twin, the same take with the face held still (``world render --calm``).

A film that is being drawn shows at t what the base itself has drawn into it until then. In training it shows the truth, so that an
expression needs only be read off the film and the plan of it is hardly asked: exposure bias, for which Ning et al. 2023 (arXiv 2301.11706)
perturb what a diffusion model learns from. Given calm twins with noise and the plan of the lively film, the base of the fifteenth training
showed 0.1 to 0.3 of the expressions at t = 0.4 and 0.06 to 0.18 at t = 0.25, where the face is plain to see; given the lively films
themselves, 0.7 to 0.9 (LOG.md, sixteenth session). What it does not draw at first it never draws.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from slotid import flow
from slotid.train.calibrate import told_films
from slotid.train.pairs import Latents, latent_scale
from slotid.types import SlotIDError

MISTAKEN = 0.5  # share of the films that show less of their expressions than their plan tells, or those of another moment
EXPRESSED = 0.7  # weight of what of an expression is not shown, see ``missed``
ASKED_AT = (0.8, 0.6, 0.4, 0.25)  # times at which ``shown`` asks
BANDS = (0, 3, 12, 24, 48)  # between these, counted from the first of the picture, are coarse to fine latent channels


def calm_films(clips: Latents, twins: Latents) -> Tensor:
    """(N, C, T, h, w) the calm twin of each of ``clips``; the film itself where it has none, as if its face were still.

    Raises SlotIDError when not one of them has a twin.
    """
    pairs = _pairs(clips, twins)
    calm = clips.films.clone()
    calm[pairs[:, 0]] = twins.films[pairs[:, 1]]
    return calm


def with_twins(clips: Latents, twins: Latents) -> tuple[Latents, Tensor]:
    """Those of the clips that have a calm twin, and their twins (N, C, T, h, w). Raises SlotIDError when none has."""
    rows, which = _pairs(clips, twins).unbind(1)
    parts = {name: value[rows] for name, value in vars(clips).items() if torch.is_tensor(value)}
    parts |= {name: getattr(clips, name)[rows.numpy()] for name in ("people", "index", "reference")}
    return replace(clips, **parts, facts=[clips.facts[row] for row in rows.tolist()]), twins.films[which]


def _pairs(clips: Latents, twins: Latents) -> Tensor:
    """(K, 2) rows of ``clips`` that have a calm twin, and of ``twins``."""
    rows = {key: row for row, key in enumerate(zip(twins.people.tolist(), twins.index.tolist(), strict=True))}
    found = [rows.get(key, -1) for key in zip(clips.people.tolist(), clips.index.tolist(), strict=True)]
    pairs = torch.tensor([(row, twin) for row, twin in enumerate(found) if twin >= 0])
    if not len(pairs):
        raise SlotIDError("No film has a calm twin: render the same people with the same options and --calm.")
    return pairs


def mistaken(lively: Tensor) -> Tensor:
    """What is to be added to films (B, C, T, h, w) so that MISTAKEN of them show, by an even share of it, less of ``lively`` (what their
    expressions change) or that of another moment."""
    count, device = len(lively), lively.device
    later = int(torch.randint(1, max(2, lively.shape[2]), ()))
    chances = torch.rand(3, count, 1, 1, 1, 1).to(device)
    other = (chances[0] < 0.5) * lively.roll(later, 2)
    return chances[1] * (chances[2] < MISTAKEN) * (other - lively)


def missed(error: Tensor, lively: Tensor, weight: Tensor) -> Tensor:
    """How much of the expressions a prediction lacks or overdoes, as a share of all there is of them, 0 for none.

    ``error`` (prediction less truth) and ``lively`` are (B, C, T, h, w), ``weight`` is broadcast to them. In each channel of each frame
    the error is projected on what the expression changes there, so that what else is wrong does not count.
    """
    there = (weight * lively.square()).sum((-2, -1))
    along = (weight * error * lively).sum((-2, -1))
    return (along.square() / there.clamp_min(1e-6)).sum() / there.sum().clamp_min(1e-3)


def shown_of(job) -> dict[str, Any]:
    """``shown`` by the trained base of a ``recipes.Job`` on its clips, which nothing should have learned from, and their calm twins."""
    from slotid.train.base import PersonEmbedder
    from slotid.train.recipes import latents, trained_base, twins_of

    backbone = trained_base(job)
    clips, calm = latents(job, backbone.vae, (job.clips, twins_of(job)))
    return shown(backbone, PersonEmbedder(), clips, calm_films(clips, calm))


@torch.no_grad()
def shown(backbone, embedder, clips: Latents, calm: Tensor, count: int = 32, seed: int = 0) -> dict[str, dict[str, list[float]]]:
    """How much of what expressions change in the cells of a face one forward shows, told person, scene and motion: 1 for all of it.

    Asked from the film itself with noise (``lively``), where it can be read off, and from its ``calm`` twin, where the plan alone tells it.

    Returns:
        {"lively" or "calm": {t of ASKED_AT: shares of the channels between BANDS}}.
    """
    spec, (mean, std) = backbone.spec, latent_scale(backbone)
    told = torch.zeros(2, len(ASKED_AT), spec.channels)
    there = torch.zeros(spec.channels)
    for one in told_films(backbone, embedder, clips, count, seed):
        still = (calm[one.rows].float() - mean) / std
        weight, lively = one.weight - 1, one.film - still
        there += (weight * lively.square()).sum((0, 2, 3, 4))
        for kind, start in enumerate((one.film, still)):
            for number, t in enumerate(ASKED_AT):
                x = flow.at(start, one.noise, t)
                drawn = flow.clean(x, backbone.velocity(x, t, one.text, one.given), t) - still
                told[kind, number] += (weight * drawn * lively).sum((0, 2, 3, 4))
    bands = [slice(spec.noise_shared + low, spec.noise_shared + high) for low, high in zip(BANDS, BANDS[1:], strict=False)]
    share = torch.stack([told[..., band].sum(-1) / there[band].sum().clamp_min(1e-6) for band in bands], -1)
    return {
        name: {f"{t:g}": [round(value, 3) for value in values.tolist()] for t, values in zip(ASKED_AT, table, strict=True)}
        for name, table in zip(("lively", "calm"), share, strict=True)
    }
