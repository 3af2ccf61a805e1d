"""Looks and scenes: from one integer, the same every time, spread wide, and independent of each other."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.world import looks as L
from slotid.world import scene as S

COUNT = 1500


@pytest.fixture(scope="module")
def crowd():
    return [L.sample_looks(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def vectors(crowd):
    return np.stack([L.looks_vector(p) for p in crowd])


def test_the_same_seed_gives_the_same_person():
    a, b = L.sample_looks(2_000_017), L.sample_looks(2_000_017)
    np.testing.assert_array_equal(L.looks_vector(a), L.looks_vector(b))
    assert a.hair_style == b.hair_style and a.skin_rgb == b.skin_rgb
    assert not np.array_equal(L.looks_vector(a), L.looks_vector(L.sample_looks(2_000_018)))


def test_layout_covers_the_vector_without_gaps(vectors):
    assert list(L.LOOKS_LAYOUT) == ["shape", "skin", "hair", "trim"]
    ends = [(s.start, s.stop) for s in L.LOOKS_LAYOUT.values()]
    assert ends[0] == (0, 100) and all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False))
    assert ends[-1][1] == vectors.shape[1] and vectors.dtype == np.float32


def test_numbers_are_standardised(vectors):
    numbers = np.concatenate([vectors[:, :124], vectors[:, 139:150]], 1)  # all but the one-hots
    assert np.abs(numbers.mean(0)).max() < 0.25
    assert 0.4 < numbers.std(0).min() and numbers.std(0).max() < 1.5
    assert np.isfinite(vectors).all() and np.abs(vectors).max() < 8


def test_one_hots_are_one_hot(vectors):
    hair = vectors[:, L.LOOKS_LAYOUT["hair"]][:, -len(L.HAIR_STYLES) :]
    np.testing.assert_array_equal(hair.sum(1), 1)
    trim = vectors[:, L.LOOKS_LAYOUT["trim"]]
    np.testing.assert_array_equal(trim[:, -4:].sum(1), 1)
    np.testing.assert_array_equal(trim[:, -10:-4].sum(1), 1)


def test_every_style_lives_among_a_crowd(crowd):
    assert {p.hair_style for p in crowd} == set(L.HAIR_STYLES) and len(L.HAIR_STYLES) >= 11
    assert {p.beard for p in crowd} == set(L.BEARDS)
    assert {p.glasses for p in crowd} == set(L.GLASSES)
    luma = np.array([p.skin_rgb for p in crowd]) @ [0.2, 0.7, 0.1]
    assert luma.min() < 0.25 and luma.max() > 0.8 and np.histogram(luma, 6, (0.15, 0.9))[0].min() > COUNT / 40


def test_face_shape_says_nothing_of_skin_hair_or_trim(vectors):
    shape, rest = vectors[:, :20], vectors[:, 100:]
    rest = rest[:, rest.std(0) > 0]
    c = np.corrcoef(shape.T, rest.T)[:20, 20:]
    assert np.abs(c).max() < 5 / np.sqrt(COUNT)  # five sigma over about 1,200 pairs


def test_undertone_turns_the_colour_the_right_way():
    r, g, b = L.skin_albedo(0.3, 1, 0)
    r0, g0, b0 = L.skin_albedo(0.3, 0, 0)
    assert r / g > r0 / g0
    assert L.skin_albedo(0.3, 0, 1)[2] < b0 < L.skin_albedo(0.3, 0, -1)[2]
    light = [sum(L.skin_albedo(m, 0, 0)) for m in np.linspace(0, 1, 9)]
    assert all(a > b for a, b in zip(light, light[1:], strict=False))


def test_scenes_keep_to_the_closed_sets():
    seen = {k: set() for k in ("light", "background", "clothing", "framing")}
    for seed in range(1200):
        scene = S.sample_scene(seed)
        assert set(scene.facts) == set(seen) and scene.webcam is None
        for k, v in scene.facts.items():
            seen[k].add(v)
        assert 28 < scene.view < 40 and abs(np.linalg.norm(scene.key_dir) - 1) < 1e-6
    assert seen["light"] == set(S.LIGHTS) and seen["background"] == set(S.BACKGROUNDS) and seen["framing"] == set(S.FRAMINGS)
    assert seen["clothing"] == set(S.CLOTHINGS) == {f"{c}_{g}" for c in S.COLOURS for g in S.GARMENTS}
    assert set(S.COLOUR_RGB) == set(S.COLOURS)


def test_reference_scenes_differ_only_by_the_webcam():
    import dataclasses

    defects = set()
    for seed in range(200):
        plain, worse = S.sample_scene(seed), S.sample_scene(seed, reference=True)
        assert dataclasses.replace(worse, webcam=None) == plain
        defects |= {f.name for f in dataclasses.fields(worse.webcam) if getattr(worse.webcam, f.name)}
    assert defects == {"noise", "quality", "blur", "exposure", "low_light", "cover"}


def test_scene_and_looks_of_one_seed_are_independent(vectors):
    view = np.array([[s.view, s.elevation, s.key_dir[0], s.key_rgb[0], s.distance] for s in map(S.sample_scene, range(COUNT))])
    c = np.corrcoef(view.T, vectors[:, :124].T)[:5, 5:]
    assert np.abs(c).max() < 5 / np.sqrt(COUNT)
