"""Slot-ID on a frozen backbone, as the paper trains it: encoder, gates, projection, LoRA on cross-attention; target: the base's velocity.

The world knows the truth, which makes two cheap teachers, both gone afterwards. *Reading*: small heads predict the person's true
parameters from each slot, so that slot s comes to mean one thing (shape, skin, ..., the habit of nodding). *Meeting*: identity tokens are
drawn to the tokens by which the base was told persons while it was trained (``base.PersonEmbedder``). *Watching*: what is known of a
frame before the routing has to tell the true curves of expression and head, as a layer of the base had to: habits are read from those.
Where a clip does not show something, its gate is the cheapest way to say so. The flow loss then decides, on pairs that share a person
but no scene, light or act.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid import flow
from slotid.identity.slots import Encoded, SlotID
from slotid.train.base import FEW, TOKENS, PersonEmbedder, how_often, moments, take_batch, time_weight, told_groups
from slotid.train.loop import Learner, Plan, device_here, fit
from slotid.train.motion import in_deviations
from slotid.train.pairs import Latents, latent_scale, partners
from slotid.train.phrasings import Phrasings
from slotid.types import Conditioning

Scale = tuple[Tensor, Tensor]  # mean and deviation
HABITS = ("smile", "talk", "pose")
ANCHORS = (0, 2, 3, 4)  # of TOKENS: what one picture can tell
WATCHED = 0.5  # weight of the lesson about the frames' motion


class SlotLearner(Learner):
    """The method with its training-only heads. ``lora`` shares the backbone's new weights; the backbone itself is not registered.

    ``motion``: mean and deviation (M,) of the curves of motion; None: frames are not asked about them.
    """

    def __init__(self, method: SlotID, backbone, embedder: PersonEmbedder, lora: nn.Module | None, motion: Scale | None = None):
        super().__init__()
        self.method, self.lora = method, lora
        self.backbone, self.teacher = [backbone], [embedder.requires_grad_(False).eval()]  # in lists: not trained, not saved
        width = method.config.width
        self.layout = told_groups()
        self.heads = nn.ModuleList(nn.Linear(width, g.stop - g.start) for g in self.layout)
        self.weigh(torch.ones(max(g.stop for g in self.layout)))
        for name, value in zip(("centre", "spread"), motion or (None, None), strict=True):
            self.register_buffer(name, value, persistent=False)
        self.watch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(motion[0]))) if motion is not None else None
        self.anchor_heads = nn.ModuleList(nn.Linear(width, self.layout[k].stop - self.layout[k].start) for k in ANCHORS)

    def weigh(self, weight: Tensor) -> None:
        """``weight``: (D,) what an error in each of a person's numbers costs, as ``visible_weight``; at first all cost the same."""
        self.register_buffer("weight", weight, persistent=False)

    def beside(self) -> list[nn.Module]:
        return [*self.teacher, *self.backbone[0].parts().values()]

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        found = self.method.encode(batch["crops"], batch["seconds"], batch["seen"], batch["anchor"])
        tokens = self.method.tokens(found)
        losses = {**self._reading(found, batch), "meet": self._meeting(tokens, batch)}
        total = losses["looks"] + losses["habits"] + 0.5 * losses["still"] + batch["meet"] * losses["meet"]
        if self.watch is not None:
            losses["watch"] = self._watching(found, batch)
            total = total + WATCHED * losses["watch"]
        if batch.get("x0") is not None:
            losses["flow"] = self._flow(tokens, batch)
            total = 0.3 * total + losses["flow"]
        return total, {k: v.detach() for k, v in losses.items()} | {"gate": found.gates.detach().mean()}

    def _reading(self, found: Encoded, batch: dict) -> dict[str, Tensor]:
        vectors, moving = batch["vectors"], batch["moving"]
        looks, habits = [], []
        for s, (head, group) in enumerate(zip(self.heads, self.layout, strict=True)):
            error = ((head(found.slots[:, s]) - vectors[:, group]).square() * self.weight[group]).mean(-1)
            if TOKENS[s] in HABITS:  # a few still moments do not show habits
                habits.append((error * moving).sum() / moving.sum().clamp_min(1))
            else:
                looks.append(error.mean())
        still = [
            ((head(found.anchors[:, a]) - vectors[:, self.layout[k]]).square() * self.weight[self.layout[k]]).mean()
            for a, (head, k) in enumerate(zip(self.anchor_heads, ANCHORS, strict=True))
        ]
        return {"looks": torch.stack(looks).mean(), "habits": torch.stack(habits).mean(), "still": torch.stack(still).mean()}

    def _watching(self, found: Encoded, batch: dict) -> Tensor:
        error = (self.watch(found.frames) - in_deviations(batch["motion"], (self.centre, self.spread))).square().mean(-1)
        seen = batch["seen"].to(error)
        return (error * seen).sum() / seen.sum()

    def _meeting(self, tokens: Tensor, batch: dict) -> Tensor:
        with torch.no_grad():
            wanted = self.teacher[0](batch["vectors"])
        count = self.method.config.anchors
        size = wanted.square().mean()
        # anchors are kept quiet: what a slot means is told by the slot alone, or to take it away or to swap it would change nothing
        anchors = tokens[:, :count].square().mean()
        error = torch.stack([self._apart(tokens[:, count + s] - wanted[:, s], s) for s in range(wanted.shape[1])], 1)
        shown = torch.tensor([name not in HABITS for name in TOKENS], dtype=torch.float32, device=error.device)
        weight = torch.maximum(shown[None], batch["moving"][:, None])
        return (0.5 * anchors + (error * weight).sum() / weight.sum()) / size

    def _apart(self, error: Tensor, group: int) -> Tensor:
        """(B,) mean square of a token's error (B, width), what stands for the person's numbers weighed as those are."""
        turn = getattr(self.teacher[0], f"turn{group}")  # its columns are at right angles and equally long
        inside = error @ turn / turn.square().sum(0).sqrt()  # (B, numbers of the group)
        return (error.square().sum(-1) + (inside.square() * (self.weight[self.layout[group]] - 1)).sum(-1)) / error.shape[-1]

    def _flow(self, tokens: Tensor, batch: dict) -> Tensor:
        backbone, x0 = self.backbone[0], batch["x0"]
        t = flow.sample_times(len(x0), backbone.spec.shift).to(x0)
        noise = backbone.spec.placed(torch.randn_like(x0))
        with torch.no_grad():
            text = backbone.embed(*batch["text"])
        with moments(backbone.transformer, batch["moments"], batch["of"]):
            predicted = backbone.velocity(flow.at(x0, noise, t), t, text, Conditioning(context=tokens, lora=1.0))
        return flow.loss(predicted, flow.target(x0, noise), batch["weight"] * time_weight(backbone, t))


def visible_weight(data: list[Latents], most: float = 30.0) -> Tensor:
    """(D,) what an error in each of a person's numbers costs: how much a unit of it changes the face crops of ``data``.

    A ridge map from all numbers to a clip's mean crop gives every number its share of what shows. Within each group of TOKENS the weights
    are scaled so that telling nothing costs 1 a number, as with no weights. Without them the style of the hair, 15 zeros and ones that are
    most of what one sees, weighed less than its gloss: the reader told 21 % of styles right and no beard at all.
    """
    crops = torch.cat([d.crops.float().mean(1).flatten(1) for d in data])
    told = torch.cat([d.vectors for d in data])
    spread = told.std(0).clamp_min(1e-3)
    x, y = ((told - told.mean(0)) / spread).double(), (crops - crops.mean(0)).double()
    change = torch.linalg.solve(x.T @ x + 0.01 * len(x) * torch.eye(x.shape[1]).double(), x.T @ y).square().sum(1).float()
    weight = torch.ones(told.shape[1])
    for name, group in zip(TOKENS, told_groups(), strict=True):
        share = change[group] if name not in HABITS else torch.ones(group.stop - group.start)  # habits do not show in a mean
        share = (share / share.mean()).clamp(0.1, most)
        weight[group] = (share / share.mean()) / spread[group].square()
    return weight


def references(data: Latents, rows: np.ndarray, rng: np.random.Generator, mean: Tensor, std: Tensor, frames: int) -> dict:
    """Reference clips of ``rows``: a run of 4 to ``frames`` picked crops, some hidden, with true times; the anchor is a seen frame."""
    count, rows = data.crops.shape[1], torch.from_numpy(rows)
    frames = min(frames, count)
    start = int(rng.integers(0, count - frames + 1))
    crops = (data.crops[rows, start : start + frames].float() - mean.view(1, 1, -1, 1, 1)) / std.view(1, 1, -1, 1, 1)
    crops = crops + 0.1 * torch.randn_like(crops)
    seen = torch.tensor(rng.random((len(rows), frames)) > 0.05)
    anchor = torch.tensor(rng.integers(0, frames, len(rows)))
    seen[torch.arange(len(rows)), anchor] = True
    moving = 0.0 if data.sparse else 1.0
    return {
        "crops": crops,
        "seconds": data.seconds[rows, start : start + frames],
        "seen": seen,
        "anchor": anchor,
        "moving": torch.full((len(rows),), moving),
        "vectors": data.vectors[rows],
        "motion": data.crop_motion[rows, start : start + frames],
    }


def train_slots(
    learner: SlotLearner,
    clips: Latents,
    stills: Latents | None,
    plan: Plan,
    out: Path,
    *,
    with_flow: bool,
    meet: float = 1.0,
    still_share: float = 0.6,
    **kwargs,
) -> dict[str, float]:
    """One stage: ``with_flow`` False reads and meets only (cheap, needs no backbone call), True adds the flow loss on cross-scene pairs.

    Flow targets are FEW frames of a film, drawn as the base's were (``how_often``): more persons a step for the same work.
    ``stills`` are asked for in ``still_share`` of the steps; None where that is 0. They are most of the steps because they hold most of
    the people: looks are read by those one has seen.
    """
    backbone, device = learner.backbone[0], device_here()
    clips, stills = clips.to(device), stills.to(device) if stills is not None else None
    mean, std, patch = *(value.to(device) for value in latent_scale(backbone)), backbone.spec.patch[0]
    sources = [data for data in (clips, stills) if with_flow and data is not None]
    others, chance = {id(data): partners(data) for data in sources}, {id(data): how_often(data) for data in sources}
    words = {id(data): Phrasings(backbone.tokens, data.facts, data.sparse) for data in sources}

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        data = stills if rng.random() < still_share else clips
        count = plan.batch * (3 if data.sparse else 1)
        frames = int(rng.integers(10, 23)) if not data.sparse else 4
        if not with_flow:
            return references(data, rng.integers(0, len(data.films), count), rng, mean, std, frames) | {"meet": meet}
        few = FEW // patch if data.films.shape[2] > FEW else None
        target = take_batch(data, rng, count, mean, std, patch, few, chance[id(data)], words[id(data)])
        rows = np.array([int(rng.choice(others[id(data)][r] or [r])) for r in target["rows"]])
        wanted = {name: target[name] for name in ("x0", "weight", "moments", "of", "text")}
        return references(data, rows, rng, mean, std, frames) | wanted | {"meet": meet}

    def loss_of(module: nn.Module, batch: dict) -> tuple[Tensor, dict[str, float]]:
        return module(batch)

    return fit(learner, plan, out, batch_at, loss_of, **kwargs)


@torch.no_grad()
def read_quality(learner: SlotLearner, data: Latents, rows: list[int], frames: int = 17) -> dict[str, float]:
    """Share of the variance of each group of true parameters that its slot tells (R squared), on people given by ``rows``."""
    backbone = learner.backbone[0]
    mean, std = latent_scale(backbone)
    guesses, truth = [], []
    for part in np.array_split(np.array(rows), max(1, len(rows) // 16)):
        batch = references(data, part, np.random.default_rng(0), mean, std, frames)
        found = learner.method.encode(batch["crops"], batch["seconds"], batch["seen"], batch["anchor"])
        guesses.append([head(found.slots[:, s]) for s, head in enumerate(learner.heads)])
        truth.append(batch["vectors"])
    told = torch.cat(truth)
    result = {}
    for s, group in enumerate(learner.layout):
        guess = torch.cat([g[s] for g in guesses])
        spread = (told[:, group] - told[:, group].mean(0)).square().sum()
        result[f"{s} {TOKENS[s]}"] = float(1 - F.mse_loss(guess, told[:, group], reduction="sum") / spread)
    return result
