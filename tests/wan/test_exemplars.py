"""Exemplars: the frames that cover a person best, and Wan VACE driven as diffusers drives it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_face, small_method

from slotid import flow
from slotid.backbone.layers import ReferenceImages
from slotid.backbone.wan import load_wan
from slotid.generate import Studio, generate, open_studio
from slotid.guidance import guided, two_streams
from slotid.identity.codes import load_code, save_code
from slotid.identity.exemplars import Exemplars, cover, pick_exemplars, pose_features, routing_features
from slotid.types import Conditioning, IdentityCode, Request, SlotIDError


def turning_face(frames=20, hidden=()):
    """Looks ahead most of the time, once far to each side, once with the mouth open."""
    face = small_face(3, frames, hidden=hidden)
    yaw, mouth = np.zeros(frames), np.full(frames, 0.05)
    yaw[5], yaw[12], mouth[16] = 40.0, -38.0, 0.9
    seen = face.seen
    quality = replace(face.quality, yaw=np.where(seen, yaw, np.nan), mouth=np.where(seen, mouth, np.nan))
    return replace(face, quality=quality)


def test_the_chosen_frames_span_pose_and_expression():
    chosen = pick_exemplars(turning_face(), 4)
    assert set(chosen[1:]) == {5, 12, 16} and chosen[0] not in (5, 12, 16), "the best still look first, then the extremes"
    assert 5 not in pick_exemplars(turning_face(hidden=(5,)), 4), "a hidden frame is never shown"
    blurred = turning_face()
    sharp = blurred.quality.sharpness.copy()
    sharp[12] = 0.01
    assert 12 not in pick_exemplars(replace(blurred, quality=replace(blurred.quality, sharpness=sharp)), 4)


def test_cover_is_farthest_point_sampling():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3))
    chosen = cover(points, 7, 5)
    assert chosen[0] == 7 and len(set(chosen)) == 5

    def radius(rows):
        return np.linalg.norm(points[:, None] - points[rows][None], axis=2).min(1).max()

    optimum = min(radius([7, *rng.choice(60, 4, replace=False)]) for _ in range(300))
    assert radius(chosen) <= 2 * optimum, "Gonzalez: within twice the best"
    assert cover(np.zeros((4, 2)), 0, 3) == [0], "equal frames are not repeated"
    with pytest.raises(SlotIDError, match="does not show the face"):
        cover(np.array([[np.nan], [1.0]]), 0, 2)


def test_the_slots_own_routing_tells_frames_apart_where_there_is_one():
    face = small_face(3, 20)
    flat = replace(face, quality=replace(face.quality, yaw=np.zeros(20)))
    assert len(pick_exemplars(flat, 4)) == 1, "nothing in pose and expression differs"
    plans = np.full((2, 4, 20, 2, 2), 0.1)
    plans[-1, 0, 9] = 5.0
    plans[-1, 3, 14] = 5.0
    code = IdentityCode("slots", 1, {}, {"plans": plans, "frames": list(range(20))})
    assert set(pick_exemplars(flat, 3, code)[1:]) == {9, 14}
    shares = routing_features(plans[-1])
    assert shares.shape == (20, 4) and np.allclose((shares**2).sum(1), 1)
    real = small_method(1).remember(small_face(4), lambda v: torch.randn(len(v), 8, 1, 4, 4))
    assert 1 <= len(pick_exemplars(small_face(4), 3, real)) <= 3
    assert np.isnan(pose_features(turning_face(hidden=(2,)))[2]).all()


def test_the_code_holds_the_pictures_and_survives_a_file(tmp_path):
    method, face = Exemplars(3), turning_face()
    code = method.remember(face)
    assert code.tensors["images"].shape == (3, 64, 64, 3) and code.tensors["images"].dtype == torch.uint8
    again = load_code(save_code(code, tmp_path / "code.safetensors"), "exemplars", 1)
    assert torch.equal(again.tensors["images"], code.tensors["images"])
    given = method.condition(again, (2, 4, 4), 0.7)
    assert isinstance(given.residual, ReferenceImages) and given.residual.scale == 0.7 and given.context is None
    assert method.condition(again, (2, 4, 4), 0) == Conditioning()
    with pytest.raises(SlotIDError, match="has no slots"):
        method.condition(again, (2, 4, 4), 1.0, (1.0,))
    with pytest.raises(SlotIDError, match="method 'slots'"):
        method.condition(replace(again, method="slots"), (2, 4, 4))
    with pytest.raises(SlotIDError, match="no frame in which the face is seen"):
        method.remember(replace(face, seen=np.zeros(20, bool)))


def test_it_makes_what_the_vace_pipeline_makes(pipelines):
    """The whole of diffusers' WanVACEPipeline against our studio's parts: same references, noise, times and scale."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanVACEPipeline
    from PIL import Image

    pipeline = WanVACEPipeline.from_pretrained(pipelines("vace"), local_files_only=True)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline.set_progress_bar_config(disable=True)
    backbone, method = load_wan(pipelines("vace"), device="cpu"), Exemplars(2)
    code = method.remember(turning_face())
    given = method.condition(code, backbone.spec.grid(5), 0.6)
    assert backbone.lead(given) == 2 and backbone.lead(Conditioning()) == 0
    noise = torch.randn(1, 8, 2 + 2, 4, 4)
    pictures = [Image.fromarray(picture) for picture in code.tensors["images"].numpy()]
    words, nothing = backbone.read(["a man talks", ""]).split(1)
    theirs = pipeline(
        prompt_embeds=words, negative_prompt_embeds=nothing, height=32, width=32, num_frames=5, num_inference_steps=3,
        guidance_scale=3.0, latents=noise, output_type="latent", reference_images=pictures, conditioning_scale=0.6,
    ).frames  # fmt: skip
    texts, cache = {True: words, False: nothing}, {}
    streams = method.streams(Request("a man talks", code), 3.0, 1.5)
    assert [(s.text, s.identity) for s in streams] == [(False, True), (True, True)]

    def field(x, t):
        with torch.no_grad():
            return guided(streams, lambda group: [backbone.velocity(x, t, texts[s.text], given, cache) for s in group])

    *_, (_, x, _) = flow.walk(noise, field, pipeline.scheduler.sigmas, "euler")
    theirs = theirs if theirs.shape[2] == 4 else torch.cat([x[:, :, :2], theirs], 2)
    assert torch.allclose(x, theirs, atol=5e-4), float((x - theirs).abs().max())


def test_vace_is_not_opened_under_a_profile_that_it_cannot_use(pipelines):
    with pytest.raises(SlotIDError, match="cannot work under memory profile 'group'; it can under full"):
        load_wan(pipelines("vace"), "group", "cpu")
    assert load_wan(pipelines("vace"), "model", "cpu").placement.profile == "model"


def test_a_film_from_a_track_and_strength_zero_is_nobody(pipelines):
    studio = open_studio(pipelines("vace"), "exemplars", "cpu")
    wish = Request("a man talks", turning_face(), steps=3, preview_every=2, likeness=False)

    def film(**changes):
        *steps, last = generate(studio, replace(wish, **changes))
        assert all(s.preview is None or s.preview.shape[1:] == (32, 32, 3) for s in steps)
        return last.clip.frames.astype(int)

    one = film()
    assert one.shape == (5, 32, 32, 3) and np.array_equal(one, film())
    none = film(strength=0.0)
    assert np.array_equal(none, film(reference=None, strength=0.0)), "strength 0 is no identity, bitwise"
    assert np.abs(one - none).max() > 1 and np.abs(one - film(strength=2.0)).max() > 0
    plain = Studio(studio.backbone, open_studio(pipelines("vace"), "none", "cpu").method)
    *_, nobody = generate(plain, replace(wish, reference=None))
    assert np.array_equal(none, nobody.clip.frames)
    assert two_streams(3.0)[0].identity is False
