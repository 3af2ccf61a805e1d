"""The tiny base: a text-to-video flow model of the head world, trained from nothing and then frozen.

Wan has seen people described in words; the captions of our world never say what a face looks like. So that the frozen base can be *told*
a person at all, part of its training puts person tokens before the text, made from the world's true parameters by a small embedder.
They are to the tiny base what Wan's knowledge of words for faces is to Wan. The embedder is no part of any method: Slot-ID has to
find tokens that mean the same from pixels alone. Groups are left out at random, so that each token acts by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slotid import flow
from slotid.backbone.wan_driver import LEAST_TIME
from slotid.train.loop import Learner, Plan, device_here, fit
from slotid.train.pairs import Latents, face_weight, latent_scale
from slotid.train.phrasings import Phrasings
from slotid.train.twins import EXPRESSED, missed, mistaken
from slotid.types import Conditioning

# one token per meaning, in the order of Slot-ID's slots. The face model's components are sorted by what they move: the first 8 hold 82 %
# of the variance of a face's surface, the first 32 hold 96 %; the other 68 nobody sees at this size.
TOKENS = ("shape", "detail", "skin", "hair", "trim", "smile", "talk", "pose")
SHAPE, DETAIL = 8, 32
TOLD_NOISE = 0.15  # on the told parameters: no two tellings alike, so that a person's films cannot be learned by heart from his numbers
UNSHOWN = 1.0  # weight of a latent channel that the decoder does not show (``motion``); the others' mean is 1
UNPLANNED = 0.12  # share of the films that are drawn without their channels of motion, see ``flow.unplanned``
TREMBLING = 2.0  # weight of the error's change from frame to frame, see ``bend``
FEW = 12  # frames of a film, see ``train_base``
FEW_SHARE = 0.7  # of the steps with films, while the rate does not fall
OFTEN = {"laugh": 4.0, "talk": 2.5, "smile": 1.5}  # how often a film with such an act is drawn, see ``how_often``


def told_groups() -> list[slice]:
    """Where in ``world.person.person_vector`` each of TOKENS finds what it tells."""
    from slotid.world.person import PERSON_LAYOUT

    first = PERSON_LAYOUT["shape"].start
    parts = {"shape": slice(first, first + SHAPE), "detail": slice(first + SHAPE, first + DETAIL)}
    return [parts.get(name) or PERSON_LAYOUT[name] for name in TOKENS]


class PersonEmbedder(nn.Module):
    """The world's truth about a person -> (B, 8, width) tokens, scaled like text. Privileged: for training and oracle controls only.

    A fixed turn of the numbers (orthogonal, from a seed) and a fixed mark per token, not learned: what a token means is then settled
    before any training, so that the base and every encoder can be trained at the same time.
    """

    def __init__(self, width: int = 192, scale: float = 0.5, seed: int = 20260101):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.groups = told_groups()
        for number, group in enumerate(self.groups):
            size = group.stop - group.start
            turn, _ = torch.linalg.qr(torch.randn(width, size, generator=generator))
            self.register_buffer(f"turn{number}", turn * (width / size) ** 0.5, persistent=False)  # entries of the token near unit size
        self.register_buffer("mark", torch.randn(len(TOKENS), width, generator=generator) * 0.7, persistent=False)
        self.scale = scale

    def forward(self, vectors: Tensor) -> Tensor:
        """vectors (B, D) standardised, as ``world.person.person_vector``."""
        parts = [vectors[:, group] @ getattr(self, f"turn{number}").T for number, group in enumerate(self.groups)]
        tokens = torch.stack(parts, 1) + self.mark
        return tokens * torch.rsqrt(tokens.square().mean(-1, keepdim=True) + 1e-6) * self.scale


class BaseLearner(Learner):
    """The transformer of a backbone with the person embedder, unfrozen, for ``loop.fit``. The text encoder has learned before."""

    def __init__(self, backbone, embedder: PersonEmbedder, channels: Tensor | None = None):
        """``channels``: ``channel_weight``; None: all cost the same."""
        super().__init__()
        self.backbone = backbone  # not a module: registers nothing
        self.transformer = backbone.transformer
        self.embedder = [embedder]  # in a list: it is fixed, not trained and not saved
        self.transformer.requires_grad_(True)
        self.register_buffer("channels", torch.ones(1) if channels is None else channels, persistent=False)

    def beside(self) -> list[nn.Module]:
        return [*self.embedder, *self.backbone.parts().values()]

    def forward(self, batch: dict) -> Tensor:
        """Loss of a batch as ``take_batch`` makes it, with ``keep`` (B, 8) or None and ``late``."""
        x0, keep = batch["x0"], batch["keep"]
        t = training_times(len(x0), batch["late"]).to(x0)
        noise = self.backbone.spec.placed(torch.randn_like(x0))
        with torch.no_grad():
            text = self.backbone.embed(*batch["text"])
        told = batch["vectors"] + TOLD_NOISE * torch.randn_like(batch["vectors"])
        context = self.embedder[0](told) * keep[..., None] if keep is not None else None
        shared = self.backbone.spec.noise_shared
        picture = (torch.arange(x0.shape[1]).view(1, -1, 1, 1, 1) >= shared).to(x0)
        lost = (torch.rand(len(x0), 1, 1, 1, 1) < UNPLANNED).to(x0) if shared else 1.0
        # without a plan nothing tells what expression would be right
        wrong = (1 - lost) * mistaken(batch["lively"]) if batch["lively"] is not None else 0.0
        noisy, charged = flow.at(x0 + wrong, noise, t), self.channels
        if shared:
            noisy = torch.lerp(noisy, flow.unplanned(noisy, shared), lost)
            charged = charged * torch.maximum(picture, 1 - lost)  # of what is lost nothing is asked
        with moments(self.transformer, batch["moments"], batch["of"]):
            predicted = self.backbone.velocity(noisy, t, text, Conditioning(context=context))
        # the path that leads from where the film stands to what its plan tells
        target = flow.target(x0, noise) + wrong * (1 / t.clamp_min(LEAST_TIME) - 1).view(-1, 1, 1, 1, 1)
        timed = charged * time_weight(self.backbone, t)
        loss = flow.loss(predicted, target, batch["weight"] * timed)
        if x0.shape[2] > 2 and neighbours(batch["moments"]):
            loss = loss + TREMBLING * flow.loss(bend(predicted), bend(target), timed)
        if batch["lively"] is not None:
            weight = (batch["weight"] - 1) * time_weight(self.backbone, t)  # of the face alone
            loss = loss + EXPRESSED * missed(predicted.float() - target, batch["lively"], weight)
        return loss


@contextmanager
def moments(transformer: nn.Module, which: Tensor | None, total: int) -> Iterator[None]:
    """Context in which a film given to the transformer is only the moments ``which`` (token times, rising) of one of ``total``: each token
    keeps its place in the whole film. None: all of it."""
    if which is None:
        yield
        return
    rope = transformer.rope

    def placed(x: Tensor) -> tuple[Tensor, ...]:
        patch = rope.patch_size[0]
        whole = type(rope).forward(rope, x[:, :, :1].expand(-1, -1, total * patch, -1, -1))
        return tuple(part.unflatten(1, (total, -1))[:, which].flatten(1, 2) for part in whole)

    rope.forward = placed
    try:
        yield
    finally:
        del rope.forward


def training_times(count: int, late: bool = False, high: float = 20.0) -> Tensor:
    """(count,) times for learning from nothing: a good part very near noise, where only text and person tell what the film shows.

    With the one logit-normal of a finished model (shift 2) the tokens were hardly used after 600 steps: at t = 1 they told 0 to 7 % of
    the variance of the coarsest channels (a linear map from facts and person tells 64 %), while denoising was long learned.
    ``late``: once they are used, more times are where faces get their detail; a sampler of 16 steps makes 5 of them below t = 0.6, where
    only 12 % of the first times are. With only 0.2 near noise, 2,100 steps lost there what had been learned (LOG.md, fifth training).
    """
    share, low = (0.3, 2.0) if late else (0.4, 3.5)
    near, rest = (flow.sample_times(count, shift, even=True) for shift in (high, low))
    return torch.where((torch.randperm(count) + torch.rand(1)) / count < share, near, rest)


def time_weight(backbone, t: Tensor, least: float = 0.3) -> Tensor:
    """(B, 1, 1, 1, 1) loss weight by time. A backbone that predicts the clean latent is charged error / t: below ``least`` that would let
    the last touch of detail drown everything else, so there the charge stops growing."""
    if backbone.spec.predicts == "velocity":
        return torch.ones_like(t).view(-1, 1, 1, 1, 1)
    return (t / least).clamp(max=1).square().view(-1, 1, 1, 1, 1)


def bend(film: Tensor) -> Tensor:
    """(B, C, T, h, w), T at least 3 -> (B, C, T - 2, h, w) second differences over time, scaled so that white noise keeps its size.

    What trembles is seen although it is small. Charged as any other error, the base had more of it (root of the first channel's mean square
    0.075 at t = 0.05) than a film without any change has (0.043, LOG.md, seventh training).
    """
    return film.diff(n=2, dim=2) / 6**0.5


def neighbours(which: Tensor | None) -> bool:
    """Whether moments (rising; None: all) follow each other without a gap."""
    return which is None or int(which[-1] - which[0]) == len(which) - 1


@torch.no_grad()
def channel_weight(backbone, films: Tensor, frames: int = 6, power: float = 0.75) -> Tensor:
    """(1, C, 1, 1, 1) loss weight of each latent channel: what a unit of it changes in the picture, to ``power``; of mean 1 where it shows.

    The solved latents are whitened: a unit of the first channel changes a hundred times as much of the picture (squared) as one of most
    others, and those others are nearly all of an even loss. The error that makes light flicker and mouths blur was cheap. Where a token
    has more numbers than the stream, the weight also decides what has no room (LOG.md, seventh training).

    Args:
        films: (N, C, T', h, w) latents as the VAE's encoder gives them; single frames of some are decoded with and without a change.
    """
    mean, std = latent_scale(backbone)
    rows = torch.linspace(0, len(films) - 1, frames).long()
    x = (films[rows][:, :, films.shape[2] // 2][:, :, None].float() - mean) / std
    plain, generator = backbone.to_pixels(x), torch.Generator().manual_seed(0)
    change = torch.zeros(x.shape[1])
    for channel in range(len(change)):
        moved = x.clone()
        moved[:, channel] += 0.2 * torch.randn(moved[:, channel].shape, generator=generator)
        change[channel] = (backbone.to_pixels(moved) - plain).square().mean()
    weight = change.clamp_min(1e-12).pow(power)
    shown = change > 0
    return torch.where(shown, weight / weight[shown].mean(), UNSHOWN).view(1, -1, 1, 1, 1)


def pick_moments(rng: np.random.Generator, total: int, few: int) -> Tensor:
    """``few`` of ``total`` moments, rising: every second time neighbours, so that motion is learned, else anywhere in the film."""
    if rng.random() < 0.5:
        return torch.arange(few) + int(rng.integers(total - few + 1))
    return torch.tensor(np.sort(rng.choice(total, few, replace=False)))


def how_often(data: Latents) -> np.ndarray:
    """(N,) chance of each film to be drawn. Films in which the mouth acts come more often: there the base is weakest and people look
    first. A tenth of the films show laughing, which is drawn in a quarter of the times so (LOG.md, seventh training)."""
    from slotid.world.performance import acts_of

    weight = np.array([max(OFTEN.get(act, 1.0) for act in acts_of(facts["act"])) for facts in data.facts])
    return weight / weight.sum()


def compile_blocks(transformer: nn.Module, film: Sequence[int] | None) -> None:
    """torch.compile of the blocks, which are alike and so compiled once. ``film``: the (T, h, w) of latents that run compiled, others do
    not; None: all do."""
    if film is None:
        for block in transformer.blocks:
            block.compile()
        return
    tokens = math.prod(size // cells for size, cells in zip(film, transformer.config.patch_size, strict=True))
    plain = type(transformer.blocks[0]).forward
    quick = torch.compile(plain, dynamic=False)

    def forward(block: nn.Module, hidden: Tensor, *rest: Tensor) -> Tensor:
        return (quick if hidden.shape[1] == tokens else plain)(block, hidden, *rest)

    for block in transformer.blocks:
        block.forward = partial(forward, block)


def take_batch(
    data: Latents,
    rng: np.random.Generator,
    count: int,
    mean: Tensor,
    std: Tensor,
    patch: int = 1,
    few: int | None = None,
    chance: np.ndarray | None = None,
    phrasings: Phrasings | None = None,
    calm: Tensor | None = None,
) -> dict:
    """A batch of films (all of them, or ``few`` moments of ``patch`` frames, the same of each) or, from sparse data, of single frames, each
    shown as one moment in which nothing moves, with sentence (None without ``phrasings``) and person, where the data lie.

    Args:
        patch: latent frames of a token. chance: (N,) of each film to be drawn, None for all alike.
        mean, std: of the latents, where the data lie. calm: ``twins.calm_films``; the batch then tells what expressions change ("lively").
    """
    chosen, lively, total = None, None, data.films.shape[2] // patch
    drawn = rng.choice(len(data.films), count, p=chance)
    rows = torch.from_numpy(drawn)
    films = data.films[rows]
    if data.sparse:
        which = torch.from_numpy(rng.integers(0, films.shape[2], count))
        films = films[torch.arange(count), :, which][:, :, None].expand(-1, -1, patch, -1, -1)
        focus, reach = data.focus[rows, which], data.reach[rows, which]
    else:
        frames = torch.arange(films.shape[2])
        if few is not None:
            chosen = pick_moments(rng, total, few)
            frames = (chosen[:, None] * patch + torch.arange(patch)).flatten()
            films = films[:, :, frames]
        if calm is not None:
            lively = (films.float() - calm[rows][:, :, frames].float()) / std
        focus, reach = data.focus[rows, 0], data.reach[rows, 0]
    return {
        "rows": drawn,
        "still": data.sparse,
        "x0": (films.float() - mean) / std,
        "weight": face_weight(focus, reach, films.shape[-2:]),
        "text": phrasings.draw(drawn, rng) if phrasings else None,
        "vectors": data.vectors[rows],
        "moments": chosen,
        "lively": lively,
        "of": total,
    }


def train_base(
    backbone,
    embedder: PersonEmbedder,
    clips: Latents,
    stills: Latents,
    plan: Plan,
    out: Path,
    *,
    calm: Tensor | None = None,
    still_share: float,
    few_share: float = FEW_SHARE,
    compiled: bool = False,
    still_factor: int = 8,
    **kwargs,
) -> dict[str, float]:
    """Trains the base. A step is ``plan.batch`` films, or ``still_factor`` times as many single frames, or FEW frames of so many films as
    cost the same: the moments of one film are much alike, and more films a step teach more (as images with most of their tokens left out
    do, Sehwag et al. 2024, arXiv 2407.15811). Whole films are all that is seen while the rate falls.

    Args:
        calm: ``twins.calm_films`` of ``clips``. few_share: see FEW_SHARE. compiled: torch.compile of the blocks, a sixth faster on a CPU;
            needs a C++ compiler. On a card only whole films run compiled: every other shape would cost as long again as it saves.
    """
    device, patch = device_here(), backbone.spec.patch[0]
    learner = BaseLearner(backbone.to(device), embedder, channel_weight(backbone, clips.films))
    clips, stills, calm = clips.to(device), stills.to(device), None if calm is None else calm.to(device)
    if compiled:
        compile_blocks(backbone.transformer, clips.films.shape[2:] if device.type != "cpu" else None)
    mean, std = (value.to(device) for value in latent_scale(backbone))
    moments_of, few, chance = clips.films.shape[2] // patch, FEW // patch, how_often(clips)
    words, still_words = (Phrasings(backbone.tokens, data.facts, data.sparse) for data in (clips, stills))

    def batch_at(rng: np.random.Generator, step: int) -> dict:
        falling = step >= (1 - plan.cooldown) * plan.steps
        if rng.random() < still_share:
            batch = take_batch(stills, rng, plan.batch * still_factor, mean, std, patch, phrasings=still_words)
        elif not falling and moments_of > few and rng.random() < few_share:
            batch = take_batch(clips, rng, plan.batch * moments_of // few, mean, std, patch, few, chance, words, calm)
        else:
            batch = take_batch(clips, rng, plan.batch, mean, std, patch, None, chance, words, calm)
        keep = torch.tensor(rng.random((len(batch["rows"]), len(TOKENS))) > 0.08, dtype=torch.float32)
        keep *= torch.tensor(rng.random((len(keep), 1)) > 0.1, dtype=torch.float32)
        return batch | {"keep": keep if rng.random() > 0.2 else None, "late": falling}

    def loss_of(module: nn.Module, batch: dict) -> tuple[Tensor, dict[str, float]]:
        loss = module(batch)
        return loss, {"still" if batch["still"] else "film": float(loss.detach()), "stills": float(batch["still"])}

    return fit(learner, plan, out, batch_at, loss_of, **kwargs)
