"""The whole command on what people really have: a browser's recording, a phone's film, and clips of which no film can be made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small_media import Media

from slotid.cli.main import main
from slotid.clip import read_clip, read_settings
from slotid.identity.codes import load_code

PHONE = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # the matrix that phones write when held upright: show it a quarter turn clockwise


@dataclass(frozen=True)
class Filmed:
    """One second and a half of an example's person, as three cameras would have stored it."""

    frames: np.ndarray
    plain: Path
    webm: Path
    phone: Path


@pytest.fixture(scope="module")
def filmed(examples, tmp_path_factory) -> Filmed:
    import av

    media = Media(tmp_path_factory.mktemp("filmed"))
    frames = read_clip(examples[0]).frames[:18]
    times = np.arange(18) / 12 + np.tile([0, 0.02, 0.011], 6)  # a browser's times are uneven
    how = {"codec": "libvpx", "form": "webm", "seekable": False, "options": {"b": "4M", "deadline": "realtime"}}
    webm = media.film("cam.webm", frames, times=times, **how)
    with av.open(str(webm)) as container:
        assert container.duration is None
    plain = media.film("plain.mp4", frames, fps=12, options={"crf": "8"})
    phone = media.film("phone.mp4", np.rot90(frames, 1, (1, 2)), fps=12, matrix=PHONE, options={"crf": "8"})
    return Filmed(frames, plain, webm, phone)


def generate(pipeline: Path, reference: Path, out: Path, *more: str) -> list[str]:
    words = ["generate", "--reference", str(reference), "--prompt", "a person smiles", "--out", str(out), "--backbone", str(pipeline)]
    return [*words, "--steps", "1", *more]


@pytest.mark.parametrize("kind", ["webm", "phone"])
def test_a_browser_s_recording_and_a_phone_s_film_become_films(kind, filmed, pipeline, tmp_path, capsys):
    out = tmp_path / "film.mp4"
    assert main(generate(pipeline, getattr(filmed, kind), out, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["face"]["frames"] == 18 and report["face"]["seen"] >= 17
    assert report["face"]["seconds"] == pytest.approx(17 / 12, abs=0.03)
    assert read_clip(out).frames.shape[1:] == (64, 64, 3) and read_settings(out)["prompt"] == "a person smiles"


def test_however_it_was_filmed_it_is_the_same_person(filmed, pipeline, examples, tmp_path):
    """A phone's film that was read lying on its side would give a code as far away as another person's."""
    codes = {}
    for name, clip in (("plain", filmed.plain), ("webm", filmed.webm), ("phone", filmed.phone), ("other", examples[-1])):
        out = tmp_path / f"{name}.safetensors"
        assert main(["encode", str(clip), "--out", str(out), "--backbone", str(pipeline)]) == 0
        codes[name] = np.concatenate([np.ravel(t.float().numpy()) for _, t in sorted(load_code(out).tensors.items())])
    away = {name: np.linalg.norm(codes[name] - codes["plain"]) for name in ("webm", "phone", "other")}
    assert max(away["webm"], away["phone"]) < 0.35 * away["other"], away


def bad_clips(folder: Path, face: np.ndarray) -> dict[str, tuple[str, str]]:
    """What is wrong -> the file's name, and what its one line must say."""
    media = Media(folder)
    rng = np.random.default_rng(0)
    media.sound("sound.mp4")
    media.film("wall.mp4", rng.integers(90, 160, (12, 96, 128, 3), dtype=np.uint8), fps=12)
    short = np.full((16, *face.shape[1:]), 120, np.uint8)
    short[6:9] = face[:3]
    media.film("glimpse.mp4", short, fps=12, options={"crf": "8"})
    media.film("one.mp4", face[:2], fps=12, options={"crf": "8"})
    (folder / "letter.mp4").write_text("Dear film,\n" * 40)
    (folder / "empty.webm").touch()
    (folder / "pictures").mkdir()
    return {
        "missing file": ("nothing.mp4", "there is no file"),
        "text file named mp4": ("letter.mp4", "is not a film that can be read"),
        "audio only": ("sound.mp4", "has sound but no picture; give a film in which a face is to be seen"),
        "empty file": ("empty.webm", "is empty (0 bytes); record or copy it again"),
        "no face": ("wall.mp4", "no face was found in wall.mp4 (12 frames of 128x96); give a clip in which one face is well lit"),
        "face in three frames": ("glimpse.mp4", "the face is seen in only 3 of 16 frames of glimpse.mp4, but 5 are needed; give a longer"),
        "two frames": ("one.mp4", "the face is seen in only 2 of 2 frames"),
        "folder without pictures": ("pictures", "holds no pictures"),
    }


def test_clips_of_which_no_film_can_be_made_get_one_line(filmed, pipeline, tmp_path, capsys):
    clips, outs = tmp_path / "clips", tmp_path / "outs"
    clips.mkdir()
    outs.mkdir()
    for what, (name, said) in bad_clips(clips, filmed.frames).items():
        for words in (
            generate(pipeline, clips / name, outs / "film.mp4"),
            ["encode", str(clips / name), "--out", str(outs / "code.safetensors"), "--backbone", str(pipeline)],
        ):
            assert main(words) == 2, what
            told = capsys.readouterr()
            lines = [line for line in told.err.splitlines() if line.startswith("slotid: ")]
            assert len(lines) == 1 and said in lines[0].lower() and lines[0].endswith("."), (what, lines)
            assert told.out == "" and "Traceback" not in told.err and not list(outs.iterdir()), what
