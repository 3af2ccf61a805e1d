"""`fetch` with the hub's real client against a small hub: what arrives, what is left, and what every refusal is told as."""

import os
import subprocess
import sys

import pytest
from small_hub import SmallHub

FETCH = """
import sys
from slotid.cli.main import main
for name in sys.argv[1:]:
    print(main(["fetch", name]), flush=True)
    print("--", file=sys.stderr, flush=True)
"""


def fetch(address, home, *names, **more):
    """(exit codes or folders, what was told on stderr) per name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    here = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", FETCH, *names], env=kept | here | more, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines(), [part.strip().splitlines()[-1] for part in done.stderr.split("--\n") if part.strip()]


@pytest.fixture(scope="module")
def hub(pipelines, adapter):
    served = {"me/wan": ("1" * 40, pipelines("2.1")), "me/slots": ("2" * 40, adapter[0])}
    refused = {"me/gated": (403, "GatedRepo"), "me/broken": (500, "")}
    with SmallHub(served, refused) as hub:
        yield hub


def test_a_pipeline_and_an_adapter_arrive_and_open_offline(hub, tmp_path, monkeypatch, pipelines):
    out, _ = fetch(hub.address, tmp_path, "me/wan", "me/slots@" + "2" * 40)
    folder = out[0]
    assert out[1::2] == ["0", "0"] and folder.endswith("snapshots/" + "1" * 40)
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    from slotid.generate import open_studio

    studio = open_studio("me/wan", "slots", "cpu", adapter="me/slots@" + "2" * 40)
    assert studio.backbone.spec.name == "small-2.1" and studio.backbone.adopted
    assert all(name.endswith((".json", ".safetensors", ".txt", ".model")) for name in hub.asked)


def test_what_the_hub_refuses_is_one_sentence(hub, tmp_path):
    names = ["me/nothing", "me/gated", "me/broken", "me/wan@" + "3" * 40]
    out, told = fetch(hub.address, tmp_path, *names)
    assert out == ["2"] * 4
    for line, words in zip(told, ("no repository me/nothing", "me/gated is gated", "refused me/broken", "no revision 333"), strict=True):
        assert line.startswith("slotid: ") and words in line, line


def test_no_network_and_offline_are_told_apart(tmp_path):
    out, told = fetch("http://127.0.0.1:9", tmp_path, "me/wan")
    assert out == ["2"] and "hub cannot be reached" in told[0] and "check the network" in told[0]
    out, told = fetch("http://127.0.0.1:9", tmp_path, "me/wan", HF_HUB_OFFLINE="1")
    assert out == ["2"] and "HF_HUB_OFFLINE is set" in told[0]
