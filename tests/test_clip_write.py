"""Written films play in browsers, say what they are, and never appear half."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slotid.clip import read_clip, read_settings, write_clip
from slotid.types import Clip, SlotIDError


def test_round_trip_and_browser_format(media, tmp_path):
    import av

    frames = media.frames(12, 47, 63)
    path = write_clip(tmp_path / "film.mp4", frames, {"prompt": "a walk, “näher”", "seed": 3}, fps=12)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.width, stream.height) == ("h264", "yuv420p", 64, 48)
        assert float(stream.average_rate) == pytest.approx(12)
        assert abs(float(stream.duration * stream.time_base) - 1) < 0.02
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    clip = read_clip(path)
    np.testing.assert_allclose(clip.seconds, np.arange(12) / 12, atol=1e-4)
    assert np.abs(clip.frames[:, :47, :63].astype(float) - frames).mean() < 4
    settings = read_settings(path)
    assert settings == {"prompt": "a walk, “näher”", "seed": 3, "ai_generated": True}


def test_the_mark_cannot_be_switched_off(media, tmp_path):
    path = write_clip(tmp_path / "film.mp4", media.frames(2), {"ai_generated": False}, fps=12)
    assert read_settings(path)["ai_generated"] is True


def test_flat_colours_survive(tmp_path):
    for colour in ((200, 30, 30), (20, 180, 60), (30, 40, 220), (128, 128, 128)):
        frames = np.full((3, 64, 64, 3), colour, np.uint8)
        back = read_clip(write_clip(tmp_path / "flat.mp4", frames, fps=12)).frames
        assert np.abs(back.astype(int) - np.array(colour)).max() <= 4


def test_true_times_are_kept(media, tmp_path):
    seconds = np.array([0, 0.1, 0.15, 0.4, 0.9])
    clip = read_clip(write_clip(tmp_path / "vfr.mp4", Clip(media.frames(5), seconds)))
    np.testing.assert_allclose(clip.seconds, seconds, atol=1e-4)


def test_the_same_film_is_the_same_file(tmp_path):
    """x264 with its tree of macroblocks made one of two files of such a film, each about as often."""
    rng = np.random.default_rng(0)
    frames = (rng.integers(60, 200, (1, 8, 1, 8, 1, 3)) + rng.integers(-9, 9, (33, 8, 1, 8, 1, 3))).repeat(8, 2).repeat(8, 4)
    frames = frames.reshape(33, 64, 64, 3).astype(np.uint8)
    made = {write_clip(tmp_path / f"{turn}.mp4", frames, fps=12.0).read_bytes() for turn in range(40)}
    assert len(made) == 1


def test_interrupted_write_leaves_nothing(media, tmp_path, monkeypatch):
    from slotid import clip_write

    old = write_clip(tmp_path / "film.mp4", media.frames(4), {"seed": 1}, fps=12).read_bytes()
    real, calls = clip_write._even, []

    def interrupt(pixels):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(pixels)

    monkeypatch.setattr(clip_write, "_even", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_clip(tmp_path / "film.mp4", media.frames(9), {"seed": 2}, fps=12)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"] and (tmp_path / "film.mp4").read_bytes() == old


def test_bad_requests(media, tmp_path):
    frames = media.frames(2)
    cases = [
        ((tmp_path / "no" / "film.mp4", frames, None, 12), "does not exist"),
        ((tmp_path / "film.webm", frames, None, 12), "does not end in .mp4"),
        ((tmp_path / "film.mp4", frames), "give fps"),
        ((tmp_path / "film.mp4", frames[:0], None, 12), "at least one frame"),
        ((tmp_path / "film.mp4", frames, None, -1), "rate above 0"),
        ((tmp_path / "film.mp4", frames, {"x": float("nan")}, 12), "JSON"),
        ((tmp_path / "film.mp4", frames, {"x": object()}, 12), "JSON"),
        ((tmp_path / "film.mp4", Clip(frames, np.zeros(2))), "increas"),
    ]
    for arguments, message in cases:
        with pytest.raises(SlotIDError, match=message):
            write_clip(*arguments)
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*"))
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SlotIDError, match="is a folder"):
        write_clip(tmp_path / "folder.mp4", frames, None, 12)


def test_settings_of_a_foreign_film(media, tmp_path):
    plain = media.film("plain.mp4", media.frames(2))
    (tmp_path / "text.mp4").write_text(json.dumps({"ai_generated": True}))
    for path, message in ((plain, "no settings"), (tmp_path / "text.mp4", "not an mp4"), (tmp_path / "gone.mp4", "no file")):
        with pytest.raises(SlotIDError, match=message):
            read_settings(path)
