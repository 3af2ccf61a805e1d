"""The README's section on CUDA cards, followed word by word in a fresh folder: every command runs as it stands there, against a hub of
small random checkpoints under the real names, from the first download to the page.

Only what would take hours is cut short, by options added at the end (``SHORTER``).
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from small_hub import SmallHub
from wan_small import write_vision

from slotid.backbone.known import KNOWN
from slotid.identity.vision import DINOV2

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## With a CUDA card"
SHORTER = {  # the command's first words -> what is added
    "slotid train slots_wan13b --data CLIPS": "--steps 2 --accumulate 1",
    "slotid bench": "--quick --rounds 1",
    "slotid memory": "wan2.1-1.3b",
    "slotid app": "--port {port}",
}


def section() -> str:
    """The section's text, up to the next heading of its level."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert HEADING in text, "the README has lost its section on CUDA cards"
    return re.split(r"\n## ", text.partition(HEADING)[2])[0]


def commands() -> list[str]:
    """Every command line of the section, comments cut."""
    blocks = re.findall(r"```sh\n(.*?)```", section(), re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def shortened(command: str, port: int) -> list[str]:
    if "--prepare" not in command:
        for words, more in SHORTER.items():
            if words in command:
                command += f" {more.format(port=port)}"
    return shlex.split(command)


@pytest.fixture(scope="module")
def clone(examples, tmp_path_factory):
    """What a reader has in front of him: the clone with its environment, a clip of himself, and clips with captions to train on."""
    home = tmp_path_factory.mktemp("clone")
    for name in ("slotid", "app.py", "assets"):
        (home / name).symlink_to(ROOT / name)
    (home / ".venv").symlink_to(sys.prefix)
    shutil.copy(examples[0], home / "me.mp4")
    clips = home / "CLIPS"
    clips.mkdir()
    for number, clip in enumerate(examples[:2]):  # both are told to be one person: that they look different is nothing to a random model
        shutil.copy(clip, clips / f"{number}.mp4")
        (clips / f"{number}.json").write_text('{"caption": "a man talks to the camera", "person": "one"}')
    return home


@pytest.fixture(scope="module")
def hub(pipelines, tmp_path_factory):
    """The real names, small random weights."""
    vision, revision = DINOV2.split("@")
    kinds = {"wan2.1-1.3b": "2.1", "wan2.1-14b": "2.1", "wan2.2-5b": "2.2-5b", "wan2.2-a14b": "2.2-a14b", "wan2.1-vace-1.3b": "vace"}
    repositories = {KNOWN[name].repository: (KNOWN[name].revision, pipelines(kind)) for name, kind in kinds.items()}
    folder = write_vision(tmp_path_factory.mktemp("vision") / "dino")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with SmallHub({**repositories, vision: (revision, folder)}) as served:
        yield served


def environment(hub: SmallHub, home: Path) -> dict[str, str]:
    names = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home / "huggingface"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ACCELERATE_", "SPACES_"))}
    return kept | names | {"OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


def test_every_command_of_the_section_runs_as_it_stands(clone, hub):
    if shutil.disk_usage(clone).free < 31 * 2**30:
        pytest.skip("needs 31 GiB of free disk: `fetch` refuses where the real checkpoint would not fit")
    told = commands()
    assert len(told) >= 8 and any("accelerate launch" in c for c in told) and any("--method exemplars" in c for c in told)
    for command in told:
        words = shortened(command, 7999)
        if "app" in words:
            continue  # below
        done = subprocess.run(words, cwd=clone, env=environment(hub, clone), capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{command}\n{done.stdout[-800:]}\n{done.stderr[-2500:]}"
        if "--out" in words:
            film = clone / words[words.index("--out") + 1]
            assert film.stat().st_size > 1000, command
            film.unlink()
    assert (clone / "runs/slots_wan13b/adapter/lora.safetensors").is_file()
    assert list((clone / "runs/slots_wan13b/samples").glob("*.mp4")), "a film was made while it trained"
    assert hub.asked and not [name for name in hub.asked if not name.endswith((".json", ".txt", ".model", ".safetensors"))]


def test_the_page_opens_with_it(clone, hub):
    command = next(c for c in commands() if "slotid app" in c)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fetched = subprocess.run(
        [".venv/bin/python", "-m", "slotid", "fetch", "wan2.1-vace-1.3b"], cwd=clone, env=environment(hub, clone), capture_output=True
    )
    if fetched.returncode:
        pytest.skip("the checkpoint could not be fetched, see the test before")
    page = subprocess.Popen(shortened(command, port), cwd=clone, env=environment(hub, clone), stderr=subprocess.PIPE, text=True)
    try:
        config = ""
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5) as answer:
                    config = answer.read().decode()
                break
            except OSError:
                assert page.poll() is None, page.stderr.read()[-2000:]
                time.sleep(0.5)
        assert "exemplars" in config and "wan2.1-vace-1.3b" in config, "the page offers the checkpoint and its method"
    finally:
        page.send_signal(signal.SIGINT)
        page.wait(60)
