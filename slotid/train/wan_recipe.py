"""Slot-ID on a real Wan: ``slots_wan13b``. Two steps, each on any number of processes, each resumed by calling it again:

    accelerate launch -m slotid train slots_wan13b --data CLIPS --prepare
    accelerate launch -m slotid train slots_wan13b --data CLIPS

As the paper trains it: encoder, gates, projection and LoRA on cross-attention learn; the target is the frozen base's own velocity; the
reference shows the same person in another place. Without identity the frozen base itself answers (no tokens, LoRA off), so dropping
the identity in training would train nothing; the text is dropped in a tenth of the steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slotid import flow
from slotid.identity.slots import SlotConfig, SlotID
from slotid.pixels import signed
from slotid.train.base import time_weight
from slotid.train.loop import Plan, adamw, adamw8bit, device_here, fit
from slotid.train.pairs import face_weight
from slotid.train.shards_cache import Shards, ShardWriter, known_keys
from slotid.train.takes import Take, find_clips, link, read_takes
from slotid.types import Conditioning, IdentityCode, SlotIDError

NAME = "slots_wan13b"
CROP, GRID, WIDTH, RANK = 224, 8, 512, 32
OPTIMIZERS = {"adamw": adamw, "adamw8bit": adamw8bit}
TEXT_DROP = 0.1
FACE_WEIGHT = 3.0


@dataclass(frozen=True)
class Scale:
    """What a run reads and how; the plan says how long."""

    data: Path  # clips with captions beside them
    cache: Path  # encoded shards
    out: Path
    backbone: str = "wan2.1-1.3b"
    features: str | None = None  # of vision.py, or "vae"; None: DINOv2
    frames: int | None = None  # of the films; None: the backbone's
    memory: str = "auto"
    shard_frozen: bool = False  # spread the frozen weights over the processes (FSDP2)
    tracker: str = "none"
    samples: bool = True  # a film after each checkpoint
    width: int = WIDTH
    rank: int = RANK
    optimizer: str = "adamw"  # of OPTIMIZERS


def plan_wan13b(**changes: Any) -> Plan:
    """The recipe's plan: batch 1 a process with 8 accumulated steps, bfloat16, 3,000 steps as Stand-In's."""
    settings = dict(steps=3000, batch=1, lr=1e-4, warmup=200, accumulate=8, precision="bf16", ema=0.999, save_minutes=20.0)
    return Plan(**(settings | changes))


def process() -> tuple[int, int]:
    """(rank, number of processes), as the launcher says."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


# --- preparing -------------------------------------------------------------------------------------------------------


def extractor_of(scale: Scale, backbone, device: str) -> tuple[SlotConfig, Callable[[Tensor], Tensor]]:
    """The encoder's configuration and what reads its crops."""
    from slotid.identity.vision import DINOV2, open_vision

    features = scale.features or DINOV2
    sizes = dict(width=scale.width, heads=8, text_width=backbone.spec.text_width, features=features, token_scale=0.1)
    if features == "vae":
        crop = GRID * backbone.spec.space
        return SlotConfig(latent_channels=backbone.spec.channels, grid=GRID, crop=crop, **sizes), backbone.to_latent
    import json

    from slotid.identity.vision import vision_folder

    channels = json.loads((vision_folder(features) / "config.json").read_text())
    channels = (channels.get("vision_config") or channels)["hidden_size"]
    config = SlotConfig(latent_channels=channels, grid=GRID, crop=CROP, **sizes)
    return config, open_vision(config, device)


def about_shards(scale: Scale, spec) -> dict[str, Any]:
    """What shards must have been made with to serve this run."""
    from slotid.identity.vision import DINOV2

    return {"backbone": spec.name, "features": scale.features or DINOV2, "frames": scale.frames or spec.frames, "size": list(spec.size)}


@torch.no_grad()
def encode_take(take: Take, backbone, extractor: Callable[[Tensor], Tensor], crop: int) -> dict[str, Tensor]:
    """A take as a training step needs it: latent film, crop features, caption embedding. Half precision."""
    from slotid.identity.reading import crops_to_video

    film = signed(take.film).transpose(0, 1)[None]
    crops = crops_to_video(take.crops, crop)
    text = backbone.read([take.caption])[0]
    length = int((text.abs().sum(-1) > 0).sum())
    return {
        "film": backbone.to_latent(film)[0].half().cpu(),
        "crops": torch.cat([extractor(part) for part in crops.split(8)])[:, :, 0].half().cpu(),
        "text": text[:length].half().cpu(),
        "seconds": torch.from_numpy(take.seconds),
        "seen": torch.from_numpy(take.seen),
        "face": torch.from_numpy(take.face),
        "place": torch.from_numpy(take.background),
    }


def prepare(scale: Scale, backbone=None, say: Callable[[str], None] = print) -> dict[str, int]:
    """Read, track and encode all clips that are not in the cache yet; each process its share. Returns counts.

    Raises:
        SlotIDError: no clips, or none of them could be used.
    """
    from slotid.backbone.registry import open_backbone

    rank, count = process()
    device = str(device_here())
    films = find_clips(scale.data)
    backbone = backbone or open_backbone(scale.backbone, scale.memory, device)
    config, extractor = extractor_of(scale, backbone, device)
    done = known_keys(scale.cache) if scale.cache.is_dir() else set()
    paths = [p for number, p in enumerate(films) if number % count == rank and str(p) not in done]
    made = left_out = 0
    with ShardWriter(scale.cache, about_shards(scale, backbone.spec), rank) as writer:
        for found in read_takes(paths, backbone.spec, scale.frames or backbone.spec.frames, config.crop):
            if isinstance(found, tuple):
                left_out += 1
                say(f"left out: {found[1]}")
                continue
            add_take(writer, found, backbone, extractor, config.crop)
            made += 1
    if not made and not done:
        if not paths:  # another process has them
            return {"made": 0, "left_out": 0, "already_there": 0}
        raise SlotIDError(f"None of the {len(paths)} clips in {scale.data} could be used; the reasons are above.")
    return {"made": made, "left_out": left_out, "already_there": len(done)}


def add_take(writer: ShardWriter, take: Take, backbone, extractor: Callable[[Tensor], Tensor], crop: int) -> None:
    """Encode a take and write it."""
    import hashlib

    key = hashlib.sha256(take.name.encode()).hexdigest()[:16]
    told = {"source": take.name, "caption": take.caption, "person": take.person, "anchor": take.anchor, "focus": list(take.focus)}
    writer.add(key, told, encode_take(take, backbone, extractor, crop))


# --- training --------------------------------------------------------------------------------------------------------


class WanLearner(nn.Module):
    """Method and LoRA for ``loop.fit``; the frozen backbone is not registered."""

    def __init__(self, method: SlotID, backbone, lora: nn.Module):
        super().__init__()
        self.method, self.lora, self.backbone = method, lora, [backbone]

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The flow-matching loss on films whose person is shown by another take, the face counting more."""
        backbone, x0 = self.backbone[0], batch["x0"]
        found = self.method.encode(batch["crops"], batch["seconds"], batch["seen"], batch["anchor"])
        given = Conditioning(context=self.method.tokens(found), lora=1.0)
        t = flow.sample_times(len(x0), backbone.spec.shift).to(x0)
        noise = backbone.spec.placed(torch.randn_like(x0))
        predicted = backbone.velocity(flow.at(x0, noise, t), t, batch["text"], given)
        return flow.loss(predicted, flow.target(x0, noise), batch["weight"] * time_weight(backbone, t))


def around_face(focus: Tensor, size: tuple[int, int]) -> Tensor:
    """Loss weight (B, 1, 1, h, w), see ``pairs.face_weight``. ``focus`` (B, 3): centre x, y and half width of a face as shares."""
    places = focus * torch.tensor([size[1], size[0], size[1]])
    return face_weight(places[:, :2], places[:, 2].clamp_min(1e-3 * size[1]), size, FACE_WEIGHT, 0.6)


class Batches:
    """Training batches from shards: a target film and a reference of the same person from another take."""

    def __init__(self, shards: Shards, spec, batch: int):
        self.shards, self.spec, self.batch = shards, spec, batch
        signs = [shards.tensors(row) for row in range(len(shards))]
        faces, places = (np.stack([s[name].numpy() for s in signs]) for name in ("face", "place"))
        self.partners = link([e.told["person"] for e in shards.entries], faces, places)
        self.rows = [row for row, others in enumerate(self.partners) if others]

    def at(self, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        """One batch; all of its randomness from ``rng``."""
        targets = rng.choice(self.rows, self.batch)
        pairs = [(self.shards.tensors(row), self.shards.entries[row].told, int(rng.choice(self.partners[row]))) for row in targets]
        text = torch.zeros(self.batch, self.spec.text_length, self.spec.text_width)
        for k, (tensors, _, _) in enumerate(pairs):
            if rng.random() >= TEXT_DROP:
                words = tensors["text"][: self.spec.text_length].float()
                text[k, : len(words)] = words
        references = [self.reference(other, rng) for _, _, other in pairs]
        longest = max(len(r["seconds"]) for r in references)
        out = {name: torch.stack([_padded(r[name], longest) for r in references]) for name in ("crops", "seconds", "seen")}
        focus = torch.tensor([told["focus"] for _, told, _ in pairs])
        x0 = torch.stack([tensors["film"].float() for tensors, _, _ in pairs])
        out |= {"x0": x0, "text": text, "anchor": torch.stack([r["anchor"] for r in references])}
        out["weight"] = around_face(focus, x0.shape[-2:])
        return out

    def reference(self, row: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """A take's crops; with ``rng`` a run of at least 8 of them, so that short references are learnt too. The anchor is always there."""
        tensors, anchor = self.shards.tensors(row), int(self.shards.entries[row].told["anchor"])
        count = len(tensors["seconds"])
        low, high = 0, count
        if rng is not None and count > 8:
            length = int(rng.integers(8, count + 1))
            low = int(rng.integers(max(0, anchor - length + 1), min(anchor, count - length) + 1))
            high = low + length
        seen = tensors["seen"][low:high].clone()
        seen[anchor - low] = True
        return {
            "crops": tensors["crops"][low:high].float(),
            "seconds": tensors["seconds"][low:high],
            "seen": seen,
            "anchor": torch.tensor(anchor - low),
        }


def _padded(value: Tensor, length: int) -> Tensor:
    """Rows repeated at the end up to ``length``; what is padded of ``seen`` is False."""
    missing = length - len(value)
    if not missing:
        return value
    more = torch.zeros_like(value[-1:]) if value.dtype == torch.bool else value[-1:]
    if value.ndim == 1 and value.dtype.is_floating_point:  # times keep increasing
        return torch.cat([value, value[-1] + 0.125 * torch.arange(1, missing + 1)])
    return torch.cat([value, more.expand(missing, *value.shape[1:])])


def make_learner(scale: Scale, backbone, device: str) -> WanLearner:
    """A fresh method of the right sizes and LoRA on the backbone, in float32, seeded."""
    from slotid.backbone.backbone import LoraPlan

    torch.manual_seed(0)
    config, extractor = extractor_of(scale, backbone, device)
    method = SlotID(config).train()
    if config.features != "vae":
        method.extractor = extractor
    lora = backbone.adopt(LoraPlan(rank=scale.rank)).float()
    backbone.save_memory()
    return WanLearner(method, backbone, lora)


def save_adapter(learner: WanLearner, folder: Path) -> None:
    """The trained method as one folder of safetensors with metadata, ready for ``--adapter`` or a hub repository."""
    learner.method.save_pretrained(folder, learner.backbone[0].spec.name, learner.lora, recipe=NAME)


def train(scale: Scale, plan: Plan, backbone=None, minutes: float | None = None, log_every: int = 10) -> dict[str, float]:
    """Train, or go on training, from prepared shards; the adapter lies in ``out/adapter`` after each checkpoint, films in ``out/samples``.

    Raises:
        SlotIDError: nothing prepared, or prepared for another backbone, size or extractor.
    """
    from slotid.backbone.registry import backbone_spec, open_backbone
    from slotid.train.tracking import Tracker

    if scale.optimizer not in OPTIMIZERS:
        raise SlotIDError(f"Unknown optimizer '{scale.optimizer}'; expected one of {', '.join(OPTIMIZERS)}.")
    device = str(device_here())
    spec = backbone.spec if backbone else backbone_spec(scale.backbone)
    tracker = Tracker(scale.tracker if process()[0] == 0 else "none", scale.out, NAME)
    batches = Batches(Shards(scale.cache, about_shards(scale, spec)), spec, plan.batch)  # before minutes of reading weights
    backbone = backbone or open_backbone(scale.backbone, "full", device)
    backbone.to(device)
    learner = make_learner(scale, backbone, device)
    if scale.shard_frozen:
        from slotid.train.spread import spread_frozen

        spread_frozen(backbone, learner.lora)

    def loss_of(module: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return module(batch), {}

    def on_save(module: nn.Module, step: int) -> None:
        save_adapter(module, scale.out / "adapter")
        # films need every process where the frozen weights are spread, and only one of them is here
        if scale.samples and not scale.shard_frozen:
            sample(module, batches, scale.out / "samples" / f"step_{step:06d}.mp4")

    try:
        return fit(
            learner, plan, scale.out, batches.at, loss_of, on_save=on_save, minutes=minutes, log_every=log_every,
            optimizers=OPTIMIZERS[scale.optimizer], on_log=tracker.add,
        )  # fmt: skip
    finally:
        tracker.close()


def sample(learner: WanLearner, batches: Batches, path: Path, steps: int | None = None) -> None:
    """A film of the first take's person with that take's own caption embedding, as a visitor would get it."""
    from slotid.clip_write import write_clip
    from slotid.generate import Studio, generate
    from slotid.types import Request, Result

    backbone, method = learner.backbone[0], learner.method
    row = batches.rows[0]
    reference = {name: value[None].to(backbone.device) for name, value in batches.reference(row).items()}
    was = method.training
    method.eval()
    try:
        with torch.no_grad():
            found = method.encode(reference["crops"], reference["seconds"], reference["seen"], reference["anchor"])
        tensors = {"anchors": found.anchors[0], "slots": found.slots[0], "gates": found.gates[0]}
        code = IdentityCode(method.name, method.version, {k: v.float().cpu() for k, v in tensors.items()})
        caption = batches.shards.entries[row].told["caption"]
        request = Request(caption, code, steps=steps, preview_every=0, likeness=False)
        for event in generate(Studio(backbone, method, together=False), request):
            if isinstance(event, Result):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_clip(path, event.clip, {**event.settings, "ai_generated": True})
    finally:
        method.train(was)
