"""Borrowed accelerators: the time asked for is tight, and without ``spaces`` nothing is borrowed."""

import subprocess
import sys
from dataclasses import replace

import pytest
from small import small_studio

from slotid.backbone.memory import known_spec
from slotid.backbone.zerogpu import LEAST, MOST, film_seconds, on_borrowed, place_for_space, step_flops


def test_nothing_is_borrowed_elsewhere(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)

    def film(x):
        yield x

    assert on_borrowed(film, lambda x: 30) is film
    studio = small_studio()
    assert place_for_space(studio) is studio and studio.backbone.device.type == "cpu"


def test_the_decorator_of_spaces_takes_our_callable(monkeypatch):
    """``spaces`` itself, off a Space: it must accept a generator with a duration callable and hand it back unchanged."""
    pytest.importorskip("spaces")
    code = (
        "import os; os.environ['SPACES_ZERO_GPU'] = '';\n"
        "import spaces, slotid.backbone.zerogpu as z; z.borrowed = lambda: True\n"
        "def film(n):\n    yield n\n"
        "assert list(z.on_borrowed(film, lambda n: n)(3)) == [3]; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


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
