"""World clips as latents in memory: what a training step needs, encoded once.

A film gives its own latent (target) and one latent per picked face crop (reference), cut by the same functions as a visitor's clip.
Shards made at a low frame rate ("sparse": a few moments of a long performance) give single frames; they show many people cheaply.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slotid.types import SlotIDError

REFERENCE_FRAMES = 22  # 8 a second of 2.75 s
CELL = 16  # pixels per latent cell
TOGETHER = 16  # clips that a card encodes at once
COLUMNS = {"films", "crops", "seconds", "focus", "reach", "vectors", "motion"}  # of a row of ``Latents``, kept in its cache


class SolvedEncoder:
    """Context that skips encoder branches that end in zero, as ``solve_encoder`` leaves them: exact, and several times faster."""

    def __init__(self, vae: nn.Module):
        self.blocks = [m for m in vae.encoder.modules() if type(m).__name__ == "WanResidualBlock" and not m.conv2.weight.any()]
        self.attentions = [a for a in vae.encoder.mid_block.attentions if not a.proj.weight.any() and not a.proj.bias.any()]

    def __enter__(self) -> SolvedEncoder:
        def block_forward(block: nn.Module, x: Tensor, feat_cache: list | None = None, feat_idx: list | None = None) -> Tensor:
            if feat_cache is not None:
                feat_idx[0] += 2  # the two convolutions keep their places in the library's cache
            return block.conv_shortcut(x) + block.conv2.bias.view(1, -1, 1, 1, 1)

        for block in self.blocks:
            block.forward = types.MethodType(block_forward, block)
        for attention in self.attentions:
            attention.forward = types.MethodType(lambda _, x: x, attention)
        return self

    def __exit__(self, *_: object) -> None:
        for module in (*self.blocks, *self.attentions):
            del module.forward


@dataclass(frozen=True)
class Latents:
    """One folder of shards, encoded. N clips; unnormalised latents, float16."""

    films: Tensor  # (N, C, T, 8, 8) frame by frame; when ``sparse`` they are single moments, not a film
    crops: Tensor  # (N, R, C, 8, 8) one latent per picked face crop
    seconds: Tensor  # (N, R) float32, of the crops
    focus: Tensor  # (N, F or 1, 2, ) float32 face centre in latent cells, per single frame when sparse
    reach: Tensor  # (N, F or 1) float32 eyes-to-mouth distance in latent cells
    vectors: Tensor  # (N, D) float32
    people: np.ndarray  # (N,) int64
    index: np.ndarray  # (N,) int64 number of the take among the person's
    reference: np.ndarray  # (N,) bool
    facts: list[dict[str, str]]
    sparse: bool
    motion: Tensor  # (N, T, M) float32, see ``motion.motion_of``
    crop_motion: Tensor  # (N, R, M) the same at the picked crops

    def to(self, device: str | torch.device) -> Latents:
        """The same with all tensors on ``device``: batches are then drawn there."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if torch.is_tensor(value)})


@torch.no_grad()
def encode_shards(folder: str | Path, vae: nn.Module, cache: str | Path | None = None, crop: int = 128, spoilt: float = 0.35) -> Latents:
    """Encodes all complete shards of ``folder``; ``cache`` (a safetensors file) keeps what was done.

    The share ``spoilt`` of the clips gives its crops as a cheap webcam would (noise, compression, blur, light, a passing hand), while
    the film itself, which is a target, stays clean.

    Raises SlotIDError when there is nothing to encode.
    """
    from safetensors.torch import load_file, save_file

    from slotid.world.shards import read_shards

    records = read_shards(folder)
    sparse, picked = moments(records[0].seconds)
    known: dict[tuple[int, int], dict[str, Tensor]] = {}
    if cache and Path(cache).exists():  # more shards may have been rendered since: only these are encoded
        stored = load_file(cache)
        keys = stored.pop("keys")
        if set(stored) == COLUMNS:  # a cache from before one of them was kept is made anew
            known = {tuple(key): {n: v[row] for n, v in stored.items()} for row, key in enumerate(keys.tolist())}
    new = [record for record in records if (record.person, record.index) not in known]
    with SolvedEncoder(vae):
        for number, (record, row) in enumerate(zip(new, _encoded(vae, new, partial(cut, picked, sparse, crop, spoilt)), strict=True)):
            known[record.person, record.index] = row
            if number % 200 == 0:
                print(f"encoded {number} of {len(new)} new clips of {folder}", file=sys.stderr, flush=True)
    rows = [known[record.person, record.index] for record in records]
    table = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    if cache and new:
        save_file({**table, "keys": torch.tensor([(r.person, r.index) for r in records])}, str(cache))
    return Latents(
        **table,
        crop_motion=table["motion"][:, picked],
        people=np.array([r.person for r in records]),
        index=np.array([r.index for r in records]),
        reference=np.array([r.reference for r in records]),
        facts=[r.facts for r in records],
        sparse=sparse,
    )


def moments(seconds: np.ndarray) -> tuple[bool, list[int]]:
    """Whether shards with frames at these true seconds are "sparse", and which of the frames are cut as face crops."""
    from slotid.identity.features import pick_frames

    if float(seconds[1] - seconds[0]) > 0.25:
        return True, list(range(len(seconds)))
    return False, pick_frames(seconds, np.ones(len(seconds), bool), REFERENCE_FRAMES)


def _encoded(vae: nn.Module, records: list, cut: Callable[[Any], dict[str, Any]]) -> Iterator[dict[str, Tensor]]:
    """A row of ``Latents`` for each record, in order. A card encodes many clips at once, which processes of their own decode and cut."""
    from slotid.backbone.stills import StillConvs
    from slotid.train.vae import to_video

    device = next(vae.parameters()).device
    with StillConvs(vae), ExitStack() as stack:
        made = map(cut, records)
        if device.type != "cpu" and records:
            workers = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
            made = stack.enter_context(workers).map(cut, records, chunksize=4)
        while group := list(islice(made, 1 if device.type == "cpu" else TOGETHER)):
            found = []
            for kind in ("faces", "frames"):  # they may be of two sizes
                pictures = np.stack([row.pop(kind) for row in group])
                latents = vae._encode(to_video(pictures.reshape(-1, 1, *pictures.shape[2:])).to(device)).chunk(2, 1)[0][:, :, 0]
                found.append(latents.half().cpu().unflatten(0, pictures.shape[:2]))
            for row, crops, film in zip(group, *found, strict=True):
                row = {name: torch.tensor(value, dtype=torch.float32) for name, value in row.items()}
                yield row | {"films": film.transpose(0, 1).contiguous(), "crops": crops.clone()}


def cut(picked: list[int], sparse: bool, size: int, spoilt: float, record) -> dict[str, Any]:
    """A record's frames (T, H, W, 3) and face crops (R, size, size, 3), uint8, and what ``Latents`` tells beside them."""
    from slotid.face.align import crop, smooth_boxes
    from slotid.train.motion import motion_of

    frames = record.frames()
    boxes = smooth_boxes(record.points5, record.seconds, np.ones(len(frames), bool))
    points = record.points5 / CELL  # (F, 5, 2)
    if not sparse:
        points = points.mean(0, keepdims=True)
    reach = np.linalg.norm(points[:, :2].mean(1) - points[:, 3:].mean(1), axis=-1)
    return {
        "frames": frames,
        "faces": crop(_as_filmed(record, frames, spoilt)[picked], boxes[picked], size),
        "seconds": record.seconds[picked],
        "focus": points.mean(1),
        "reach": reach,
        "vectors": record.vector,
        "motion": motion_of(record),
    }


def _as_filmed(record, frames: np.ndarray, share: float) -> np.ndarray:
    """What the visitor's camera would have sent of this clip."""
    from slotid.world.scene import sample_scene
    from slotid.world.webcam import degrade

    seed = int(np.random.SeedSequence([record.person, record.index, 41]).generate_state(1)[0])
    if np.random.default_rng(seed).random() >= share:
        return frames
    return degrade(frames, record.points5, sample_scene(seed, reference=True).webcam, seed)


def joined(parts: list[Latents]) -> Latents:
    """Several folders of one kind as one, for reading only: without the films."""
    tables = {n: torch.cat([getattr(p, n) for p in parts]) for n in ("crops", "seconds", "focus", "reach", "vectors", "crop_motion")}
    rest = {n: np.concatenate([getattr(p, n) for p in parts]) for n in ("people", "index", "reference")}
    return Latents(
        films=torch.zeros(len(tables["crops"]), 0), motion=torch.zeros(len(tables["crops"]), 0), **tables, **rest,
        facts=[f for p in parts for f in p.facts], sparse=parts[0].sparse,
    )  # fmt: skip


def latent_scale(backbone) -> tuple[Tensor, Tensor]:
    """Mean and deviation (C, 1, 1, 1) by which a backbone normalises its latents."""
    config = backbone.vae.config
    return torch.tensor(config.latents_mean).view(-1, 1, 1, 1), torch.tensor(config.latents_std).view(-1, 1, 1, 1)


def face_weight(centre: Tensor, reach: Tensor, size: tuple[int, int], extra: float = 6.0, width: float = 0.9) -> Tensor:
    """Loss weight (B, 1, 1, h, w) of cells or pixels: 1 away from the face, 1 + ``extra`` at its middle, a bell between.

    A face is 3 by 4 of 64 cells, its mouth one or two. Until the seventh training the bell was as wide as the picture (3 and 1.3): hair,
    garment and wall were most of the loss, and talking was lost between t = 0.5 and 0.9 (LOG.md, eighth training).

    Args:
        centre: (B, 2) x and y of the face. reach: (B,) from eyes to mouth, or what is as long. size: (h, w). All in cells or pixels.
        width: of the bell (its deviation) in ``reach``.
    """
    y, x = (torch.arange(n, device=centre.device) + 0.5 for n in size)
    distance = (x[None, None, :] - centre[:, 0, None, None]) ** 2 + (y[None, :, None] - centre[:, 1, None, None]) ** 2
    return (1 + extra * torch.exp(-0.5 * distance / (width * reach[:, None, None]).square()))[:, None, None]


def partners(data: Latents) -> list[list[int]]:
    """For every clip the other clips of its person: references must show another scene, light and act. SlotIDError when nobody has two."""
    by_person: dict[int, list[int]] = {}
    for row, person in enumerate(data.people.tolist()):
        by_person.setdefault(person, []).append(row)
    others = [[o for o in by_person[p] if o != row] for row, p in enumerate(data.people.tolist())]
    if not any(others):
        raise SlotIDError("No person has two clips; render at least two clips a person (`world render --clips 2`).")
    return others
