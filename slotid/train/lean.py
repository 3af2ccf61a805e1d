"""Puts a landed variant on Slot-ID's own trunk, so that all weights fit in 60 MB: ``train lean --method attention``, then ``mean``.

The variants began as one encoder, and their trunks (how cells are embedded and mixed, and how slots are refined) have stayed 7 to 15 % from
Slot-ID's. Here a variant takes Slot-ID's, and what it reads with learns to say what it said before (distillation, Hinton et al. 2015,
arXiv 1503.02531). What says the same in three methods is then kept once (``weights.share``).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from slotid.identity.slots import HABIT_SLOTS, SlotID
from slotid.train.loop import Learner, Plan, fit, load_weights
from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.train.recipes import Job

TRUNK = ("embed.", "cells.", "mixing.", "slot_mlp.")
KEPT = ("gate.", "out_")  # a habit's gate opens by what is heard, which is not played here: it must stay as it is
LEAST_FRAMES = 6  # of a clip that it learns from
HIDDEN = 0.05  # share of its frames


class LeanLearner(Learner):
    """A variant on another trunk that learns to say what it said on its own. What habit slots hear goes along unchanged: of them only the
    plan, which weighs moments, is asked."""

    def __init__(self, method: SlotID, trunk: SlotID):
        """``method`` as it landed; it is left as it is. ``trunk``: whose trunk is taken."""
        super().__init__()
        self.before = [_deaf(method)]  # in a list: neither trained nor saved
        self.method = _deaf(method)
        self.method.load_state_dict(self.method.state_dict() | {k: v for k, v in trunk.state_dict().items() if k.startswith(TRUNK)})
        for name, parameter in self.method.named_parameters():
            parameter.requires_grad_(not name.startswith((*TRUNK, *KEPT)))

    def beside(self) -> list[nn.Module]:
        return self.before

    def forward(self, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Latents, seconds, seen and anchor index as ``SlotID.encode`` takes them."""
        with torch.no_grad():
            asked = said(self.before[0], *batch)
        return sum(share.mean() for share in off(said(self.method, *batch), asked))


def _deaf(method: SlotID) -> SlotID:
    """A copy without ears."""
    copy = type(method)(replace(method.config, movement=False))
    copy.load_state_dict({k: v for k, v in method.state_dict().items() if not k.startswith("movement.")})
    return copy


def said(method: SlotID, latents: Tensor, seconds: Tensor, seen: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens of anchors and looks (B, A + 5, D), how open their gates are (B, 5, 1), the moments' weights of the habit slots (B, 3, T), of
    mean 1, and anchors (B, A, width), by which the gates of all slots open."""
    e, looks = method.encode(latents, seconds, seen, anchor), HABIT_SLOTS[0]
    moments = e.plans[-1][:, list(HABIT_SLOTS)].sum((3, 4)) * seen.sum(1)[:, None, None] / e.mass[:, list(HABIT_SLOTS), None]
    return method.tokens(e)[:, : method.config.anchors + looks], e.gates[:, :looks, None], moments, e.anchors


def off(told: tuple[Tensor, ...], asked: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Squared errors of what is ``said``: of each token (A + 5,), as a share of how far people differ in it; of gates, of moments, of
    anchors."""
    spread = (asked[0] - asked[0].mean(0)).square().mean((0, 2)).clamp_min(1e-6)
    errors = [(one - other).square() for one, other in zip(told, asked, strict=True)]
    return errors[0].mean((0, 2)) / spread, *errors[1:]


def lean(job: Job, plan: Plan) -> dict[str, Any]:
    """Writes the method in ``job.assets`` again, on Slot-ID's trunk, and keeps once what all methods that hear have in common."""
    from slotid.identity.variants import VARIANTS
    from slotid.train.movement_recipes import EARLESS, split, thinned_lora
    from slotid.train.pairs import latent_scale
    from slotid.train.recipes import latents, new_backbone

    home = job.assets / "identity"
    kinds = {kind.name: kind for kind in VARIANTS if kind.name not in (SlotID.name, EARLESS)}
    if job.method not in kinds:
        raise SlotIDError(f"Method '{job.method}' does not stand on Slot-ID's trunk; choose one of {', '.join(kinds)} (--method).")
    kind = kinds[job.method]
    method, trunk = kind.from_pretrained(home / kind.name), SlotID.from_pretrained(home / SlotID.name)
    backbone = new_backbone(job)
    (data,) = latents(job, backbone.vae, (job.clips,))
    mean, std = (value.view(1, 1, -1, 1, 1) for value in latent_scale(backbone))
    known, _, held = split(data.people)
    learner = LeanLearner(method, trunk)

    def clips(rows: np.ndarray, rng: np.random.Generator | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        most = data.crops.shape[1]
        count = most if rng is None else int(rng.integers(min(LEAST_FRAMES, most), most + 1))
        start = 0 if rng is None else int(rng.integers(most - count + 1))
        run, which = slice(start, start + count), torch.from_numpy(rows)
        seen, anchor = np.ones((len(rows), count), bool), np.full(len(rows), count // 2)
        if rng is not None:
            seen, anchor = rng.random(seen.shape) > HIDDEN, rng.integers(0, count, len(rows))
            seen[np.arange(len(rows)), anchor] = True
        crops = (data.crops[which, run].float() - mean) / std
        return crops, data.seconds[which, run], torch.from_numpy(seen), torch.from_numpy(anchor)

    found = fit(
        learner,
        plan,
        job.out / f"{kind.name}_lean",
        lambda rng, step: clips(rng.choice(known, plan.batch), rng),
        lambda module, batch: (module(batch), {}),
        minutes=job.minutes,
    )
    load_weights(learner, job.out / f"{kind.name}_lean" / "checkpoint")
    learner.to("cpu")
    with torch.no_grad():
        batch = clips(held, None)
        tokens, *_ = off(said(learner.method, *batch), said(learner.before[0], *batch))
    if found["step"] >= plan.steps:  # what has stopped early goes on with the same command, and does not land
        method.load_state_dict(method.state_dict() | learner.method.state_dict())
        folder = home / kind.name
        about = json.loads((folder / "config.json").read_text())
        method.save_pretrained(folder, "tiny", thinned_lora(backbone, folder), recipe=about["recipe"], half=True)
        share_trunk(home)
    return {"off": [round(float(value), 3) for value in tokens], "written": found["step"] >= plan.steps}


def share_trunk(home: Path) -> None:
    """Keeps once what the methods of ``home`` that hear have in common: the frame reader, and the trunk once all of them stand on one."""
    from slotid.identity.variants import VARIANTS
    from slotid.identity.weights import share

    landed = {home / kind.name: kind.from_pretrained(home / kind.name) for kind in VARIANTS if (home / kind.name).is_dir()}
    hearing = {folder: method.state_dict() for folder, method in landed.items() if method.movement is not None}
    first = next(iter(hearing.values()), {})
    trunk = [name for name in first if name.startswith(TRUNK)]
    same = all(torch.equal(weights[name], first[name]) for weights in hearing.values() for name in trunk)
    if hearing:
        share(list(hearing), ("movement.reader.", *TRUNK) if same else ("movement.reader.",))
