"""The whole story, small: train four steps with a resume at two, save, load, read an example, make a film, open the page."""

import json
from pathlib import Path

import pytest
import torch
from small import small_backbone, small_method
from small_world import embedder, world

from slotid.backbone.backbone import LoraPlan
from slotid.backbone.tiny import load_tiny, save_tiny
from slotid.cli.main import main
from slotid.clip import read_clip, read_settings
from slotid.train.base import train_base
from slotid.train.loop import Plan
from slotid.train.slots import SlotLearner, train_slots

EXAMPLE = next(iter(sorted(Path("examples").glob("*/reference.mp4"))), None)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A pipeline folder with identity weights, trained for a moment."""
    runs, folder = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("tiny")
    backbone, people = small_backbone(), embedder()
    plan = Plan(steps=4, batch=2, lr=1e-3, warmup=1)
    half = Plan(**{**plan.__dict__, "steps": 2})
    assert train_base(backbone, people, world(False), world(True), half, runs / "base", still_share=0.5)["step"] == 2
    state = json.loads((runs / "base/checkpoint/state.json").read_text())
    assert state["step"] == 2
    assert train_base(backbone, people, world(False), world(True), plan, runs / "base", still_share=0.5)["step"] == 4
    backbone.transformer.requires_grad_(False)
    save_tiny(backbone, folder)
    frozen = load_tiny(folder)
    lora = frozen.adopt(LoraPlan(rank=2))
    learner = SlotLearner(small_method(anchors=4), frozen, people, lora)
    train_slots(learner, world(False), world(True), plan, runs / "slots", with_flow=True)
    learner.method.eval().save_pretrained(folder / "identity" / "slots", "tiny", lora)
    return folder


@pytest.mark.skipif(EXAMPLE is None, reason="examples/ holds no reference clip")
def test_train_save_load_generate(pipeline, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SLOTID_TINY", str(pipeline))
    code = tmp_path / "code.safetensors"
    assert main(["encode", str(EXAMPLE), "--out", str(code)]) == 0
    film = tmp_path / "film.mp4"
    capsys.readouterr()
    arguments = ["--reference", str(code), "--prompt", "a person smiles", "--out", str(film), "--steps", "2", "--json"]
    assert main(["generate", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["prompt"] == "a person smiles"
    clip = read_clip(film)
    assert clip.frames.shape[1:] == (64, 64, 3) and len(clip.frames) >= 5
    assert read_settings(film)["ai_generated"] is True


def test_the_page_builds():
    import app
    from slotid.page.engine import Engine

    assert app.build(Engine("tiny"), []).fns  # the Blocks with its events


def test_weights_are_float16_safetensors_only(pipeline):
    files = [p for p in pipeline.rglob("*") if p.is_file() and p.suffix not in (".json", ".txt", ".md")]
    assert files and all(p.suffix in (".safetensors", ".model") for p in files)
    from safetensors.torch import load_file

    assert all(
        t.dtype == torch.float16 for t in load_file(next(pipeline.glob("transformer/*.safetensors"))).values() if t.is_floating_point()
    )
