"""What habit slots heard, drawn: one row a movement, both sides of a face where it has two, and it survives a saved code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_config, small_face

from slotid.identity.codes import load_code, save_code
from slotid.identity.movement import CURVES, MOVES
from slotid.identity.slots import SlotID
from slotid.show.moves import move_lines
from slotid.show.shown import shown_of, write_maps
from slotid.world.performance import EXPRESSIONS


def latent(video):
    return torch.nn.functional.avg_pool2d(video[:, :, 0], 16).mean(1, keepdim=True).expand(-1, 8, -1, -1)[..., :4, :4][:, :, None]


@pytest.fixture(scope="module")
def code():
    torch.manual_seed(0)
    method = SlotID(replace(small_config(), slots=8, movement=True)).eval()
    return method.remember(small_face(frames=12, hidden=(3, 4)), latent)


def test_movements_are_the_curves_of_their_names():
    names = [*EXPRESSIONS, "yaw", "pitch", "roll"]
    told = {what: tuple(names[row] for row in rows) for what, rows in MOVES.items()}
    assert told == {
        "smile": ("mouthSmile_L", "mouthSmile_R"),
        "mouth opening": ("jawOpen",),
        "lids closing": ("eyeBlink_L", "eyeBlink_R"),
        "brows raised": ("browOuterUp_L", "browOuterUp_R"),
        "head to a side": ("yaw",),
        "nod": ("pitch",),
    }
    assert max(max(rows) for rows in MOVES.values()) < CURVES


def test_a_code_tells_what_was_heard_also_after_it_was_saved(code, tmp_path):
    moves = shown_of(code).moves
    assert {name: values.shape for name, values in moves.items()} == {name: (12, len(rows)) for name, rows in MOVES.items()}
    line = np.linspace(moves["nod"][2], moves["nod"][5], 4)
    assert np.allclose(moves["nod"][3:5], line[1:3], atol=1e-4)  # hidden moments: between their neighbours
    again = load_code(save_code(code, tmp_path / "code.safetensors", pictures=True))
    assert all(np.array_equal(values, moves[name]) for name, values in shown_of(again).moves.items())
    assert (tmp_path / "maps" / "moves.svg") in write_maps(code, tmp_path / "maps")


def test_lines_have_a_scale_of_their_own_and_a_dashed_right_side():
    seconds = np.arange(10) / 8
    small, large = (np.stack([size * np.sin(seconds), np.zeros(10)], 1) for size in (0.5, 2.0))
    tall = move_lines({"smile": 9 * large[:, :1]}, seconds)
    assert (
        min(float(point.split(",")[1]) for point in tall.split('<polyline points="')[1].split('"')[0].split()) > 0
    )  # nothing above the picture
    drawing = move_lines({"smile": small, "nod": large[:, :1]}, seconds)
    assert drawing.count("<polyline") == 3 and drawing.count("stroke-dasharray") == 1 and "most moves: nod" in drawing
    heights = [
        np.ptp([float(point.split(",")[1]) for point in part.split('"')[0].split()]) for part in drawing.split('<polyline points="')[1:]
    ]
    assert heights[1] == 0 and heights[2] == pytest.approx(4 * heights[0], rel=0.05)


def test_a_method_that_hears_nothing_shows_nothing():
    torch.manual_seed(0)
    quiet = SlotID(small_config()).eval().remember(small_face(), latent)
    assert shown_of(quiet).moves == {}
