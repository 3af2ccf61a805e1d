"""The two stages that teach landed encoders to hear habits: ``train frames``, then ``train ear`` for each method that reads a clip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotid.types import SlotIDError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from slotid.train.frames import Faces
    from slotid.train.loop import Plan
    from slotid.train.recipes import Job

KNOWN = 0.65  # share of the filmed people whom the frame reader learns from; the ear has to learn how it errs with others
HELD = 0.07  # share of whom neither learns from: what the stages report
EARLESS = "anchor"  # reads one picture, in which nothing moves
PLAYED = 30_000  # people who play for an ear, a minute or two
THIN = 4  # rank of the LoRA that lands with ears, see ``thinned``


def split(people: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of clips: of people whom the frame reader knows, of those for the ear, of those held out; by seed, so always the same."""
    import numpy as np

    seeds = np.unique(people)
    first, last = seeds[int(KNOWN * len(seeds))], seeds[int((1 - HELD) * len(seeds))]
    return np.flatnonzero(people < first), np.flatnonzero((people >= first) & (people < last)), np.flatnonzero(people >= last)


def _faces(job: Job, folder: Path) -> Faces:
    from slotid.train.frames import faces_of

    return faces_of(folder, job.out / f"{folder.name}.faces.npy")


def frames(job: Job, plan: Plan) -> dict[str, Any]:
    """The frame reader, by clips, their calm twins where there are some, and stills."""
    import numpy as np
    import torch

    from slotid.train.frames import told, train_reader
    from slotid.train.motion import motion_of, scale_of
    from slotid.train.recipes import twins_of
    from slotid.world.performance import EXPRESSIONS
    from slotid.world.shards import read_shards

    clips, stills = _faces(job, job.clips), _faces(job, job.stills)
    known, _, held = split(clips.people)
    parts = [(clips.pictures, clips.curves, known), (stills.pictures, stills.curves, np.arange(len(stills.pictures)))]
    if twins_of(job).is_dir():
        twins = _faces(job, twins_of(job))
        mean = [motion_of(record)[:, : len(EXPRESSIONS)].mean(0) for record in read_shards(twins_of(job))]
        calm = twins.curves.clone()
        calm[..., : len(EXPRESSIONS)] = torch.from_numpy(np.stack(mean))[:, None]
        parts.append((twins.pictures, calm, np.flatnonzero(np.isin(twins.people, clips.people[known]))))
    scale = scale_of(clips.curves[known])
    reader = train_reader(parts, scale, plan, job.out / "frames", minutes=job.minutes)
    share = told(reader, clips.pictures[held], clips.curves[held], scale)
    return {"told": {name: round(float(share[number]), 3) for name, number in _named().items()}}


def _named() -> dict[str, int]:
    from slotid.world.performance import EXPRESSIONS

    shown = ("mouthSmile_L", "jawOpen", "mouthStretch_L", "mouthUpperUp_L", "eyeBlink_L", "eyeSquint_L", "browOuterUp_L", "browInnerUp_L")
    return {name: EXPRESSIONS.index(name) for name in shown} | {"yaw": len(EXPRESSIONS), "pitch": len(EXPRESSIONS) + 1}


def ear(job: Job, plan: Plan) -> dict[str, Any]:
    """Ear and heads of the method in ``job.assets``, which is written there again with them once all steps are done."""
    import numpy as np
    import torch

    from slotid.identity.features import pick_frames
    from slotid.identity.variants import VARIANTS
    from slotid.train.base import PersonEmbedder
    from slotid.train.ear import hear, played, train_ear
    from slotid.train.loop import load_weights
    from slotid.train.motion import in_deviations, scale_of
    from slotid.train.pairs import REFERENCE_FRAMES, latent_scale
    from slotid.train.recipes import latents, new_backbone
    from slotid.world.shards import read_shards

    kind = next((kind for kind in VARIANTS if kind.name == job.method), None)
    if kind is None or kind.name == EARLESS:
        names = ", ".join(k.name for k in VARIANTS if k.name != EARLESS)
        raise SlotIDError(f"Method '{job.method}' hears nothing; choose one of {names} (--method).")
    if not (job.out / "frames" / "checkpoint").exists():
        raise SlotIDError(f"No frame reader in {job.out}; run `python -m slotid train frames --out {job.out}` first.")
    folder = job.assets / "identity" / kind.name
    landed = kind.from_pretrained(folder)
    torch.manual_seed(1)
    method = kind(replace(landed.config, movement=True))
    method.load_state_dict(landed.state_dict(), strict=False)
    backbone = new_backbone(job)
    (data,), pictures = latents(job, backbone.vae, (job.clips,)), _faces(job, job.clips).pictures
    mean, std = (value.view(1, 1, -1, 1, 1) for value in latent_scale(backbone))
    crops = ((data.crops.float() - mean) / std).half()
    known, others, held = split(data.people)
    scale = scale_of(data.crop_motion[known])
    load_weights(method.movement, job.out / "frames" / "checkpoint")  # of it the frame reader alone
    method.eval()
    heard, kept = (
        hear(method, crops[rows], pictures[rows], data.seconds[rows], data.vectors[rows]) for rows in (others, held[data.reference[held]])
    )
    seconds = read_shards(job.clips)[0].seconds
    picked = pick_frames(seconds, np.ones(len(seconds), bool), REFERENCE_FRAMES)
    curves, habits = played(PLAYED, picked, len(seconds), 1 / float(seconds[1] - seconds[0]))
    truth = in_deviations(data.crop_motion[others], scale)
    found, done = train_ear(
        method,
        PersonEmbedder(),
        heard,
        truth,
        (in_deviations(curves, scale), habits),
        plan,
        job.out / f"{kind.name}_ear",
        minutes=job.minutes,
    )
    told = found.tells(kept)
    if done:  # what has stopped early goes on with the same command, and does not land
        method.save_pretrained(folder, "tiny", thinned_lora(backbone, folder), recipe="ear", half=True)
    return {"told": told, "written": done}


def thin(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Writes the LoRA of every method in ``job.assets`` again, thinned; the frame reader, the same for all that hear, is kept once."""
    from slotid.identity.variants import VARIANTS
    from slotid.train.lean import share_trunk
    from slotid.train.recipes import new_backbone

    ranks = {}
    for kind in VARIANTS:
        folder = job.assets / "identity" / kind.name
        lora = thinned_lora(new_backbone(job), folder)
        if lora is None:
            raise SlotIDError(f"{folder} has no LoRA; run `python -m slotid train assemble` first.")
        about = json.loads((folder / "config.json").read_text())
        method = kind.from_pretrained(folder)
        method.save_pretrained(folder, "tiny", lora, recipe=about["recipe"], half=True)
        ranks[kind.name] = lora.plan.rank
    share_trunk(job.assets / "identity")
    return {"rank": ranks}


def thinned_lora(backbone, folder: Path, rank: int = THIN) -> nn.Module | None:
    """The LoRA of a method's folder on ``backbone``, of each layer the ``rank`` largest directions; None where it has none.

    It lands at a tenth of its strength, where they can hardly be told from all of it; four methods, three with ears, fit in 60 MB so.
    """
    import torch

    from slotid.backbone.backbone import LoraPlan
    from slotid.identity.weights import fill, read_tensors

    about = json.loads((folder / "config.json").read_text())["lora"]
    if about is None:
        return None
    whole = read_tensors(folder / "lora.safetensors")
    rank = min(rank, about["rank"])
    kept = {}
    for name in (key.removesuffix("lora_A") for key in whole if key.endswith("lora_A")):
        u, size, v = torch.linalg.svd(whole[name + "lora_B"].float() @ whole[name + "lora_A"].float(), full_matrices=False)
        root = size[:rank].sqrt()
        kept |= {name + "lora_A": root[:, None] * v[:rank], name + "lora_B": u[:, :rank] * root}
    scale = (about["rank"] if about["alpha"] is None else about["alpha"]) / about["rank"]
    plan = LoraPlan(rank, scale * rank, about["attention"], tuple(about["projections"]))
    lora = backbone.adopt(plan)
    fill(lora, kept, folder)
    return lora
