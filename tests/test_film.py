"""GIFs and side-by-side films keep speed, pictures and words."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.clip import read_clip, read_settings
from slotid.film import write_gif, write_side_by_side
from slotid.types import Clip, SlotIDError


def test_gif_keeps_speed_and_picture(media, tmp_path):
    clip = Clip(media.frames(24), np.arange(24) / 12)
    back = read_clip(write_gif(tmp_path / "a.gif", clip, fps=12))
    assert abs(back.seconds[-1] - clip.seconds[-1]) < 0.1
    assert np.abs(back.frames[0].astype(float) - clip.frames[0]).mean() < 12
    assert read_clip(write_gif(tmp_path / "b.gif", clip, height=24)).frames.shape[1:3] == (24, 32)


def test_side_by_side_shows_both_and_their_captions(tmp_path):
    red, blue = np.zeros((12, 48, 48, 3), np.uint8), np.zeros((24, 48, 96, 3), np.uint8)
    red[..., 0], blue[..., 2] = 220, 220
    clips = [Clip(red, np.arange(12) / 12), Clip(blue, np.arange(24) / 12)]
    caption = "a prompt that is much too long for one line under so small a film"
    path = write_side_by_side(tmp_path / "both.mp4", clips, ["reference", caption], {"seed": 4}, height=96)
    out = read_clip(path)
    assert len(out.frames) == 24 and read_settings(path)["seed"] == 4
    for frame in (out.frames[0], out.frames[-1]):  # the shorter one started over
        assert frame[50, 50, 0] > 190 and frame[50, 50, 2] < 40 and frame[50, 200, 2] > 190 and frame[50, 200, 0] < 40
        assert frame[2, 2].min() > 240
        under = frame[8 + 96 + 2 :].min(-1) < 128
        assert under[:, :110].any() and under[:, 112:].sum() > under[:, :110].sum()  # ink under both, more under the longer
    same = write_side_by_side(tmp_path / "both.gif", clips, ["", ""], height=48, seconds=0.5)
    assert same.stat().st_size > 0


def test_bad_requests(media, tmp_path):
    clip = Clip(media.frames(3), np.arange(3) / 12)
    cases = [
        (lambda: write_gif(tmp_path / "a.mp4", clip), "end in .gif"),
        (lambda: write_gif(tmp_path / "no" / "a.gif", clip), "does not exist"),
        (lambda: write_gif(tmp_path / "a.gif", clip, fps=0), "1 to 50"),
        (lambda: write_side_by_side(tmp_path / "a.mp4", [clip], ["a", "b"]), "as many captions"),
        (lambda: write_side_by_side(tmp_path / "a.avi", [clip], ["a"]), "neither"),
    ]
    for call, message in cases:
        with pytest.raises(SlotIDError, match=message):
            call()
    assert not list(tmp_path.iterdir())
