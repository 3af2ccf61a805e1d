"""How the embedded pipeline draws, and what is made good at the end of its films (``calibrate``)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

# Why so: LOG.md, fifth and tenth to fifteenth training, and assets/tiny/REPORT.md
SAMPLING: dict[str, Any] = {
    "steps": 8,
    "text_guidance": 1.7,
    "identity_guidance": 1.7,  # as text's: a stream less a step
    "attention_guidance": 0.25,
    "attention_block": 4,
    "finish_steady": 2,
}
FINISH_FILE = "finish.json"


def finish_of(job) -> dict[str, Any]:
    """``calibrate`` of the trained base of a ``recipes.Job``, kept beside its weights."""
    from slotid.train.base import PersonEmbedder
    from slotid.train.calibrate import calibrate
    from slotid.train.recipes import latents, trained_base
    from slotid.train.refine import trained_refiner

    backbone = trained_base(job)
    (clips,) = latents(job, backbone.vae, (job.clips,))
    backbone.spec, backbone.refiner = replace(backbone.spec, **SAMPLING), trained_refiner(job, backbone.spec)
    spec = replace(backbone.spec, finish_gain=calibrate(backbone, PersonEmbedder(), clips))
    keep_finish(spec, job.out / "base")
    return read_finish(job.out / "base")


def keep_finish(spec, folder: Path) -> None:
    """Writes a ``Spec``'s finish, where it has one, into ``folder``. A base that is trained on needs another: run ``finish`` again."""
    if spec.finish_gain:
        (folder / FINISH_FILE).write_text(json.dumps({"finish_gain": spec.finish_gain}) + "\n")


def read_finish(folder: Path) -> dict[str, tuple[float, ...]]:
    """What ``finish_of`` kept in ``folder``; nothing where it has not run."""
    file = folder / FINISH_FILE
    return {name: tuple(value) for name, value in json.loads(file.read_text()).items()} if file.exists() else {}
