"""A training can go on from the landed weights alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slotid.backbone.tiny import REFINER_FOLDER, TINY_FOLDER, load_tiny
from slotid.identity.movement import Movement
from slotid.identity.slots import SlotID
from slotid.train import recipes
from slotid.train.loop import load_weights
from slotid.train.refine import trained_refiner
from slotid.types import SlotIDError

pytestmark = pytest.mark.skipif(not (TINY_FOLDER / "model_index.json").is_file(), reason="needs the embedded pipeline in assets/tiny")


def test_the_basis_of_motion_is_played_once_and_goes_with_the_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    job = recipes.Job(tmp_path / "clips", tmp_path / "stills", tmp_path / "out", Path(TINY_FOLDER))
    mean, directions = recipes._motion_basis(job)
    assert directions.shape == (62, recipes.MOTION_CHANNELS)
    note = job.out / "base" / recipes.MOTION_FILE
    save_file({"mean": mean, "directions": 2 * directions}, note)
    assert torch.equal(recipes._motion_basis(job)[1], 2 * directions), "kept, not played anew"
    landed = Path(TINY_FOLDER) / recipes.MOTION_FILE
    if landed.exists():
        recipes.run("again", replace(job, out=tmp_path / "next"))
        again = load_file(tmp_path / "next" / "base" / recipes.MOTION_FILE)
        assert all(torch.equal(again[name], value) for name, value in load_file(landed).items())


def test_what_was_landed_is_where_the_next_training_starts(tmp_path):
    job = recipes.Job(tmp_path / "clips", tmp_path / "stills", tmp_path / "out", Path(TINY_FOLDER))
    refine = ["refine"] if (TINY_FOLDER / REFINER_FOLDER).is_dir() else []
    assert recipes.run("again", job)["stages"] == ["vae", "base", "text", *refine, "slots_start", "frames"]
    landed, started = load_tiny(), recipes.trained_base(job)
    for part in ("transformer", "vae", "text_encoder"):
        weights = getattr(started, part).state_dict()
        assert all(torch.equal(weights[name], value) for name, value in getattr(landed, part).state_dict().items()), part
    assert started.vae.config.latents_std == landed.vae.config.latents_std
    refiner = trained_refiner(job, landed.spec)
    assert refine == [] or all(torch.equal(refiner.state_dict()[n], value) for n, value in landed.refiner.state_dict().items())
    assert started.read(["a person smiles"]).equal(landed.read(["a person smiles"]))
    assert json.loads((job.out / "base/checkpoint/state.json").read_text())["step"] == 0
    learner = recipes._learner(replace(job, method="anchor"), lora=False)
    start = job.out / "slots_start" / "checkpoint"
    load_weights(learner, start)
    slots = SlotID.from_pretrained(TINY_FOLDER / "identity" / "slots")
    landed_slots, own = slots.state_dict(), learner.method.state_dict()
    assert {name for name in landed_slots if name not in own} == {name for name in landed_slots if name.startswith("movement.")}
    assert all(torch.equal(value, landed_slots[name]) for name, value in own.items())  # ears are added by a later stage
    movement = Movement(slots.config.width, 3)
    load_weights(movement, job.out / "frames" / "checkpoint")  # as `train ear` does
    assert all(torch.equal(value, slots.movement.reader.state_dict()[name]) for name, value in movement.reader.state_dict().items())
    with pytest.raises(SlotIDError, match="holds a training already"):
        recipes.run("again", job)


def test_a_landed_base_goes_on_with_channels_of_motion_and_draws_the_same_while_they_are_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "MOTION_CHANNELS", load_tiny().spec.channels - recipes.LATENT_CHANNELS + 3)
    job = recipes.Job(tmp_path / "clips", tmp_path / "stills", tmp_path / "out", Path(TINY_FOLDER))
    recipes.run("again", job)
    landed, started = load_tiny(), recipes.trained_base(job)
    assert started.spec.channels == landed.spec.channels + 3 == len(started.vae.config.latents_mean)
    x, text = torch.randn(1, landed.spec.channels, 2, 8, 8), landed.read(["a person smiles"])
    with torch.no_grad():
        before = landed.velocity(x, 0.6, text)
        still, moved = torch.zeros(1, 3, 2, 8, 8), torch.randn(1, 3, 2, 8, 8)
        empty, moving = (started.velocity(torch.cat([motion, x], 1), 0.6, text) for motion in (still, moved))
        assert torch.allclose(empty[:, 3:], before, atol=1e-4) and not torch.allclose(moving[:, 3:], before, atol=1e-2)
        assert torch.allclose(started.to_pixels(torch.cat([moved, x], 1)), landed.to_pixels(x), atol=1e-5)
