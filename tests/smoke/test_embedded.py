"""The embedded pipeline as a visitor meets it: a default film of an example, by the command of `make demo`, within its time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slotid.clip import read_clip, read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
FILM_SECONDS, MEMORY_GB = 20, 3


@pytest.mark.skipif(not (ROOT / "assets/tiny/model_index.json").is_file(), reason="needs the embedded pipeline in assets/tiny")
def test_a_default_film_fits_twenty_seconds_and_three_gigabytes(examples, tmp_path):
    """Processor time of the whole process, start-up, maps and likeness too: what one core does in 20 s, two do sooner."""
    out, folder = tmp_path / "film.mp4", examples[0].parent
    words = ["generate", "--reference", str(examples[0]), "--prompt", (folder / "prompt.txt").read_text().strip(), "--out", str(out)]
    run = subprocess.Popen(
        [sys.executable, "-m", "slotid", *words, "--maps", str(tmp_path / "maps"), "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    told = run.stdout.read()
    _, status, usage = os.wait4(run.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, run.stderr.read()
    run.returncode = 0
    report, clip = json.loads(told), read_clip(out)
    assert min(clip.frames.shape[1:3]) >= 128 and report["settings"]["seconds"] >= 2 and report["settings"]["fps"] >= 8
    assert len(clip.frames) == report["settings"]["frames"] and read_settings(out) == report["settings"]
    assert report["face"]["seen"] > 40 and (tmp_path / "maps/slots.png").is_file() and (tmp_path / "maps/time_map.svg").is_file()
    assert usage.ru_utime + usage.ru_stime < FILM_SECONDS
    assert usage.ru_maxrss / 1e6 < MEMORY_GB
    assert clip.frames.std() > 10 and abs(clip.frames[1:].astype(int) - clip.frames[:-1]).mean() > 0.3  # a picture, and it moves
