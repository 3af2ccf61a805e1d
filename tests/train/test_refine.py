"""The motion refiner: adds nothing untaught, learns what a picture lacks of its plan, goes with the pipeline, and leaves the plan alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_backbone, stir
from small_world import embedder, world

from slotid import flow
from slotid.backbone.tiny import REFINER_FOLDER, load_tiny, save_tiny
from slotid.evaluate.shelf import Shelf
from slotid.evaluate.study import Study
from slotid.generate import Studio, generate
from slotid.identity.method import Method
from slotid.train import refine
from slotid.train.loop import Plan
from slotid.train.pairs import latent_scale
from slotid.train.quick import muon
from slotid.train.refine import draw, new_refiner, refine_batch, train_refiner
from slotid.train.twins import with_twins
from slotid.types import Request, SlotIDError

PLANNED = 3


def told():
    """A backbone, films whose channel 2 of the picture is moved by the first curve of their plan, and their calm twins."""
    data = world(False, people=8)
    plan = data.motion.transpose(1, 2)[..., None, None].expand(-1, -1, -1, 4, 4)
    clips = replace(data, films=torch.cat([plan, data.films], 1).half())
    calm = clips.films.clone()
    calm[:, PLANNED + 2] -= 2 * plan[:, 0].half()
    return small_backbone(motion=PLANNED), clips, calm


def test_untaught_it_changes_nothing_and_it_never_touches_the_plan():
    backbone, clips, _ = told()
    refiner, film = new_refiner(backbone.spec), clips.films[:2].float()
    assert torch.equal(refiner.refined(film), film)
    stir(refiner)
    done = refiner.refined(film)
    assert torch.equal(done[:, :PLANNED], film[:, :PLANNED]) and not torch.allclose(done[:, PLANNED:], film[:, PLANNED:], atol=0.05)
    for block in refiner.blocks:  # then each frame is alone
        torch.nn.init.zeros_(block.time)
    assert torch.allclose(refiner.refined(film[:, :, 1:2]), refiner.refined(film)[:, :, 1:2], atol=1e-5)


def test_what_is_asked_is_what_lacks(monkeypatch):
    backbone, clips, calm = told()
    mean, std = latent_scale(backbone)
    drawn = (((clips.films[[5, 2]].float() - mean) / std + 0.5).half(), torch.tensor([5, 2]))
    for share in (0.0, 1.0):  # all of a frame, or the cells around a face
        monkeypatch.setattr(refine, "WINDOW_SHARE", share)
        monkeypatch.setattr(refine, "WINDOW", (3, 2))
        monkeypatch.setattr(refine, "NOISE", 0.0)
        batch = refine_batch(clips, calm, drawn, (mean, std), PLANNED, np.random.default_rng(0), 64)
        cells = (3, 2) if share else (4, 4)
        assert batch["frames"].shape == batch["missing"].shape == (64, 3, 8, *cells) and batch["weight"].shape == (64, 1, 1, *cells)
        right = batch["frames"] + batch["missing"]
        assert torch.allclose(batch["missing"][:32], torch.tensor(-0.5), atol=1e-2), "half as the base drew them"
        others = [c for c in range(8) if c != 2]
        assert not batch["missing"][32:, :, others].any(), "nothing else than what the expressions change"
        scale = std[PLANNED + 2, 0, 0, 0]
        moved = 2 * batch["plan"][..., 0] / scale
        assert torch.allclose(batch["lively"][:, :, 2].mean((-2, -1)), moved, atol=1e-2)
        still = right[:, :, 2] - batch["lively"][:, :, 2]  # the twin, which does not know the plan
        assert float(torch.corrcoef(torch.stack([still.mean((-2, -1)).flatten(), moved.flatten()]))[0, 1].abs()) < 0.3


def test_it_learns_to_draw_what_the_plan_says(tmp_path, monkeypatch):
    monkeypatch.setattr(refine, "NOISE", 0.1)
    backbone, clips, calm = told()
    mean, std = latent_scale(backbone)
    plan = Plan(steps=60, batch=16, lr=2e-3, warmup=5, cooldown=0.5, ema=0.9)
    found = train_refiner(backbone, clips, calm, None, plan, tmp_path / "refine", optimizers=muon, log_every=60)
    assert found["step"] == 60
    job = type("Job", (), {"out": tmp_path})()
    refiner = refine.trained_refiner(job, backbone.spec)
    films, still = ((x.float() - mean) / std for x in (clips.films, calm))
    still[:, :PLANNED] = films[:, :PLANNED]
    lacks = (films - still).square().mean()
    assert float((films - refiner.refined(still)).square().mean() / lacks) < 0.3
    assert float((films - refiner.refined(films)).square().mean() / lacks) < 0.2, "what is there already is left"
    assert refine.trained_refiner(type("Job", (), {"out": tmp_path / "nowhere"})(), backbone.spec) is None


def test_the_base_draws_films_on_from_calm_ones(monkeypatch):
    backbone, clips, calm = told()
    films, rows = draw(backbone, embedder(), clips, calm, count=4)
    assert films.shape == (4, 8 + PLANNED, *clips.films.shape[2:]) and films.dtype == torch.float16 and len(set(rows.tolist())) == 4
    again, _ = draw(backbone, embedder(), clips, calm, count=4)
    assert torch.equal(films, again)
    mean, std = latent_scale(backbone)
    real = (clips.films[rows].float() - mean) / std
    assert torch.allclose(films[:, :PLANNED].float(), real[:, :PLANNED], atol=1e-2), "the motion is the film's own"
    off = (films[:, PLANNED:].float() - real[:, PLANNED:]).square().mean()
    monkeypatch.setattr(refine, "BEGIN", (0.01, 0.02))
    near, _ = draw(backbone, embedder(), clips, calm, count=4)
    assert (near[:, PLANNED:].float() - real[:, PLANNED:]).square().mean() < off


def test_only_films_with_a_twin_are_learned_from():
    _, clips, calm = told()
    some = replace(clips, films=calm[[4, 1]], people=clips.people[[4, 1]], index=clips.index[[4, 1]])
    kept, twins = with_twins(clips, some)
    assert kept.people.tolist() == clips.people[[1, 4]].tolist() and torch.equal(twins, calm[[1, 4]]) and len(kept.facts) == 2
    assert torch.equal(kept.films, clips.films[[1, 4]])
    with pytest.raises(SlotIDError, match="--calm"):
        with_twins(clips, replace(some, people=some.people + 100))


def test_it_is_saved_with_the_pipeline_and_used_at_the_end_of_a_film(tmp_path):
    backbone, clips, _ = told()
    save_tiny(backbone, tmp_path / "plain")
    assert not (tmp_path / "plain" / REFINER_FOLDER).exists() and load_tiny(tmp_path / "plain").refiner is None
    backbone.refiner = new_refiner(backbone.spec).eval()
    stir(backbone.refiner)
    save_tiny(backbone, tmp_path / "more")
    assert backbone.refiner.dtype == torch.float32, "saving in half precision must not change the one saved"
    again, film = load_tiny(tmp_path / "more"), clips.films[:1].float()
    assert "refiner" in again.parts() and not any(p.requires_grad for p in again.refiner.parameters())
    assert torch.allclose(again.finished(film), backbone.finished(film), atol=0.05)
    steady = replace(backbone.spec, finish_steady=1)
    again.spec = backbone.spec = steady
    expected = flow.finished(backbone.refiner.refined(film), None, 1, PLANNED)
    assert torch.allclose(backbone.finished(film), expected, atol=1e-6)
    assert sorted(p.suffix for p in (tmp_path / "more" / REFINER_FOLDER).iterdir()) == [".json", ".safetensors"]
    plain, more = (
        list(generate(Studio(load_tiny(tmp_path / name), Method()), Request("a man talks", None, steps=2)))[-1].clip.frames
        for name in ("plain", "more")
    )
    assert plain.shape == more.shape and (plain != more).mean() > 0.5
    next((tmp_path / "more" / REFINER_FOLDER).glob("*.safetensors")).rename(tmp_path / "more" / REFINER_FOLDER / "pytorch_model.bin")
    with pytest.raises(SlotIDError, match="no whole refiner"):
        load_tiny(tmp_path / "more")


def test_an_evaluation_goes_on_with_the_same_refiner_alone(tmp_path):
    backbone, study = small_backbone(motion=PLANNED), object.__new__(Study)
    study.shelf, study.marks = Shelf(tmp_path), {}
    study._same_weights("none", Studio(backbone, Method()))
    backbone.refiner = new_refiner(backbone.spec)
    study._same_weights("none", Studio(backbone, Method()))
    study._same_weights("none", Studio(backbone, Method()))
    stir(backbone.refiner)
    with pytest.raises(SlotIDError, match="refiner of none was"):
        study._same_weights("none", Studio(backbone, Method()))
