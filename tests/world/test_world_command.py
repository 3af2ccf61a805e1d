"""``python -m slotid world``: good input does it, bad input gets one clear sentence."""

import argparse
import json
import os

import numpy as np
import pytest
from tiny_kit import write_tiny_kit

from slotid.types import SlotIDError
from slotid.world.command import add_arguments, run

KIT = os.environ.get("SLOTID_HEADKIT")
needs_kit = pytest.mark.skipif(not KIT, reason="needs the head kit: set SLOTID_HEADKIT to the packed file")


def world(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser.add_subparsers(dest="command"))
    return run(parser.parse_args(["world", *map(str, words)]))


@pytest.mark.parametrize(
    "words, said",
    [
        (("--people", "5"), "A:B"),
        (("--people", "9:3"), "empty range"),
        (("--people", "99999:100001"), "split"),
        (("--people", "0:4", "--clips", "0"), "clips"),
        (("--people", "0:4", "--references", "9"), "references"),
        (("--people", "0:4", "--size", "50"), "size"),
        (("--people", "0:4", "--seconds", "-1"), "length"),
        (("--people", "0:4", "--fps", "0"), "fps"),
        (("--people", "0:4", "--defects", "2"), "share"),
        (("--people", "0:4", "--workers", "0"), "workers"),
        (("--people", "0:4", "--kit", "nowhere.npz"), "(?i)kit"),
    ],
)
def test_render_refuses_what_it_cannot_do(tmp_path, words, said):
    with pytest.raises(SlotIDError, match=said):
        world("render", "--out", tmp_path / "films", *words)
    assert not (tmp_path / "films").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (("sheet", "--people", "2000000:2001000", "--out", "x.png"), "1 to 400"),
        (("sheet", "--people", "2000000:2000002", "--out", "no/such/folder/x.png"), "does not exist"),
        (("sheet", "--people", "2000000:2000002", "--act", "dance", "--out", "x.png"), "dance"),
        (("check", "--clips", "0"), "at least 1"),
        (("check", "--every", "0"), "at least 1"),
        (("separability", "--people", "3", "--rendered", "0"), "too few"),
        (("separability", "--takes", "1", "--people", "20", "--rendered", "0"), "too few"),
    ],
)
def test_the_others_refuse_too(words, said):
    with pytest.raises(SlotIDError, match=said):
        world(*words)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return write_tiny_kit(tmp_path_factory.mktemp("kit") / "tiny.npz")


def test_check_counts_frames_by_yaw(capsys, kit):
    assert world("check", "--clips", 2, "--every", 11, "--kit", kit, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["to"] for row in rows] == [45, 15, 30, 45, 52.5, 67.5, 90]
    assert sum(row["frames"] for row in rows[1:]) == 6 and rows[0]["frames"] == sum(row["frames"] for row in rows[1:4])
    assert rows[0]["found"] > 0  # an egg with eyes is face enough for MediaPipe
    assert all((row["found"] is None) == (row["frames"] == 0) for row in rows)


@needs_kit
def test_check_finds_the_faces_of_the_real_kit(capsys):
    assert world("check", "--clips", 2, "--every", 11, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["found"] > 0.5


def test_sheet_draws_each_person_and_strips_each_act(tmp_path, capsys, kit):
    from PIL import Image

    assert world("sheet", "--people", "2000000:2000003", "--size", 64, "--kit", kit, "--out", tmp_path / "a.png") == 0
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert sheet.shape == (64, 192, 3) and np.abs(sheet[:, :64].astype(int) - sheet[:, 64:128]).mean() > 5
    for name in ("b.webp", "b.jpg"):
        words = ("sheet", "--people", "2000000:2000001", "--act", "talk+nod", "--size", 64, "--kit", kit)
        assert world(*words, "--out", tmp_path / name) == 0
        strip = np.asarray(Image.open(tmp_path / name))
        assert strip.shape == (64, 11 * 64, 3) and strip.std() > 10


def test_several_acts_make_one_sheet_and_other_endings_are_refused(tmp_path, kit):
    from PIL import Image

    words = ("sheet", "--people", "2000000:2000002", "--size", 64, "--kit", kit)
    assert world(*words, "--act", "smile", "--act", "nod", "--out", tmp_path / "c.png") == 0
    assert Image.open(tmp_path / "c.png").size == (11 * 64, 4 * 64)
    with pytest.raises(SlotIDError, match="png"):
        world(*words, "--out", tmp_path / "c.tiff3")
