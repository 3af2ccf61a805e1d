"""How the embedded weights are made, one function a stage, in the order they run. Each resumes from its own folder under ``--out``.

    python -m slotid world render --people 0:1200 --clips 2 --references 1 --defects 0.35 --seconds 2.08 --out runs/clips
    python -m slotid world render --people 2000:5000 --clips 2 --references 1 --defects 0.35 --seconds 2.67 --fps 1.5 --out runs/stills
    python -m slotid train vae_solve     (closed form, 2 minutes)
    python -m slotid train vae_stills    python -m slotid train vae_clips
    python -m slotid train text          (the text encoder alone, 5 minutes)
    python -m slotid train base
    python -m slotid train slots_read    python -m slotid train slots_flow
    python -m slotid train assemble      (writes assets/tiny)
    python -m slotid train judge_looks   python -m slotid train judge_habits   python -m slotid train judge_facts

The judges' recipes (JUDGES, with what to expect of each) learn from people of their own and share nothing with the others.
What each gave, on which machine and for how long, is in LOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slotid.train.judge_recipes import JUDGES as JUDGES
from slotid.train.loop import Plan
from slotid.types import SlotIDError

LATENT_CHANNELS = 48
STILL_CHANNELS = 36  # of a later latent frame; the other 12 hold motion
LEAST_SCALE = 0.4  # deviation of the least important latent channel given to the flow; the first has 1
LORA_RANK = 16
GUIDANCE = 2.5  # text and identity alike: two streams a step instead of three; looked at: 1.5 is pale, 3 saturates


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


@dataclass(frozen=True)
class Recipe:
    """A stage: what runs, its plan (None: no loop), and what to expect of it."""

    run: Callable[[Job, Plan | None], dict[str, Any]]
    plan: Plan | None
    expected: str


def new_backbone(job: Job):
    """The tiny pipeline with this file's sizes; VAE, tokenizer and the latents' scale are those of ``job.out`` as far as they exist.

    The tokenizer, fixed at the first start, knows every word of the captions.
    """
    from transformers import PreTrainedTokenizerFast

    from slotid.backbone.tiny import build_tiny
    from slotid.world.captions import WORDS, caption
    from slotid.world.take import direct

    sentences = [*WORDS, *(caption(direct(seed, clip).facts, seed) for seed in range(400) for clip in range(2))]
    folder = job.out / "base"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer") if (folder / "tokenizer").exists() else None
    backbone = build_tiny(0, sentences, tokenizer, channels=LATENT_CHANNELS)
    if tokenizer is None:
        backbone.tokenizer.save_pretrained(folder / "tokenizer")
    _load_vae(backbone.vae, job)
    if (folder / "latents.json").exists():
        _set_latents(backbone, *json.loads((folder / "latents.json").read_text()))
    return backbone


def _load_vae(vae, job: Job) -> None:
    """The furthest trained VAE there is."""
    from safetensors.torch import load_file

    from slotid.train.loop import load_weights

    solved = job.out / "vae" / "solved.safetensors"
    if not solved.exists():
        raise SlotIDError(f"No solved VAE at {solved}; run `python -m slotid train vae_solve` first.")
    vae.load_state_dict(load_file(solved))
    for stage in ("clips", "stills"):
        if (job.out / "vae" / stage / "checkpoint").exists():
            load_weights(vae, job.out / "vae" / stage / "checkpoint")
            return


def _set_latents(backbone, mean: list[float], std: list[float]) -> None:
    backbone.vae.register_to_config(latents_mean=mean, latents_std=std)


def vae_solve(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Encoder and decoder's start in closed form, from a few hundred world clips and pictures from nothing."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from slotid.train.pictures import moving_picture, picture
    from slotid.train.principal import solve_decoder, solve_encoder
    from slotid.train.vae import StillConvs, build_vae, to_video
    from slotid.world.shards import read_shards

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    clips, stills = read_shards(job.clips), read_shards(job.stills)
    runs = []
    for i in rng.permutation(len(clips))[:280]:
        start = int(rng.integers(0, len(clips[i].seconds) - 5))
        runs.append(clips[i].frames()[start : start + 5])
    single = [stills[i].frames()[int(rng.integers(len(stills[i].seconds)))] for i in rng.permutation(len(stills))[:220]]
    runs += [np.repeat(frame[None], 5, 0) for frame in single[:80]]
    runs += [moving_picture(rng, 5, 128) for _ in range(40)]
    vae = build_vae(LATENT_CHANNELS)
    found = solve_encoder(vae, to_video(np.stack(runs)), STILL_CHANNELS)
    with StillConvs(vae):
        found["decoder"] = solve_decoder(vae, to_video(np.stack([*single, *(picture(rng, 128) for _ in range(30))])[:, None]))
    (job.out / "vae").mkdir(parents=True, exist_ok=True)
    save_file({n: t.detach().contiguous() for n, t in vae.state_dict().items()}, job.out / "vae" / "solved.safetensors")
    return found


def vae_stills(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The decoder on single frames."""
    from slotid.train.vae import build_vae, train_decoder

    vae = build_vae(LATENT_CHANNELS)
    _load_vae(vae, job)
    return train_decoder(vae, [job.stills, job.clips], plan, job.out / "vae" / "stills", frames=1, minutes=job.minutes)


def vae_clips(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The decoder on runs of nine frames: its temporal taps."""
    from slotid.train.vae import build_vae, train_decoder

    vae = build_vae(LATENT_CHANNELS)
    _load_vae(vae, job)
    return train_decoder(vae, [job.clips], plan, job.out / "vae" / "clips", frames=9, minutes=job.minutes)


def _latents(job: Job, vae):
    from slotid.train.pairs import encode_shards

    return [
        encode_shards(folder, vae, job.out / f"{name}.latents.safetensors")
        for name, folder in (("clips", job.clips), ("stills", job.stills))
    ]


def text(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The text encoder learns which facts a caption tells."""
    from slotid.train.quick import float_attention
    from slotid.train.text import train_text

    with float_attention():
        return train_text(new_backbone(job), plan, job.out / "text", minutes=job.minutes)


def base(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The transformer from nothing, the text encoder from ``text``, told persons by the privileged embedder in most steps."""
    import shutil

    import torch

    from slotid.train.base import PersonEmbedder, train_base
    from slotid.train.loop import load_weights
    from slotid.train.quick import float_attention, muon
    from slotid.train.text import TextLearner

    backbone = new_backbone(job)
    clips, stills = _latents(job, backbone.vae)
    note = job.out / "base" / "latents.json"
    if not note.exists():  # fixed at the first start: a resumed run must not shift its own target
        rows = torch.cat([d.films.float().transpose(0, 1).flatten(1)[:, :300_000] for d in (clips, stills)], 1)
        scale = torch.linspace(1.0, LEAST_SCALE, LATENT_CHANNELS)  # fine channels smaller: coarse things are decided first
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps([rows.mean(1).tolist(), (rows.std(1) / scale).tolist()]))
    _set_latents(backbone, *json.loads(note.read_text()))
    if (job.out / "text" / "checkpoint").exists() and not (job.out / "base" / "checkpoint").exists():
        load_weights(TextLearner(backbone), job.out / "text" / "checkpoint")
    options = {"still_share": 0.25, "minutes": job.minutes, "optimizers": muon, "compiled": shutil.which("g++") is not None}
    with float_attention():
        return train_base(backbone, PersonEmbedder(), clips, stills, plan, job.out / "base", **options)


def trained_base(job: Job):
    """The frozen backbone of a finished ``base`` run."""
    from slotid.train.base import BaseLearner, PersonEmbedder
    from slotid.train.loop import load_weights

    backbone = new_backbone(job)
    learner = BaseLearner(backbone, PersonEmbedder())
    load_weights(learner, job.out / "base" / "checkpoint")
    learner.requires_grad_(False)
    return backbone


def _learner(job: Job, lora: bool):
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
    backbone = trained_base(job) if lora else new_backbone(job)
    weights = backbone.adopt(LoraPlan(rank=LORA_RANK)) if lora else None
    torch.manual_seed(1)
    method = kind(SlotConfig(latent_channels=LATENT_CHANNELS, reader=kind.reader))
    return SlotLearner(method, backbone, PersonEmbedder(), weights)


def slots_read(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The encoder learns to read people and to meet the base's person tokens; no backbone call, so it is cheap."""
    from slotid.train.quick import float_attention
    from slotid.train.slots import train_slots

    learner = _learner(job, lora=False)
    clips, stills = _latents(job, learner.backbone[0].vae)
    with float_attention():
        return train_slots(learner, clips, stills, plan, job.out / f"{job.method}_read", with_flow=False, minutes=job.minutes)


def slots_flow(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Encoder, gates and LoRA by the frozen base's own velocity, on cross-scene pairs."""
    from slotid.train.loop import load_weights
    from slotid.train.quick import float_attention
    from slotid.train.slots import train_slots

    learner, out = _learner(job, lora=True), job.out / f"{job.method}_flow"
    if not (out / "checkpoint").exists():
        load_weights(learner, job.out / f"{job.method}_read" / "checkpoint")
    clips, stills = _latents(job, learner.backbone[0].vae)
    with float_attention():
        return train_slots(learner, clips, stills, plan, out, with_flow=True, meet=0.5, minutes=job.minutes)


def assemble(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Writes the trained pipeline into ``assets/tiny``, and the weights of every method that has been trained."""
    import shutil

    from slotid.backbone.tiny import save_tiny
    from slotid.identity.variants import VARIANTS
    from slotid.train.loop import load_weights

    backbone = trained_base(job)
    backbone.spec = replace(backbone.spec, text_guidance=GUIDANCE, identity_guidance=GUIDANCE)
    job.assets.mkdir(parents=True, exist_ok=True)
    for stale in ("transformer", "vae"):  # other sizes may have had other numbers of files
        shutil.rmtree(job.assets / stale, ignore_errors=True)
    save_tiny(backbone, job.assets)
    made = {}
    for kind in VARIANTS:
        stage = next((s for s in ("flow", "read") if (job.out / f"{kind.name}_{s}" / "checkpoint").exists()), None)
        if stage is None:
            continue
        learner = _learner(replace(job, method=kind.name), lora=stage == "flow")
        load_weights(learner, job.out / f"{kind.name}_{stage}" / "checkpoint")
        folder = job.assets / "identity" / kind.name
        learner.method.eval().save_pretrained(folder, "tiny", learner.lora, recipe=f"slots_{stage}")
        made[kind.name] = stage
    sizes = {str(p.relative_to(job.assets)): p.stat().st_size for p in sorted(job.assets.rglob("*.safetensors"))}
    return {"methods": made, "bytes": sum(sizes.values()), "files": sizes}


RECIPES: dict[str, Recipe] = {
    "vae_solve": Recipe(vae_solve, None, "linear bound 27 dB on stills, 26 dB on clips; the decoder starts at 19.8 dB"),
    "vae_stills": Recipe(vae_stills, Plan(steps=2400, batch=8, lr=2e-4, warmup=200, cooldown=0.4, ema=0.99), "see LOG.md"),
    "vae_clips": Recipe(vae_clips, Plan(steps=500, batch=2, lr=6e-5, warmup=50, cooldown=0.5, ema=0.98), "see LOG.md"),
    "text": Recipe(
        text,
        Plan(steps=250, batch=128, lr=1.5e-3, warmup=30, cooldown=0.4, ema=0.97, precision="bf16"),
        "0.62 of all facts of a clip told rightly; the captions name about as many",
    ),
    "base": Recipe(
        base, Plan(steps=3000, batch=20, lr=1.2e-3, warmup=100, cooldown=0.25, ema=0.99, precision="bf16", save_minutes=3), "see LOG.md"
    ),
    "slots_read": Recipe(
        slots_read, Plan(steps=1500, batch=12, lr=8e-4, warmup=100, cooldown=0.3, ema=0.995, precision="bf16"), "see LOG.md"
    ),
    "slots_flow": Recipe(slots_flow, Plan(steps=600, batch=8, lr=3e-4, warmup=50, cooldown=0.4, ema=0.99, precision="bf16"), "see LOG.md"),
    "assemble": Recipe(assemble, None, "assets/tiny, about 55 MB in files under 16 MB"),
}


def run(name: str, job: Job) -> dict[str, Any]:
    """Runs a recipe by name. Raises SlotIDError for an unknown name."""
    if name not in RECIPES:
        raise SlotIDError(f"Unknown recipe '{name}'; there are {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    plan = recipe.plan
    if plan is not None and job.steps is not None:
        plan = replace(plan, steps=job.steps)
    return recipe.run(job, plan)
