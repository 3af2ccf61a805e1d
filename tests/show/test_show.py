"""Drawings: honest brightness, nothing blank, every picture with words."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from slotid.show.gates import gate_bars, gates_sentence
from slotid.show.likeness import likeness_sentence, likeness_svg
from slotid.show.meter import meter_html, meter_sentence
from slotid.show.paint import SLOT_COLOURS, alone, rgb, webp
from slotid.show.routing import error_curve, focus, forming, heat_film, still, thin, time_map
from slotid.show.shown import shown_of, write_maps
from slotid.show.strip import strip, strips
from slotid.types import IdentityCode, SlotIDError

NAMES = ("face shape", "skin <b>")


def crops(frames: int = 6, size: int = 32) -> np.ndarray:
    """Bright pictures with a gradient."""
    y, x = np.mgrid[:size, :size] / size
    picture = np.stack([120 + 100 * x, 120 + 100 * y, np.full_like(x, 160)], -1)
    return np.repeat(picture[None].astype(np.uint8), frames, 0)


def plan(frames: int = 6, grid: int = 4) -> np.ndarray:
    """(2, T, h, w): the first slot looks at the upper left corner in the first half, the second everywhere alike."""
    plan = np.zeros((2, frames, grid, grid), np.float32) + 1e-4
    plan[0, : frames // 2, 0, 0] = 1.0
    plan[1] = 1.0 / plan[1].size
    return plan / plan.sum()


def words_of(drawing: str) -> str:
    """The alt text; also proves that the drawing is well-formed."""
    root = ET.fromstring(drawing)
    assert root.get("role") == "img"
    return root.get("aria-label")


def test_an_even_plan_stays_dim_and_a_sharp_one_is_bright_where_it_looks():
    bright, top = focus(plan()[0])
    assert bright[0, 0, 0] == 1.0 and bright[:, 1:].max() == 0.0 and top >= 3
    even, top = focus(plan()[1])
    assert top == 3.0 and np.allclose(even, 0.2)
    assert focus(np.zeros((2, 3, 3)))[0].max() == 0.0


def test_hidden_frames_do_not_count_into_the_even_share():
    seen = np.ones((4, 2, 2))
    half = seen.copy()
    half[2:] = 0
    assert np.allclose(focus(half)[0][:2], focus(seen)[0][:2]) and focus(half)[0][2:].max() == 0


def test_the_heat_film_lays_colour_where_the_slot_looks_and_leaves_the_rest_grey():
    film = heat_film(crops(), plan()[0], 0, 64)
    assert film.shape == (6, 64, 64, 3) and film.dtype == np.uint8
    colourful = film.astype(int).max(-1) - film.min(-1)
    assert colourful[0, :10, :10].mean() > 60 and colourful[0, 32:, 32:].max() < 8
    assert colourful[5].max() < 8, "in the second half it does not look there"
    assert film[0, 32:, 32:].mean() > 60, "the face stays readable where the slot does not look"
    assert still(crops(), plan()[0], 0, 0, 48).shape == (48, 48, 3)


def test_slot_colours_are_told_apart():
    colours = np.stack([rgb(colour) for colour in SLOT_COLOURS])
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1e9 * np.eye(len(colours))
    assert apart.min() > 40


def test_maps_are_well_formed_say_what_they_show_and_escape_names():
    seconds = np.arange(6) / 8
    drawing = time_map(plan(), seconds, crops(), NAMES, chosen=1)
    assert "2 slots" in words_of(drawing) and drawing.count("<image") == 6 and "skin <b>" not in drawing
    assert "1.0e-03 at its last" in words_of(error_curve(np.array([[1e-1, 1e-3]]), 0))
    two = error_curve(np.array([[1e-1, 1e-2], [1e-1, 1e-3]]), 3)
    assert two.count("<polyline") == 2 and "last of 2 refinements: 1.0e-01 at its first iteration, 1.0e-03 at its last" in words_of(two)
    assert forming(plan().sum(1), crops(), 0, NAMES).count('alt="') == 2
    for one in (drawing, error_curve(np.array([0.1])), gate_bars(np.ones(2) / 2, np.ones(2), NAMES)):
        assert words_of(alone(one)) and "prefers-color-scheme" in alone(one)


def test_the_time_map_is_brighter_when_the_slot_takes_more():
    root = ET.fromstring(time_map(plan(), np.arange(6) / 8, crops(), NAMES))
    cells = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("shape-rendering")]
    first = {round(float(r.get("x"))): float(r.get("opacity")) for r in cells if r.get("fill") == SLOT_COLOURS[0]}
    assert len(first) == 3 and min(first.values()) > 0.3  # the second half has nothing to draw


def test_gates_sentence_names_the_widest_and_the_narrowest():
    assert "skin opens widest (0.80) and hair least (0.10)" in gates_sentence(np.array([0.8, 0.1]), ("skin", "hair"))
    assert "no slot is preferred" in gates_sentence(np.full(3, 0.1), ("a", "b", "c"))
    assert "no gates" in gates_sentence(np.zeros(0), ())


@pytest.mark.parametrize("values", [np.full(4, np.nan), np.array([0.5, np.nan, 0.7, 0.6]), np.array([0.9])])
def test_likeness_is_drawn_with_gaps_floor_and_ceiling(values):
    drawing = likeness_svg(values, np.arange(len(values)) / 12, floor=0.3, ceiling=0.9)
    words, missing = words_of(drawing), int(np.isnan(values).sum())
    assert ("No face" in words) == (missing == len(values))
    assert drawing.count("6l6") + drawing.count("l6,6m0") >= missing
    assert "strangers" in drawing and "same clip" in drawing
    if missing == 1:
        assert "no face in 1 of 4" in words and "0.60 on average, 0.50 at its lowest" in words
    assert likeness_sentence(values) == words_of(likeness_svg(values, np.arange(len(values)) / 12))


def test_the_meter_marks_by_word_and_gives_advice_only_where_weak():
    rows = [("light", "0.5 of 1", "good", ""), ("head turns", "3°", "weak", "Turn <slowly>.")]
    page = meter_html(rows)
    assert "1 of 2 measures are good; weak: head turns." in page and "✓ good" in page and "△ weak" in page
    assert page.count("advice") == 1 and "Turn &lt;slowly&gt;." in page
    assert meter_sentence(rows[:1]).startswith("A good reference") and meter_sentence([]) == "Nothing was measured yet."


def test_everybody_in_view_has_a_button_over_the_face():
    from slotid.show.reference import people_html
    from slotid.types import Clip

    clip = Clip(np.full((2, 100, 200, 3), 90, np.uint8), np.array([0, 0.1]))
    page = people_html(clip, np.array([[100, 20, 150, 70], [-10, 10, 40, 60]]))
    assert "left:50.0%;top:20.0%;width:25.0%;height:50.0%" in page and "left:0.0%" in page
    assert page.count("<button") == 2 and page.count('aria-pressed="true"') == 1 and "Person 2, read this one" in page


def test_strips_hold_first_and_last_frame():
    film = np.zeros((9, 16, 24, 3), np.uint8)
    film[0], film[-1] = 200, 100
    row = strip(film, count=3, height=16, gap=2)
    assert row.shape == (16, 3 * 24 + 2 * 2, 3) and row[:, 0].min() == 200 and row[:, -1].max() == 100
    sheet = strips([("reference", film), ("film", film)], count=3, height=16)
    assert sheet.shape[1] == 3 * 24 + 2 * 3 and sheet.min() < 100  # the captions are there
    assert list(thin(10, 4)) == [0, 3, 6, 9] and list(thin(2, 4)) == [0, 1]


def test_an_animation_keeps_true_times():
    from PIL import Image

    frames = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (20, 120, 220)])  # alike frames would be merged
    picture = Image.open(io.BytesIO(webp(frames, np.array([0.0, 0.1, 0.4]))))
    assert picture.n_frames == 3
    picture.seek(1)
    picture.load()
    assert picture.info["duration"] == 300


def test_a_code_is_shown_and_written_from_the_real_encoder(tmp_path):
    from small import small_face, small_studio

    studio = small_studio()
    code = studio.method.remember(small_face(hidden=(3,)), studio.backbone.to_latent)
    shown = shown_of(code)
    assert shown.plans.ndim == 5 and len(shown.names) == len(shown.gates) == 8 and shown.mass.sum() == pytest.approx(1, abs=1e-3)
    assert (
        shown.plan.sum() == pytest.approx(1, abs=2e-3) and shown.errors.size == len(shown.forming) and len(shown.errors) == len(shown.plans)
    )
    files = write_maps(code, tmp_path / "maps")
    assert len(files) == 8 + 4 and all(path.stat().st_size > 300 for path in files)
    assert len({path.read_bytes() for path in files}) == len(files)  # no two pictures alike


def test_a_code_without_pictures_is_refused_by_name(tmp_path):
    assert shown_of(IdentityCode("slots", 1, {})) is None
    with pytest.raises(SlotIDError, match="method 'none'"):
        write_maps(IdentityCode("none", 1, {}), tmp_path)
