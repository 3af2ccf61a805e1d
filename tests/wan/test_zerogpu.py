"""Borrowed accelerators: the time asked for is tight, and without ``spaces`` nothing is borrowed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small import small_face, small_studio

from slotid.backbone.memory import known_spec
from slotid.backbone.zerogpu import LEAST, MOST, film_seconds, on_borrowed, place_for_space, step_flops


def test_nothing_is_borrowed_elsewhere(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)

    def film(x):
        yield x

    assert on_borrowed(film, lambda x: 30) is film
    studio = small_studio()
    assert place_for_space(studio) is studio and studio.backbone.device.type == "cpu"


@pytest.fixture(scope="module")
def lent(pipeline, pipelines):
    """(folder of a small pipeline, what ``small_lender`` told of making a film of it on a borrowed card)."""
    pytest.importorskip("spaces")
    folder, here = pipeline, Path(__file__).parent
    paths = os.pathsep.join(map(str, (here.parents[1], here.parent)))
    done = subprocess.run(
        [sys.executable, str(here / "small_lender.py"), str(folder), str(pipelines("vace"))], capture_output=True, text=True, timeout=900,
        env=os.environ | {"PYTHONPATH": paths, "SLOTID_TINY": str(folder), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1",
                          "no_proxy": "127.0.0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_a_film_on_a_borrowed_card_is_the_film(lent):
    """Through the real ``spaces``: its emulated CUDA, its process, its pipes; compared with the page's engine here."""
    from slotid.page.engine import Engine
    from slotid.types import Request

    folder, told = lent
    assert told["emulated"] and told["placed"].startswith("cuda"), "models are placed before anybody borrows"
    *_, film = Engine(str(folder)).film(Request("a man talks", small_face(1), steps=4, seed=3, seconds=1.125), "slots", None)
    frames = film.clip.frames
    assert told["frames"] == list(frames.shape) and told["sum"] == told["same"] == int(frames.astype(int).sum())
    assert told["stages"] == ["remember", "read", *["denoise"] * 5, "decode", "likeness"] and told["previews"] == 1
    assert told["likeness"] == len(frames) and told["face"] and told["request"] and told["kept"] == 3
    assert set(told["code"]) == {"Tensor"} and told["backbones"] == [str(folder)]


def test_a_wan_pipeline_is_placed_whole_before_the_page_and_makes_its_film_there(lent):
    _, told = lent
    assert told["profile"] == "full" and told["wan placed"].startswith("cuda")
    assert told["exemplars"] == ["exemplars", 5, 32, 32, 3]


def test_what_goes_wrong_on_a_borrowed_card_is_a_sentence(lent):
    empty, gains, quota = lent[1]["errors"]
    assert empty.startswith("The prompt is empty") and gains.startswith("1 slot gains were given for 8 slots")
    assert quota.startswith("No card could be borrowed") and "GPU limit" in quota


def test_the_card_is_asked_for_as_long_as_the_wish_needs(lent):
    from slotid.backbone.backbone import Spec
    from slotid.page.borrow import REMEMBER_SECONDS

    folder, told = lent
    spec = Spec.load(folder)
    wishes = [(4, 1.125), (50, None), (4, 1.125)]
    assert told["asked"][:4] == [REMEMBER_SECONDS, *(film_seconds(spec, steps, seconds) for steps, seconds in wishes)]


def test_the_spaces_front_matter_fits_its_requirements():
    root = Path(__file__).resolve().parents[2]
    front = dict(line.split(": ", 1) for line in (root / "README.md").read_text().split("---")[1].splitlines() if ": " in line)
    pinned = dict(line.split("==") for line in (root / "requirements.txt").read_text().splitlines() if "==" in line)
    assert front["sdk"] == "gradio" and front["sdk_version"] == pinned["gradio"] and (root / front["app_file"]).is_file()
    assert front["python_version"].strip('"') in ("3.12.12", "3.12", "3.10.13", "3.10") and "spaces" in pinned
    first = next(line for line in (root / "app.py").read_text().splitlines() if line.strip().startswith("import "))
    assert first.strip().startswith("import spaces"), "before anything that could touch the card"


def test_the_time_asked_for_follows_the_wish():
    spec = known_spec("wan2.1-1.3b")
    usual = film_seconds(spec)
    assert LEAST < usual < MOST
    assert film_seconds(spec, steps=10) < usual and film_seconds(spec, seconds=2.0) < usual and film_seconds(spec, streams=2) < usual
    assert film_seconds(known_spec("wan2.1-14b")) == MOST and film_seconds(spec, steps=1, seconds=1.1) >= LEAST


def test_operations_are_those_of_the_layers():
    """Against the real classes, counted by torch: linear layers and attention of a small Wan."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode
    from wan_small import NET

    spec = replace(known_spec("wan2.1-1.3b"), width=32, depth=3, channels=8, text_width=32, text_length=16, size=(64, 64), frames=17)
    from diffusers import WanTransformer3DModel

    net = WanTransformer3DModel(**NET, in_channels=8, out_channels=8)
    # only the plain attention is counted by torch on a CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(torch.randn(1, 8, *spec.grid(17)), torch.ones(1), torch.randn(1, 16, 32))
    assert step_flops(spec, 17, ffn=48) == pytest.approx(counter.get_total_flops(), rel=0.25)
