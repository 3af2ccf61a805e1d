"""The command line, on a small pipeline of the real classes: films, codes, JSON, one-line errors, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slotid.cli.main import main
from slotid.cli.progress import Progress, clock

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def code(pipeline, tmp_path_factory) -> Path:
    """A saved identity code of a made-up face."""
    from small import small_face

    from slotid.generate import open_studio
    from slotid.identity.codes import save_code

    studio = open_studio(pipeline)
    return save_code(
        studio.method.remember(small_face(), studio.backbone.to_latent), tmp_path_factory.mktemp("codes") / "person.safetensors"
    )


def film(pipeline: Path, code: Path, out: Path, *more: str) -> list[str]:
    words = ["generate", "--reference", str(code), "--prompt", "a person smiles", "--out", str(out), "--backbone", str(pipeline)]
    return [*words, "--steps", "2", *more]


def test_generate_writes_a_film_that_carries_its_settings(pipeline, code, tmp_path, capsys):
    from slotid.clip import read_clip
    from slotid.clip_write import read_settings

    out = tmp_path / "film.mp4"
    assert main(film(pipeline, code, out, "--seed", "3", "--strength", "0.5", "--json")) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)  # one object, nothing else on stdout
    assert report["film"] == str(out) and report["timings"]["denoise"] > 0 and report["likeness"] is None
    kept = read_settings(out)
    assert (kept["prompt"], kept["seed"], kept["strength"], kept["method"]) == ("a person smiles", 3, 0.5, "slots")
    assert kept["ai_generated"] is True and kept["version"]
    assert report["settings"] == kept
    assert len(read_clip(out).frames) == kept["frames"]
    assert list(tmp_path.iterdir()) == [out]  # no half-written neighbour


def test_the_same_seed_gives_the_same_film_and_another_seed_another(pipeline, code, tmp_path):
    names = [tmp_path / f"{name}.gif" for name in "abc"]
    for name, seed in zip(names, ("1", "1", "2"), strict=True):
        assert main(film(pipeline, code, name, "--seed", seed)) == 0
    first, second, other = (name.read_bytes() for name in names)
    assert first == second != other


def test_a_film_of_nobody_needs_no_reference(pipeline, tmp_path):
    out = tmp_path / "nobody.mp4"
    words = ["generate", "--method", "none", "--prompt", "a person nods", "--out", str(out), "--backbone", str(pipeline), "--steps", "1"]
    assert main(words) == 0 and out.stat().st_size > 0


def bad(pipeline: Path, code: Path, tmp: Path) -> dict[str, tuple[list[str], str]]:
    """Bad input -> what its one line must say."""
    text = tmp / "notes.mp4"
    text.write_text("this is no film")
    (tmp / "empty.mp4").write_bytes(b"")
    out = tmp / "film.mp4"

    def ask(reference: object, prompt: str = "a person smiles", to: object = out, *more: str) -> list[str]:
        wish = [
            "generate",
            "--reference",
            str(reference),
            "--prompt",
            prompt,
            "--out",
            str(to),
            "--backbone",
            str(pipeline),
            "--steps",
            "1",
        ]
        return [*wish, *more]

    return {
        "missing file": (ask(tmp / "nothing.mp4"), "nothing.mp4"),
        "text named mp4": (ask(text), "notes.mp4"),
        "empty file": (ask(tmp / "empty.mp4"), "empty"),
        "code that is missing": (ask(tmp / "nobody.safetensors"), "nobody.safetensors"),
        "code that is none": (["generate", *ask(pipeline / "vae/diffusion_pytorch_model.safetensors")[1:]], "not an identity code"),
        "empty prompt": (ask(code, "  "), "prompt is empty"),
        "long prompt": (ask(code, "word " * 400), "1000"),
        "folder of out missing": (ask(code, to=tmp / "no" / "film.mp4"), "does not exist"),
        "out is no film": (ask(code, to=tmp / "film.txt"), ".mp4"),
        "strength too high": (ask(code, "a person", out, "--strength", "2.5"), "strength"),
        "guidance too low": (ask(code, "a person", out, "--text-guidance", "0.2"), "text guidance"),
        "no steps": (ask(code, "a person", out, "--steps", "0"), "steps"),
        "too long": (ask(code, "a person", out, "--seconds", "99"), "seconds"),
        "steps in words": (ask(code, "a person", out, "--steps", "many"), "--steps"),
        "unknown method": (ask(code, "a person", out, "--method", "magic"), "magic"),
        "unknown backbone": (ask(code, "a person", out, "--backbone", "huge"), "huge"),
        "no reference": (["generate", "--prompt", "x", "--out", str(out)], "--reference"),
        "no prompt": (["generate", "--reference", "x", "--out", str(out)], "--prompt"),
        "unknown command": (["dance"], "dance"),
        "maps of a saved code": (ask(code, "a person", out, "--maps", str(tmp / "maps")), "maps needs a clip"),
        "maps are a file": (ask(code, "a person", out, "--maps", str(text)), "is a file: give a folder"),
        "name too long": (ask(code, to=tmp / ("n" * 300 + ".mp4")), "choose another name"),
        "reference too long": (ask(tmp / ("n" * 300 + ".mp4")), "there is no file"),
        "reference is a device": (ask("/dev/null"), "no file but a device"),
        "encode to nowhere": (["encode", str(text), "--out", str(tmp / "no" / "c.safetensors")], "does not exist"),
        "encode to mp4": (["encode", str(text), "--out", str(out)], ".safetensors"),
        "encode a text": (["encode", str(text), "--out", str(tmp / "c.safetensors")], "notes.mp4"),
    }


def test_bad_input_gets_one_line_and_exit_code_2(pipeline, code, tmp_path, capsys):
    for name, (words, expected) in bad(pipeline, code, tmp_path).items():
        before = sorted(tmp_path.iterdir())
        assert main(words) == 2, name
        told = capsys.readouterr()
        last = told.err.strip().splitlines()[-1]
        assert last.startswith("slotid: ") and expected.lower() in last.lower(), (name, last)
        assert told.out == "" and "Traceback" not in told.err, name
        assert sorted(tmp_path.iterdir()) == before, f"{name} left something behind"


def test_ctrl_c_exits_130_and_leaves_nothing(pipeline, code, tmp_path):
    words = [sys.executable, "-m", "slotid", *film(pipeline, code, tmp_path / "film.mp4")]
    words[words.index("--steps") + 1] = "100"
    run = subprocess.Popen(
        words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seen = ""
    for line in run.stderr:
        seen += line
        if "dreaming" in line:
            break
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    out, rest = run.communicate(timeout=60)
    assert run.returncode == 130, seen + rest
    assert "stopped" in rest and "Traceback" not in rest and out == ""
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_lists_the_commands():
    told = subprocess.run([sys.executable, "-X", "importtime", "-m", "slotid", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0
    for name in ("encode", "generate", "world", "app"):
        assert name in told.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in told.stderr.splitlines()}
    assert not loaded & {"torch", "diffusers", "gradio", "mediapipe", "numba"}


def test_encode_reads_a_clip_and_draws_its_maps(tmp_path, capsys, request, pipeline):
    clip = request.getfixturevalue("examples")[0]
    out = tmp_path / "person.safetensors"
    assert main(["encode", str(clip), "--out", str(out), "--maps", str(tmp_path / "maps"), "--backbone", str(pipeline), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["method"] == "slots" and {row["grade"] for row in report["meter"]} <= {"good", "weak"}
    assert all(Path(path).stat().st_size > 500 for path in report["maps"]) and len(report["maps"]) >= 11
    film_path = tmp_path / "film.mp4"
    assert main(film(pipeline, out, film_path)) == 0 and film_path.is_file()


class Lines:
    """A stream that is, or is not, a terminal."""

    def __init__(self, terminal: bool):
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_progress_rewrites_one_line_on_a_terminal_and_logs_stages_elsewhere():
    terminal, log = Lines(True), Lines(False)
    for stream in (terminal, log):
        progress = Progress(stream)
        for step in range(5):
            progress.update("denoise", step, 4, (4 - step) * 0.5)
        progress.finish()
    assert terminal.text.count("\n") == 1 and terminal.text.count("\r") == 5
    assert f"[{'#' * 12}{'-' * 12}] 2/4  0:01 left" in terminal.text and f"[{'#' * 24}] 4/4" in terminal.text
    assert log.text == "dreaming the film ...\n"


def test_clock_rounds_up():
    assert [clock(0), clock(0.2), clock(59.1), clock(150)] == ["0:00", "0:01", "1:00", "2:30"]
