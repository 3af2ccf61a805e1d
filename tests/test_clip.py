"""Files <-> Clip: what is in the file comes out upright, in true colours, at true times; and bad files say what to do."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from slotid.clip import read_clip, resample
from slotid.types import Clip, SlotIDError


def close(a: np.ndarray, b: np.ndarray, limit: float = 6.0) -> None:
    """Same size, and the same picture but for compression."""
    assert a.shape == b.shape
    assert np.abs(a.astype(float) - b.astype(float)).mean() < limit


CONTAINERS = [
    ("a.mp4", "libx264", "yuv420p", {"crf": "10"}),
    ("a.mov", "libx264", "yuv420p", {"crf": "10"}),
    ("a.mkv", "libx264", "yuv444p", {"crf": "10"}),
    ("a.avi", "mpeg4", "yuv420p", {"qscale": "2"}),
    ("a.mpg", "mpeg1video", "yuv420p", {"qmin": "1", "qmax": "3"}),
    ("a.webm", "libvpx-vp9", "yuv420p", {"crf": "10", "b": "0"}),
    ("a.gif", "gif", "rgb8", {}),
]


@pytest.mark.parametrize(("name", "codec", "form", "options"), CONTAINERS)
def test_containers_give_the_same_frames_and_times(media, name, codec, form, options):
    frames = media.frames(10)
    clip = read_clip(media.film(name, frames, codec=codec, pix_fmt=form, options=options))
    close(clip.frames, frames, 22 if codec == "gif" else 6)
    assert clip.frames.dtype == np.uint8 and clip.seconds[0] == 0
    np.testing.assert_allclose(clip.seconds, np.arange(10) / 25, atol=2e-3 if codec != "gif" else 6e-3)


def test_webm_without_duration(media):
    import av

    times = np.array([0, 0.021, 0.09, 0.1, 0.25, 0.3, 0.301, 0.5])
    path = media.film(
        "cam.webm", media.frames(8), codec="libvpx", form="webm", times=times, seekable=False, options={"b": "2M", "deadline": "realtime"}
    )
    with av.open(str(path)) as container:
        assert container.duration is None and container.streams.video[0].duration is None
    clip = read_clip(path)
    np.testing.assert_allclose(clip.seconds, times, atol=1.1e-3)
    close(clip.frames, media.frames(8), 8)


@pytest.mark.parametrize("degrees", [90, 180, -90])
@pytest.mark.parametrize("mirror", [False, True])
def test_rotation_and_mirror_metadata(media, degrees, mirror):
    frames = media.frames(3)
    clip = read_clip(media.film("phone.mp4", frames, rotate=degrees, mirror=mirror, options={"crf": "10"}))
    # A stream turned by +90 degrees is shown turned counter-clockwise, then mirrored (the convention of FFmpeg's display matrix).
    candidates = {turns: np.rot90(frames, turns, (1, 2))[:, :, :: -1 if mirror else 1] for turns in range(4)}
    turns = {90: 1, 180: 2, -90: 3}[degrees]
    errors = {n: np.abs(clip.frames.astype(float) - c).mean() if c.shape == clip.frames.shape else np.inf for n, c in candidates.items()}
    assert min(errors, key=errors.get) == turns and errors[turns] < 6


def test_a_phone_held_upright(media):
    """The very matrix that phones write for portrait: x' = -y, y' = x, a quarter turn clockwise."""
    frames = media.frames(3)
    path = media.film("portrait.mov", frames, matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), options={"crf": "10"})
    close(read_clip(path).frames, np.rot90(frames, -1, (1, 2)))


def test_variable_rate_comes_out_right(media):
    times = np.array([0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.8, 1.0])
    frames = media.frames(8)
    clip = read_clip(media.film("vfr.mp4", frames, times=times, options={"crf": "10"}))
    np.testing.assert_allclose(clip.seconds, times, atol=1e-3)
    even = resample(clip, 10)
    np.testing.assert_allclose(even.seconds, np.arange(11) / 10)
    nearest = [np.abs(times - t).argmin() for t in even.seconds]
    assert (even.frames == clip.frames[nearest]).all()


def test_resample_keeps_speed_and_length():
    clip = Clip(np.arange(60, dtype=np.uint8)[:, None, None, None].repeat(3, -1), np.arange(60) / 30)
    for fps in (8, 12, 24, 50):
        out = resample(clip, fps)
        assert abs(out.seconds[-1] - clip.seconds[-1]) < 1 / fps
        np.testing.assert_allclose(out.frames[:, 0, 0, 0] / 30, out.seconds, atol=1 / 60 + 1e-6)
    one = resample(Clip(clip.frames[:1], clip.seconds[:1]), 12)
    assert len(one.frames) == 1
    with pytest.raises(SlotIDError, match="above 0"):
        resample(clip, 0)


def test_long_clip_is_cut_with_a_notice(media):
    path = media.film("long.mp4", media.frames(30), fps=10)
    clip = read_clip(path, max_seconds=2)
    assert len(clip.frames) == 20 and clip.seconds[-1] < 2 and any("cut to the first 2 s" in n for n in clip.notices)
    assert not read_clip(path, max_seconds=3).notices


def test_reduced_while_decoding(media):
    frames = media.frames(4, 96, 160)
    clip = read_clip(media.film("big.mp4", frames, options={"crf": "8"}), max_side=40)
    assert clip.frames.shape == (4, 24, 40, 3)
    close(clip.frames, frames.reshape(4, 24, 4, 40, 4, 3).mean((2, 4)))
    assert read_clip(media.film("small.mp4", frames), max_side=400).frames.shape == frames.shape


def test_ten_bit_full_range_and_colour(media):
    frames = media.frames(3)
    close(read_clip(media.film("ten.mkv", frames, pix_fmt="yuv420p10le", options={"crf": "8"})).frames, frames, 5)
    close(read_clip(media.film("full.mkv", frames, full_range=True, options={"crf": "8"})).frames, frames, 5)
    close(read_clip(media.film("grey.mkv", frames, codec="ffv1", pix_fmt="gray")).frames[..., :1], luma(frames), 5)


def luma(frames: np.ndarray) -> np.ndarray:
    return (frames @ np.array([0.299, 0.587, 0.114]))[..., None]


def test_hdr_becomes_ordinary(media):
    """A mid grey in HLG is about 0.5 of signal; as BT.709 it must stay a mid grey, neither black nor white, and be said."""
    frames = np.full((3, 48, 64, 3), 128, np.uint8)
    clip = read_clip(media.film("hlg.mkv", frames, codec="ffv1", pix_fmt="yuv420p10le", curve=(9, 18, 9)))
    assert any("HLG" in n for n in clip.notices)
    assert 70 < clip.frames.mean() < 200


def test_alpha_lies_over_grey(media):
    frames = media.frames(3)
    rgba = np.concatenate([frames, np.full((3, 48, 64, 1), 255, np.uint8)], -1)
    rgba[:, :, :32, 3] = 0
    clip = read_clip(media.film("alpha.mov", frames, codec="png", pix_fmt="rgba", rgba=rgba))
    assert np.abs(clip.frames[:, :, :30].astype(int) - 128).max() <= 2
    close(clip.frames[:, :, 34:], frames[:, :, 34:], 3)
    assert any("transparent" in n for n in clip.notices)


def test_wide_pixels_become_square(media):
    clip = read_clip(media.film("sar.mkv", media.frames(2), aspect=Fraction(2, 1)))
    assert clip.frames.shape == (2, 48, 128, 3)


def test_animated_and_single_pictures(media, tmp_path):
    frames = media.frames(4)
    pictures = [Image.fromarray(f) for f in frames]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=[40, 100, 40, 40], lossless=True)
    clip = read_clip(tmp_path / "a.webp")
    assert (clip.frames == frames).all()
    np.testing.assert_allclose(clip.seconds, [0, 0.04, 0.14, 0.18])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    pictures[0].save(tmp_path / "one.jpg", exif=exif, quality=95, subsampling=0)
    one = read_clip(tmp_path / "one.jpg")
    assert one.seconds.tolist() == [0] and any("single picture" in n for n in one.notices)
    close(one.frames, np.rot90(frames[:1], -1, (1, 2)))
    Image.fromarray((np.arange(48 * 64).reshape(48, 64) * 20).astype(np.uint16)).save(tmp_path / "deep.png")
    assert 100 < read_clip(tmp_path / "deep.png").frames.mean() < 150


def test_folder_of_pictures_in_natural_order(media, tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    for value in (1, 2, 10, 11):
        Image.new("RGB", (20, 16), (value, 0, 0)).save(folder / f"p{value}.png")
    Image.new("RGB", (40, 40), (12, 0, 0)).save(folder / "p12.png")
    (folder / "notes.txt").write_text("not a picture")
    clip = read_clip(folder, fps=5)
    assert clip.frames.shape == (5, 16, 20, 3)
    assert clip.frames[:, 8, 10, 0].tolist() == [1, 2, 10, 11, 12]
    np.testing.assert_allclose(clip.seconds, np.arange(5) / 5)
    assert any("5 frames per second" in n for n in clip.notices) and any("fitted" in n for n in clip.notices)


def test_bad_files_say_what_to_do(media, tmp_path):
    (tmp_path / "text.mp4").write_text("This is a letter, not a film.\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.webm").write_bytes(bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (tmp_path / "none").mkdir()
    whole = media.film("whole.mp4", media.frames(5)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    cases = {
        "missing.mp4": "no file",
        "text.mp4": "not a film",
        "empty.mp4": "0 bytes",
        "noise.webm": "not a film|no frame|holds no film",
        "broken.png": "not a picture",
        "none": "no pictures",
        "half.mp4": "not a film|no frame",
        media.sound().name: "sound but no picture",
    }
    for name, message in cases.items():
        with pytest.raises(SlotIDError, match=message) as caught:
            read_clip(tmp_path / name)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    with pytest.raises(SlotIDError, match="positive"):
        read_clip(tmp_path / "whole.mp4", max_seconds=0)


def test_a_playlist_cannot_open_other_files(media, tmp_path):
    media.film("secret.ts", media.frames(5), form="mpegts")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    for name in ("list.mp4", "concat.mp4"):
        with pytest.raises(SlotIDError, match="not a film"):
            read_clip(tmp_path / name)


def test_a_damaged_middle_is_skipped_not_fatal(media, tmp_path):
    path = media.film("torn.mpg", media.frames(40), codec="mpeg1video", options={"g": "5"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    clip = read_clip(path)
    assert len(clip.frames) > 20 and (np.diff(clip.seconds) > 0).all()
