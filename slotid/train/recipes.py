"""How the embedded weights are made, one function a stage, in the order they run. Each resumes from its own folder under ``--out``.

    python -m slotid world render --tripod --people 10000:11400 --clips 2 --references 1 --defects 0 --out runs/clips
    (and --people 60000:61224, 63000:64504 into the same folder, for a card; then all of it with --calm into runs/clips_calm)
    python -m slotid world render --tripod --people 20000:22400 --clips 1 --references 0 --seconds 2.67 --fps 1.5 --out runs/stills
    (and --people 50000:54012 into the same folder: those the base sees from its 13,200th step on)
    python -m slotid world render --people 0:500 --clips 2 --references 1 --defects 0 --out runs/cameras
    python -m slotid world render --people 30000:46650 --clips 1 --references 0 --defects 0 --seconds 2.67 --fps 1.5 --out runs/people
    python -m slotid train vae_solve     (closed form, 2 minutes)
    python -m slotid train vae_stills --also runs/cameras
    python -m slotid train text          (the text encoder alone, 5 minutes)
    python -m slotid train base          (by two processes, which go apart: see the README; then on a CUDA card, with more films)
    python -m slotid train refine        (what its films lack of their plans, by the clips' calm twins)
    python -m slotid train finish --clips runs/kept    (how flat its films are, by people that nothing learned from; 3 minutes)
    python -m slotid train slots_start --also runs/cameras runs/people
    python -m slotid train slots_read --also runs/cameras runs/people
    python -m slotid train slots_flow    (and both with --method anchor, mean, attention)
    python -m slotid train assemble      (writes assets/tiny)
    python -m slotid train frames --stills runs/moments    python -m slotid train ear    (and ear with --method attention, mean)
    python -m slotid train thin          python -m slotid train lean --method attention    (and mean: both on Slot-ID's trunk)
    python -m slotid train judge_looks   python -m slotid train judge_habits   python -m slotid train judge_facts

`python -m slotid train again --out runs/next` fills an empty folder from assets/tiny, so that a training can go on from what has landed.

The judges' recipes (JUDGES, with what to expect of each) learn from people of their own and share nothing with the others.
What each gave, on which machine and for how long, is in LOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slotid.train.again import from_assets
from slotid.train.finish import SAMPLING, finish_of, read_finish
from slotid.train.judge_recipes import JUDGES as JUDGES
from slotid.train.lean import lean
from slotid.train.loop import Plan, device_here
from slotid.train.movement_recipes import ear, frames, thin
from slotid.train.refine import refine, trained_refiner
from slotid.train.twins import calm_films, shown_of
from slotid.train.vae_recipes import load_vae, vae_solve, vae_stills
from slotid.types import SlotIDError

LATENT_CHANNELS = 48  # of a picture
MOTION_CHANNELS = 16  # before those, of what moves in it (``train.motion``)
LEAST_SCALE = 0.4  # deviation of the least important latent channel given to the flow; the first has 1
LORA_RANK = 16
LORA_SHARE = 0.1  # of what it learned: the more, the less alike are people that it has not seen (LOG.md, twelfth and thirteenth)
READER = {"width": 160, "heads": 5}  # of the encoder: four methods' weights and the pipeline fit in 60 MB so
MOTION_FILE = "motion.safetensors"  # what those channels tell, beside the weights that know them


@dataclass(frozen=True)
class Job:
    """Where a recipe reads and writes, and how far it goes this time."""

    clips: Path
    stills: Path
    out: Path
    assets: Path
    steps: int | None = None  # None: the recipe's own
    minutes: float | None = None  # None: until the steps are done
    method: str = "slots"  # or one of identity.variants, for the slots_* stages
    also: tuple[Path, ...] = ()  # shards filmed by every kind of camera: the decoder and slots_read learn from them besides


@dataclass(frozen=True)
class Recipe:
    """A stage: what runs, its plan (None: no loop), and what to expect of it."""

    run: Callable[[Job, Plan | None], dict[str, Any]]
    plan: Plan | None
    expected: str
    card: Plan | None = None  # on a CUDA card, where a step of many films takes no longer; None: the same plan


def new_backbone(job: Job):
    """The tiny pipeline with this file's sizes; VAE, tokenizer and the latents' scale are those of ``job.out`` as far as they exist.

    The tokenizer, fixed at the first start, knows every word of the captions.
    """
    from transformers import PreTrainedTokenizerFast

    from slotid.backbone.tiny import build_tiny, build_tokenizer, with_motion
    from slotid.train.vae import build_vae
    from slotid.world.captions import WORDS, caption
    from slotid.world.take import direct

    folder = job.out / "base"
    if (folder / "tokenizer").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    else:
        tokenizer = build_tokenizer([*WORDS, *(caption(direct(seed, clip).facts, seed) for seed in range(400) for clip in range(2))])
        tokenizer.save_pretrained(folder / "tokenizer")
    backbone = build_tiny(0, tokenizer=tokenizer, channels=LATENT_CHANNELS, motion=MOTION_CHANNELS)
    vae = build_vae(LATENT_CHANNELS)
    load_vae(vae, job)
    backbone.vae = with_motion(vae, MOTION_CHANNELS).requires_grad_(False).eval()
    if (folder / "latents.json").exists():
        _set_latents(backbone, *json.loads((folder / "latents.json").read_text()))
    return backbone


def _set_latents(backbone, mean: list[float], std: list[float]) -> None:
    """``mean`` and ``std`` of a picture's channels; those of motion are scaled as they are told."""
    backbone.vae.register_to_config(latents_mean=[0.0] * MOTION_CHANNELS + mean, latents_std=[1.0] * MOTION_CHANNELS + std)


def latents(job: Job, vae, folders: tuple[Path, ...] = ()):
    """Of the job's clips and stills, or of other folders, with what moves in them."""
    from slotid.train.motion import fill_motion
    from slotid.train.pairs import encode_shards

    basis = _motion_basis(job)
    vae.to(device_here())
    found = [encode_shards(folder, vae, job.out / f"{folder.name}.latents.safetensors") for folder in folders or (job.clips, job.stills)]
    vae.to("cpu")
    for data in found:
        fill_motion(data.films, data.motion, basis)
    return found


def _motion_basis(job: Job):
    """What the channels of motion tell: fixed at the first start, as every later stage has to mean the same by them."""
    from safetensors.torch import load_file, save_file

    from slotid.train.motion import motion_basis

    note = job.out / "base" / MOTION_FILE
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(zip(("mean", "directions"), motion_basis(MOTION_CHANNELS), strict=True)), note)
    kept = load_file(note)
    return kept["mean"], kept["directions"]


def text(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The text encoder learns which facts a caption tells."""
    from slotid.train.quick import float_attention
    from slotid.train.text import train_text

    with float_attention():
        return train_text(new_backbone(job), plan, job.out / "text", minutes=job.minutes)


def _load_text(backbone, job: Job) -> None:
    """The text encoder that ``text`` trained."""
    from slotid.train.loop import load_weights
    from slotid.train.text import TextLearner

    load_weights(TextLearner(backbone), job.out / "text" / "checkpoint")
    backbone.text_encoder.requires_grad_(False)


def _scaled(backbone, clips, stills, job: Job) -> None:
    """Gives the backbone the latents' mean and deviation: fixed at the first start, a resumed run must not shift its own target."""
    import torch

    note = job.out / "base" / "latents.json"
    if not note.exists():
        rows = torch.cat([d.films[:, MOTION_CHANNELS:].float().transpose(0, 1).flatten(1)[:, :300_000] for d in (clips, stills)], 1)
        scale = torch.linspace(1.0, LEAST_SCALE, LATENT_CHANNELS)  # fine channels smaller: coarse things are decided first
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps([rows.mean(1).tolist(), (rows.std(1) / scale).tolist()]))
    _set_latents(backbone, *json.loads(note.read_text()))


def base(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The transformer from nothing, the text encoder from ``text``, told persons by the privileged embedder in most steps."""
    import shutil

    from slotid.train.base import PersonEmbedder, train_base
    from slotid.train.quick import float_attention, muon

    backbone = new_backbone(job)
    clips, stills, *calm = latents(job, backbone.vae, (job.clips, job.stills, *([twins_of(job)] if twins_of(job).is_dir() else [])))
    _scaled(backbone, clips, stills, job)
    _load_text(backbone, job)
    options = {"minutes": job.minutes, "optimizers": muon, "compiled": shutil.which("g++") is not None}
    options["calm"] = calm_films(clips, *calm) if calm else None
    if device_here().type == "cpu":
        options["still_share"] = 0.25
    else:  # what does not run compiled is for lengths and people that whole films do not show
        options |= {"still_share": 0.06, "few_share": 0.1}
    with float_attention():
        return train_base(backbone, PersonEmbedder(), clips, stills, plan, job.out / "base", **options)


def twins_of(job: Job) -> Path:
    """The folder of calm twins of the job's clips, beside theirs."""
    return job.clips.with_name(f"{job.clips.name}_calm")


def trained_base(job: Job):
    """The frozen backbone of a finished ``base`` run."""
    from slotid.train.base import BaseLearner, PersonEmbedder
    from slotid.train.loop import load_weights

    backbone = new_backbone(job)
    learner = BaseLearner(backbone, PersonEmbedder())
    load_weights(learner, job.out / "base" / "checkpoint")
    _load_text(backbone, job)
    learner.requires_grad_(False)
    return backbone


def _learner(job: Job, lora: bool, backbone=None, motion=None):
    """``backbone``: one at hand. ``motion``: see ``SlotLearner``; only in training."""
    import torch

    from slotid.backbone.backbone import LoraPlan
    from slotid.identity.slots import SlotConfig
    from slotid.identity.variants import VARIANTS
    from slotid.train.base import PersonEmbedder
    from slotid.train.slots import SlotLearner

    kinds = {kind.name: kind for kind in VARIANTS}
    if job.method not in kinds:
        raise SlotIDError(f"Method '{job.method}' is not trained by this recipe; choose one of {', '.join(kinds)}.")
    kind = kinds[job.method]
    # reading needs no base, only the VAE and the latents' scale: it may run while the base is trained
    backbone = backbone or (trained_base(job) if lora else new_backbone(job))
    weights = backbone.adopt(LoraPlan(rank=LORA_RANK)) if lora else None
    torch.manual_seed(1)
    method = kind(SlotConfig(latent_channels=LATENT_CHANNELS, passed_over=MOTION_CHANNELS, reader=kind.reader, **READER))
    return SlotLearner(method, backbone, PersonEmbedder(), weights, motion)


def slots_start(job: Job, plan: Plan | None) -> dict[str, Any]:
    """What Slot-ID and its variants have in common, learned once: the same encoder learns to read people, through transport."""
    return _read(replace(job, method="slots"), plan, None, job.out / "slots_start")


def slots_read(job: Job, plan: Plan | None) -> dict[str, Any]:
    """From the common start on, each method reads in its own way. No backbone call, so it is cheap."""
    return _read(job, plan, job.out / "slots_start", job.out / f"{job.method}_read")


def _read(job: Job, plan: Plan | None, start: Path | None, out: Path) -> dict[str, Any]:
    """The encoder learns to read people and to meet the base's person tokens."""
    import torch

    from slotid.train.loop import load_weights
    from slotid.train.motion import scale_of
    from slotid.train.pairs import joined
    from slotid.train.quick import float_attention
    from slotid.train.slots import train_slots, visible_weight

    backbone = new_backbone(job)
    read = latents(job, backbone.vae, (job.clips, job.stills, *job.also))
    learner = _learner(job, False, backbone, scale_of(torch.cat([data.crop_motion.flatten(0, 1) for data in read])))
    learner.weigh(visible_weight(read))
    if start is not None and not (out / "checkpoint").exists():
        load_weights(learner, start / "checkpoint")
    clips, stills = (joined([data for data in read if data.sparse == sparse]) for sparse in (False, True))
    with float_attention():
        return train_slots(learner, clips, stills, plan, out, with_flow=False, minutes=job.minutes)


def slots_flow(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Encoder, gates and LoRA by the frozen base's own velocity, on cross-scene pairs."""
    from slotid.train.loop import load_weights
    from slotid.train.motion import scale_of
    from slotid.train.quick import float_attention
    from slotid.train.slots import train_slots, visible_weight

    backbone, out = trained_base(job), job.out / f"{job.method}_flow"
    (clips,) = latents(job, backbone.vae, (job.clips,))  # takes of four moments have no partner in another scene
    learner = _learner(job, True, backbone, scale_of(clips.crop_motion.flatten(0, 1)))
    learner.weigh(visible_weight([clips]))
    if not (out / "checkpoint").exists():
        load_weights(learner, job.out / f"{job.method}_read" / "checkpoint")
    with float_attention():
        return train_slots(learner, clips, None, plan, out, with_flow=True, meet=0.5, still_share=0.0, minutes=job.minutes)


def assemble(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Writes the trained pipeline into ``assets/tiny``, and the weights of every method that has been trained."""
    import shutil

    from slotid.backbone.tiny import REFINER_FOLDER, save_tiny
    from slotid.identity.variants import VARIANTS
    from slotid.train.loop import load_weights

    backbone = trained_base(job)
    backbone.spec = replace(backbone.spec, **SAMPLING, **read_finish(job.out / "base"))
    backbone.refiner = trained_refiner(job, backbone.spec)
    job.assets.mkdir(parents=True, exist_ok=True)
    for stale in ("transformer", "vae", REFINER_FOLDER):  # other sizes may have had other numbers of files
        shutil.rmtree(job.assets / stale, ignore_errors=True)
    save_tiny(backbone, job.assets)
    shutil.copyfile(job.out / "base" / MOTION_FILE, job.assets / MOTION_FILE)
    made = {}
    for kind in VARIANTS:
        stage = next((s for s in ("flow", "read") if (job.out / f"{kind.name}_{s}" / "checkpoint").exists()), None)
        if stage is None:
            continue
        learner = _learner(replace(job, method=kind.name), lora=stage == "flow")
        load_weights(learner, job.out / f"{kind.name}_{stage}" / "checkpoint", without="watch.")
        if learner.lora is not None:
            learner.lora.plan = replace(learner.lora.plan, alpha=LORA_SHARE * LORA_RANK)
        folder = job.assets / "identity" / kind.name
        learner.method.eval().save_pretrained(folder, "tiny", learner.lora, recipe=f"slots_{stage}", half=True)
        made[kind.name] = stage
    sizes = {str(p.relative_to(job.assets)): p.stat().st_size for p in sorted(job.assets.rglob("*.safetensors"))}
    return {"methods": made, "bytes": sum(sizes.values()), "files": sizes}


RECIPES: dict[str, Recipe] = {
    "again": Recipe(lambda job, _: from_assets(job.assets, job.out), None, "an empty --out filled from assets/tiny, to go on from"),
    "vae_solve": Recipe(vae_solve, None, "linear bound 29 dB; the decoder starts at 19.7 dB"),
    "vae_stills": Recipe(
        vae_stills, Plan(steps=9900, batch=16, lr=3e-4, warmup=200, cooldown=0.42, ema=0.99, precision="bf16"), "see LOG.md"
    ),
    "text": Recipe(
        text,
        Plan(steps=900, batch=128, lr=1.5e-3, warmup=30, cooldown=0.4, ema=0.97, precision="bf16"),
        "0.94 of the facts a caption names, told by the mean of its tokens",
    ),
    "base": Recipe(
        base,
        Plan(steps=20200, batch=8, lr=0.9e-3, warmup=100, cooldown=0.06, ema=0.99, apart=8, precision="bf16", save_minutes=3),
        "see LOG.md",
        Plan(steps=1842, batch=256, lr=1.5e-3, warmup=50, cooldown=0.6, ema=0.99, precision="bf16", save_minutes=1),
    ),
    "slots_start": Recipe(
        slots_start, Plan(steps=16600, batch=12, lr=8e-4, warmup=100, cooldown=0.1, ema=0.99, precision="bf16"), "see LOG.md"
    ),
    "slots_read": Recipe(slots_read, Plan(steps=400, batch=12, lr=8e-4, warmup=30, cooldown=0.6, ema=0.99, precision="bf16"), "see LOG.md"),
    "slots_flow": Recipe(
        slots_flow,
        Plan(steps=150, batch=16, lr=3e-4, warmup=50, cooldown=0.4, ema=0.99, precision="bf16"),
        "see LOG.md",
        Plan(steps=325, batch=192, lr=4e-4, warmup=50, cooldown=0.6, ema=0.99, precision="bf16", save_minutes=1),
    ),
    "refine": Recipe(refine, Plan(steps=3300, batch=16, lr=1e-3, warmup=30, cooldown=0.6, ema=0.99, apart=8), "see LOG.md"),
    "finish": Recipe(lambda job, _: finish_of(job), None, "beside the base: gains of 1 to 1.4 for the fine channels, 3 minutes"),
    "shown": Recipe(lambda job, _: shown_of(job), None, "of --clips kept out and their calm twins beside them; a minute"),
    "frames": Recipe(frames, Plan(steps=3000, batch=16, lr=2e-3, warmup=50, cooldown=0.8, weight_decay=0.05, ema=0.995), "see LOG.md"),
    "ear": Recipe(ear, Plan(steps=3000, batch=192, lr=2e-3, warmup=50, cooldown=0.8, weight_decay=0.05, ema=0.99), "see LOG.md"),
    "thin": Recipe(thin, None, "the methods' LoRA at rank 4 and one frame reader for all, so that they fit in 60 MB"),
    "lean": Recipe(lean, Plan(steps=400, batch=12, lr=1e-3, warmup=20, cooldown=0.7, weight_decay=0.0, ema=0.98), "see LOG.md"),
    "assemble": Recipe(assemble, None, "assets/tiny, about 55 MB in files under 16 MB"),
}


def run(name: str, job: Job) -> dict[str, Any]:
    """Runs a recipe by name. Raises SlotIDError for an unknown name."""
    if name not in RECIPES:
        raise SlotIDError(f"Unknown recipe '{name}'; there are {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    plan = recipe.plan if device_here().type == "cpu" else recipe.card or recipe.plan
    if plan is not None and job.steps is not None:
        plan = replace(plan, steps=job.steps)
    return recipe.run(job, plan)
