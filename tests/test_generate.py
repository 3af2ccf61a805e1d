"""generate(): what it yields, that it stops, that it repeats, and what it refuses."""

import gc
import math
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_backbone, small_face, small_method, small_studio, stir

from slotid.backbone.backbone import LoraPlan
from slotid.backbone.tiny import save_tiny
from slotid.generate import generate, open_studio, prompt_notices, resolve
from slotid.identity.codes import load_code, save_code
from slotid.types import Request, Result, SlotIDError, Step


@pytest.fixture(scope="module")
def studio():
    return small_studio()


def wish(**changes) -> Request:
    return Request(**({"prompt": "a man talks", "reference": small_face(), "steps": 5, "preview_every": 2, "likeness": False} | changes))


def film(studio, **changes) -> Result:
    *_, last = generate(studio, wish(**changes))
    return last


def test_it_yields_every_stage_and_step_and_then_the_result(studio):
    *steps, result = generate(studio, wish())
    assert all(isinstance(s, Step) for s in steps) and isinstance(result, Result)
    assert list(dict.fromkeys(s.stage for s in steps)) == ["remember", "read", "denoise", "decode"]
    denoise = [s for s in steps if s.stage == "denoise"]
    assert [s.step for s in denoise] == [0, 1, 2, 3, 4, 5] and {s.steps for s in denoise} == {5}
    assert denoise[0].seconds_left is None and all(s.seconds_left >= 0 for s in denoise[1:])
    previews = [s.preview for s in denoise]
    assert [p is not None for p in previews] == [False, False, True, False, True, False]
    assert previews[2].dtype == np.uint8 and previews[2].shape == (5, 64, 64, 3)
    assert result.clip.frames.shape == (9, 64, 64, 3) and result.clip.frames.dtype == np.uint8
    assert result.clip.seconds[1] == pytest.approx(1 / 12) and result.code.method == "slots" and result.face is not None
    assert set(result.timings) == {"remember", "read", "denoise", "previews", "decode"} and all(v > 0 for v in result.timings.values())
    settings = result.settings
    assert (
        settings["prompt"] == "a man talks" and settings["frames"] == 9 and settings["method"] == "slots" and settings["backbone"] == "tiny"
    )
    assert settings["text_guidance"] == studio.backbone.spec.text_guidance, "defaults are resolved in what is kept"
    assert result.likeness is None


def test_the_same_request_gives_the_same_film_and_another_seed_another(studio):
    first = film(studio).clip.frames
    np.random.seed(1)
    torch.manual_seed(99)
    assert np.array_equal(film(studio).clip.frames, first)
    assert not np.array_equal(film(studio, seed=1).clip.frames, first)
    assert not np.array_equal(film(studio, prompt="a woman nods").clip.frames, first)
    assert not np.array_equal(film(studio, reference=small_face(3)).clip.frames, first)
    assert not np.array_equal(film(studio, slot_gain=(0.0,) * 8).clip.frames, first)


def test_previews_do_not_change_the_film(studio):
    assert np.array_equal(film(studio, preview_every=0).clip.frames, film(studio, preview_every=1).clip.frames)


def test_a_saved_code_makes_the_film_of_its_clip(studio, tmp_path):
    one = film(studio)
    code = load_code(save_code(one.code, tmp_path / "me.safetensors"), "slots", 1)
    two = film(studio, reference=code)
    assert np.array_equal(one.clip.frames, two.clip.frames) and two.face is None


def test_closing_stops_the_work(studio):
    forwards = []
    handle = studio.backbone.transformer.blocks[0].register_forward_hook(lambda *_: forwards.append(1))
    try:
        work = generate(studio, wish(steps=50))
        assert isinstance(work, types.GeneratorType)
        for step in work:
            if step.stage == "denoise" and step.step == 2:
                break
        done = len(forwards)
        work.close()
        del work
        gc.collect()
        assert len(forwards) == done == 4, "two steps of two groups of streams, and nothing after closing"
        with pytest.raises(StopIteration):
            work = generate(studio, wish(steps=50))
            work.close()
            next(work)
    finally:
        handle.remove()
    assert torch.is_grad_enabled(), "the caller's gradient mode is its own"
    assert film(studio).clip.frames.shape[0] == 9, "the studio is fit for the next film"


def test_gradients_stay_the_caller_s_between_steps(studio):
    for _ in generate(studio, wish(steps=2)):
        assert torch.is_grad_enabled()


def test_nothing_is_written(studio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film(studio)
    assert list(tmp_path.iterdir()) == []


def test_length_is_the_nearest_legal_one(studio):
    result = film(studio, seconds=1.1)
    assert len(result.clip.frames) == 13 and result.request.seconds == pytest.approx(13 / 12)


def test_the_reader_of_faces_is_asked_for_a_clip(studio):
    """A clip without any face is refused by the face tracker's own words, before the backbone works."""
    pytest.importorskip("slotid.face.track")
    from slotid.types import Clip

    flat = Clip(np.full((8, 96, 96, 3), 120, np.uint8), np.arange(8) / 8)
    steps = []
    with pytest.raises(SlotIDError, match="(?i)face"):
        for step in generate(studio, wish(reference=flat)):
            steps.append(step.stage)
    assert steps == ["face"]


def test_likeness_of_a_film_without_a_face_is_unknown_not_an_error(studio):
    pytest.importorskip("slotid.face.likeness")
    result = film(studio, likeness=True)
    assert result.likeness.shape == (9,) and np.isnan(result.likeness).all() and "likeness" in result.timings


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "  \n"}, "prompt is empty"),
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": "a" * 1001}, "1001 characters; at most 1000"),
        ({"strength": 2.1}, "strength is 2.1; expected 0 to 2"),
        ({"strength": -0.1}, "strength"),
        ({"strength": math.nan}, "strength"),
        ({"strength": "much"}, "strength"),
        ({"text_guidance": 0.5}, "text guidance is 0.5; expected 1 to 10"),
        ({"identity_guidance": 11}, "identity guidance is 11; expected 1 to 10"),
        ({"steps": 0}, "number of steps is 0; expected 1 to 100"),
        ({"steps": 101}, "number of steps"),
        ({"steps": 2.5}, "whole number"),
        ({"seed": -1}, "seed"),
        ({"seconds": 60}, "60 seconds of film were asked for"),
        ({"slot_gain": (3.0,) * 8}, "slot gain is 3.0"),
        ({"slot_gain": (1.0,) * 3}, "3 slot gains were given for 8 slots"),
        ({"reference": "me.mp4"}, "reference is a str"),
        ({"preview_every": -1}, "preview interval"),
    ],
)
def test_bad_requests_are_refused_before_any_work(studio, changes, words):
    steps = []
    with pytest.raises(SlotIDError, match=words):
        for step in generate(studio, wish(**changes)):
            steps.append(step.stage)
    assert "denoise" not in steps


def test_resolve_fills_defaults_and_keeps_the_rest(studio):
    request = resolve(studio, Request("a man talks", None))
    spec = studio.backbone.spec
    assert (request.steps, request.text_guidance, request.identity_guidance) == (spec.steps, spec.text_guidance, spec.identity_guidance)
    assert resolve(studio, replace(request, steps=7)).steps == 7


def test_notices_name_unknown_words_and_a_cut_end(studio):
    assert prompt_notices(studio.backbone, "a man talks") == ()
    assert "zebra" in prompt_notices(studio.backbone, "a man talks to a zebra")[0]
    long = prompt_notices(studio.backbone, "a man talks to the camera " * 6)
    assert "longer than" in long[0] and "16 tokens" in long[0]
    assert film(studio, prompt="a zebra").clip.notices


def test_open_studio_from_disk_equals_the_one_in_memory(tmp_path, monkeypatch):
    backbone, method = small_backbone(3), small_method(3)
    save_tiny(backbone, tmp_path, half=False)
    with pytest.raises(SlotIDError, match="No identity weights"):
        open_studio(tmp_path)
    lora = backbone.adopt(LoraPlan(rank=2))
    stir(lora, 3)
    method.save_pretrained(tmp_path / "identity" / "slots", "tiny", lora)
    monkeypatch.setenv("SLOTID_TINY", str(tmp_path))
    opened = open_studio(device="cpu")
    from slotid.generate import Studio

    one, two = (film(s).clip.frames.astype(int) for s in (opened, Studio(backbone, method)))
    assert np.abs(one - two).max() <= 1, "the same to rounding (memory-mapped weights lie elsewhere, sums may be ordered otherwise)"
    assert not any(p.requires_grad for part in (opened.method, opened.backbone.transformer) for p in part.parameters())
    plain = open_studio(method="none", device="cpu")
    nobody = film(opened, strength=0.0).clip.frames.astype(int)
    assert np.abs(film(plain).clip.frames.astype(int) - nobody).max() <= 1 and np.abs(one - nobody).max() > 1
    with pytest.raises(SlotIDError, match="Unknown method"):
        open_studio(method="magic")
    with pytest.raises(SlotIDError, match="Unknown backbone"):
        open_studio("huge")
    method.save_pretrained(tmp_path / "other", "wan")
    with pytest.raises(SlotIDError, match="trained for backbone 'wan'"):
        open_studio(adapter=tmp_path / "other", device="cpu")
