"""The renderer on the tiny kit: contract, signs, determinism, what changes what. With SLOTID_HEADKIT set, the real kit too."""

from __future__ import annotations

import dataclasses
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_kit import EYE, tiny_kit

from slotid.types import SlotIDError
from slotid.world.backdrop import paint_backdrop
from slotid.world.barber import cut_hair
from slotid.world.body import body_of
from slotid.world.clothes import sew
from slotid.world.hair import STYLES, collider
from slotid.world.kit import load_kit
from slotid.world.looks import HAIR_STYLES, sample_looks
from slotid.world.raster import vertex_normals
from slotid.world.render import Renderer, render_clip
from slotid.world.rig import rig_of
from slotid.world.scene import BACKGROUNDS, COLOUR_RGB, GARMENTS, Webcam, sample_scene
from slotid.world.take import direct, film

SIZE = 48


def move(kit, frames=1, head=(0, 0, 0), gaze=(0, 0), **weights):
    e = np.zeros((frames, len(kit.expr_names)), np.float32)
    for name, value in weights.items():
        e[:, kit.expr_names.index(name)] = value
    as_rows = lambda v: np.tile(np.array(v, np.float32), (frames, 1))  # noqa: E731
    return SimpleNamespace(expressions=e, head=as_rows(head), gaze=as_rows(gaze), seconds=np.arange(frames) / 12)


def look(style="short", **changes):
    return dataclasses.replace(sample_looks(5), hair_style=style, beard="none", glasses="none", shape=np.zeros(2, np.float32), **changes)


def place(**changes):
    scene = sample_scene(3)
    facts = {**scene.facts, "background": "white_wall", "clothing": "red_tshirt", "framing": "close_up", **changes.pop("facts", {})}
    return dataclasses.replace(scene, facts=facts, elevation=0.0, azimuth=0.0, centre=(0.0, 2.0), hand=0.0, view=36.0, **changes)


@pytest.fixture(scope="module")
def kit():
    return tiny_kit()


@pytest.fixture(scope="module")
def renderer(kit):
    return Renderer(kit, look(), place(), SIZE)


def test_a_frame_is_a_picture_with_head_and_wall(kit, renderer):
    frame = renderer.render(move(kit), 0)
    assert frame.shape == (SIZE, SIZE, 3) and frame.dtype == np.uint8
    corner, middle, cloth = frame[2, 2].astype(int), frame[SIZE // 2, SIZE // 2].astype(int), frame[-4:, 8:-8].reshape(-1, 3).mean(0)
    assert np.ptp(corner) < 60
    assert np.abs(middle - corner).sum() > 40
    assert cloth[0] > 1.5 * cloth[1:].max()  # the t-shirt is red


def test_same_seeds_same_pixels(kit, renderer):
    again = Renderer(kit, look(), place(), SIZE)
    motion = move(kit, 3, head=(10, 5, -5), jawOpen=0.5)
    for t in (2, 0, 1):
        np.testing.assert_array_equal(renderer.render(motion, t), again.render(motion, t))


def test_points_follow_the_head_with_the_promised_signs(kit, renderer):
    at = lambda **k: renderer.points(move(kit, **k), 0)["five"]  # noqa: E731
    rest = at()
    assert rest.shape == (5, 2) and rest.dtype == np.float32
    assert rest[0, 0] > rest[1, 0] and rest[3, 0] > rest[4, 0]  # the person's left is the picture's right
    assert rest[0, 1] < rest[2, 1] < rest[3, 1]  # eyes over nose over mouth
    assert at(head=(25, 0, 0))[2, 0] > rest[2, 0] + 1
    assert at(head=(0, 20, 0))[2, 1] < rest[2, 1] - 1
    tilted = at(head=(0, 0, 15))
    assert tilted[0, 1] > tilted[1, 1] + 1  # clockwise: the eye on the picture's right sinks
    assert at(jawOpen=1.0)[3, 1] > rest[3, 1] + 0.4
    assert renderer.points(move(kit), 0)["landmarks68"].shape == (68, 2)


def test_points_scale_with_the_film(kit, renderer):
    large = Renderer(kit, look(), place(), 2 * SIZE)
    motion = move(kit, head=(12, 4, 3))
    np.testing.assert_allclose(large.points(motion, 0)["five"], 2 * renderer.points(motion, 0)["five"], rtol=1e-4)


def test_expressions_move_the_face_and_not_the_wall(kit, renderer):
    rest, spoken = (renderer.render(m, 0).astype(int) for m in (move(kit), move(kit, jawOpen=1.0)))
    changed = np.abs(rest - spoken).max(-1) > 6
    assert 0.005 < changed.mean() < 0.4 and not changed[:4].any()


def test_film_has_frames_points_and_defects(kit):
    scene = place(webcam=Webcam(noise=9))
    motion = move(kit, 3)
    clean, points = render_clip(kit, look(), scene, motion, SIZE)
    noisy, _ = render_clip(kit, look(), scene, motion, SIZE, degrade_seed=4)
    again, _ = render_clip(kit, look(), scene, motion, SIZE, degrade_seed=4)
    assert clean.shape == (3, SIZE, SIZE, 3) and points.shape == (3, 5, 2) and points.dtype == np.float32
    np.testing.assert_array_equal(noisy, again)
    np.testing.assert_array_equal(clean[0], clean[2])
    assert 2 < np.abs(noisy.astype(int) - clean).mean() < 15


def test_a_hand_held_camera_drifts_and_a_stand_does_not(kit):
    motion = move(kit, 12)
    still = Renderer(kit, look(), place(), SIZE)
    held = Renderer(kit, look(), dataclasses.replace(place(), hand=0.45), SIZE)
    track = lambda r: np.stack([r.points(motion, t)["five"].mean(0) for t in range(12)])  # noqa: E731
    assert np.ptp(track(still), 0).max() < 1e-4 < 0.05 < np.ptp(track(held), 0).max() < 6


def test_bad_sizes_and_motions_are_refused(kit, renderer):
    with pytest.raises(SlotIDError, match="32 to 1024"):
        Renderer(kit, look(), place(), 8)
    wrong = move(kit)
    wrong.expressions = np.zeros((1, 7), np.float32)
    with pytest.raises(SlotIDError, match="7 expressions and the kit 3"):
        renderer.render(wrong, 0)


def test_shape_coefficients_reach_the_picture(kit):
    wide = dataclasses.replace(look("bald"), shape=np.array([3.0, 0], np.float32))
    five = lambda p: Renderer(kit, p, place(), SIZE).points(move(kit), 0)["five"]  # noqa: E731
    normal, broad = five(look("bald")), five(wide)
    assert broad[0, 0] - broad[1, 0] > 1.1 * (normal[0, 0] - normal[1, 0])


def test_eyes_are_not_white_and_follow_the_gaze_on_the_tiny_kit(kit):
    scene, dark = place(key_dir=(0.0, 0.3, 0.95)), look("bald", iris_rgb=(0.2, 0.12, 0.06), melanin=0.1)
    renderer = Renderer(kit, dark, scene, 128)
    at, reach = renderer.points(move(kit), 0)["five"][0], EYE * 128 / 36
    rows, cols = (slice(int(v - reach), int(v + reach) + 1) for v in at[::-1])
    centre = {}
    for yaw in (-25, 0, 25):
        luma = renderer.render(move(kit, gaze=(yaw, 0)), 0)[rows, cols].astype(float).mean(-1)
        assert luma.min() < 0.35 * luma.max()  # an iris with a pupil is there
        weight = np.clip(0.35 * luma.max() - luma, 0, None)
        centre[yaw] = (weight.sum(0) * np.arange(luma.shape[1])).sum() / weight.sum()
    assert centre[-25] + 0.5 < centre[0] < centre[25] - 0.5


def test_a_body_is_made_once_a_person_and_again_when_the_looks_change(kit):
    one = body_of(kit, look(), SIZE)
    assert body_of(kit, look(), SIZE) is one  # equal looks, another object
    marked = body_of(kit, look(moles=5, freckles=1.0), SIZE)
    assert marked is not one and not np.array_equal(marked.texture, one.texture)
    assert np.array_equal(marked.hair.root, one.hair.root)
    before = one.skin.copy(), one.texture.copy(), one.hair.grow[0].copy()
    Renderer(kit, look(), place(), SIZE).render(move(kit, head=(20, 5, 5), gaze=(10, 0), jawOpen=1.0), 0)
    for was, now in zip(before, (one.skin, one.texture, one.hair.grow[0]), strict=True):
        np.testing.assert_array_equal(was, now)  # shared, so no renderer writes into it


def test_big_hair_stays_in_the_picture(kit):
    scene = dataclasses.replace(place(), view=32.0)
    for style in ("bald", "afro", "bun"):
        renderer = Renderer(kit, look(style, hair_volume=1.0, hair_length=1.0), scene, 96)
        renderer.render(move(kit), 0)
        assert renderer.cover[0].mean() < 0.02, style  # but for a stray strand


def grown(kit, style, **changes):
    rig = rig_of(kit)
    normals = np.empty_like(rig.neutral)
    vertex_normals(rig.neutral, rig.faces, normals)
    return cut_hair(rig, look(style, **changes), rig.neutral, normals, collider(rig.neutral))


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_every_style_grows_outside_the_head(kit, style):
    hair = grown(kit, style)
    scalp = hair.kind == 0
    assert scalp.any() == (style != "bald") and np.isfinite(hair.points).all()
    if style == "bald":
        return
    p = hair.points[scalp]
    inside = (np.hypot(p[:, 0] / 8.0, (p[:, 2] - 0.5) / 9.7) < 0.8) & (p[:, 1] > -2) & (p[:, 1] < 8)
    assert inside.mean() < 0.02
    lengths = np.linalg.norm(np.diff(p.reshape(-1, 1, 3)[:, 0], axis=0), axis=1)
    assert lengths.max() < 40
    assert (hair.first < len(hair.points) - 1).all() and hair.along.min() == 0 and hair.along.max() == 1


def test_styles_have_their_own_silhouettes(kit):
    low = {s: grown(kit, s).points[:, 1].min() for s in ("buzz", "bob", "long")}
    assert low["long"] < low["bob"] - 4 < low["buzz"]
    wide = {s: np.quantile(np.abs(grown(kit, s).points[:, 0]), 0.99) for s in ("buzz", "afro")}
    assert wide["afro"] > wide["buzz"] + 2
    assert grown(kit, "bun", hair_part=0.5).points[:, 1].max() > grown(kit, "slick_back").points[:, 1].max() + 2
    assert set(STYLES) | {"bald"} == set(HAIR_STYLES)


def test_hair_keeps_the_eyes_free_when_it_says_so(kit):
    for style in ("bob", "long", "wavy"):
        p = grown(kit, style).points
        over = (np.abs(p[:, 0]) < 4.5) & (p[:, 1] > -5) & (p[:, 1] < 5) & (p[:, 2] > 5)
        assert not over.any(), style


@pytest.mark.parametrize("garment", GARMENTS)
def test_garments_enclose_the_neck(kit, garment):
    coat = sew(garment, kit.neutral[kit.neutral[:, 1] < 4], 1)
    assert np.isfinite(coat.points).all() and coat.faces.max() < len(coat.points)
    assert coat.points[:, 1].min() < -22 and np.ptp(coat.points[:, 0]) > 34  # shoulders, and no lower edge in the picture
    assert coat.neckline.max() < -6
    edge = np.hypot(coat.points[:72, 0], coat.points[:72, 2] + 0.8)
    assert edge.min() > 4.5


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_backdrops_differ_and_repeat(background):
    scene = place(facts={"background": background})
    a = paint_backdrop(scene, 64)
    assert a.shape == (74, 74, 3) and a.dtype == np.float32 and np.isfinite(a).all() and a.min() >= 0
    np.testing.assert_array_equal(a, paint_backdrop(scene, 64))
    assert not np.array_equal(a, paint_backdrop(dataclasses.replace(scene, seed=99), 64))


def test_cloth_takes_the_named_colour(kit):
    tops = {}
    for colour in COLOUR_RGB:
        frame = Renderer(kit, look("bald"), place(facts={"clothing": f"{colour}_sweater"}), SIZE).render(move(kit), 0)
        tops[colour] = frame[-5:, 18:30].reshape(-1, 3).mean(0)
    assert tops["white"].mean() > tops["grey"].mean() > tops["black"].mean()
    assert np.argmax(tops["red"]) == 0 and np.argmax(tops["green"]) == 1 and np.argmax(tops["blue"]) == 2


# -- with the real kit -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    if not os.environ.get("SLOTID_HEADKIT"):
        pytest.skip("needs the real head kit: set SLOTID_HEADKIT")
    return load_kit()


def eye_box(renderer, motion):
    p = renderer.points(motion, 0)["landmarks68"][42:48]
    low, high = np.floor(p.min(0)).astype(int), np.ceil(p.max(0)).astype(int)
    return slice(low[1], high[1] + 1), slice(low[0], high[0] + 1)


def test_eyes_are_not_white_and_follow_the_gaze(real):
    dark = dataclasses.replace(look("bald"), shape=np.zeros(100, np.float32), iris_rgb=(0.2, 0.12, 0.06), melanin=0.1)
    renderer = Renderer(real, dark, place(), 192)
    centre = {}
    for yaw in (-25, 0, 25):
        motion = move(real, gaze=(yaw, 0))
        rows, cols = eye_box(renderer, motion)
        luma = renderer.render(motion, 0)[rows, cols].astype(float).mean(-1)
        assert luma.min() < 0.45 * luma.max()  # an iris is there
        weight = np.clip(90 - luma, 0, None)
        centre[yaw] = (weight.sum(0) * np.arange(luma.shape[1])).sum() / weight.sum()
    assert centre[-25] + 1 < centre[0] < centre[25] - 1


def test_an_open_mouth_is_dark_with_light_teeth(real):
    renderer = Renderer(real, dataclasses.replace(look("bald"), shape=np.zeros(100, np.float32)), place(), 192)
    motion = move(real, jawOpen=0.7)
    p = renderer.points(motion, 0)["landmarks68"][60:68]
    (x0, y0), (x1, y1) = np.floor(p.min(0)).astype(int), np.ceil(p.max(0)).astype(int)
    luma = renderer.render(motion, 0)[y0:y1, x0:x1].mean(-1)
    assert np.quantile(luma, 0.1) < 60 and np.quantile(luma, 0.97) > 90


def test_closing_the_eyes_hides_them(real):
    renderer = Renderer(real, dataclasses.replace(look("bald"), shape=np.zeros(100, np.float32)), place(), 128)
    rows, cols = eye_box(renderer, move(real))
    open_, shut = (renderer.render(m, 0)[rows, cols].astype(int) for m in (move(real), move(real, eyeBlink_L=1.0)))
    assert np.abs(open_ - shut).mean() > 12


def test_eighty_frames_a_second_on_two_cores(real):
    """CPU time, so that other work on the machine matters less; four takes of 33 frames of a person never seen before, set-up included."""
    film(direct(2_000_000, 0, frames=2, expr_names=real.expr_names), real)  # compile
    best = min(_cost(real, seed) for seed in (2_000_003, 2_000_004, 2_000_005))
    assert best < 0.025 * float(os.environ.get("SLOTID_SLOW", 2))  # twice the target unless told: shared machines


def _cost(kit, seed):
    start = time.process_time()
    for index in range(4):
        film(direct(seed, index, reference=index > 1, expr_names=kit.expr_names), kit)
    return (time.process_time() - start) / (4 * 33)
