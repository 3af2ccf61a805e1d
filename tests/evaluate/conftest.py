"""Judges of the real classes with random weights, and a head kit that is written in the test: the whole evaluation, small."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # small.py
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "world"))  # tiny_kit.py


@pytest.fixture(scope="session")
def egg_kit(tmp_path_factory) -> str:
    """The path of a packed kit: an egg with a neck; painted, MediaPipe takes it for a face in most frames."""
    from tiny_kit import tiny_kit

    kit, path = tiny_kit(), tmp_path_factory.mktemp("kit") / "kit.npz"
    np.savez(path, version=np.array(1), **{f.name: np.asarray(getattr(kit, f.name)) for f in fields(kit)})
    return str(path)


@pytest.fixture(scope="session")
def head_kit() -> str:
    """The path of a real head kit, where one is named; skips without."""
    path = os.environ.get("SLOTID_HEADKIT")
    if not path or not Path(path).is_file():
        pytest.skip("needs the head kit: set SLOTID_HEADKIT to a kit packed by `python -m slotid world pack`")
    return path


def write_judges(folder: Path, seed: int = 0) -> Path:
    """Random judges on disk, as training writes them."""
    import torch

    from slotid.evaluate.judges import build, save_judge, world_facts

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        acts, facts = world_facts()
        nets = build(facts, acts)
    quality = {"looks": {"auc": 0.6}, "habits": {"auc": 0.5}, "facts": {"acts": 0.1}}
    scale = {"impostor": 0.1, "same": 0.6}
    save_judge(folder, "looks", nets["looks"], {"scale": scale, "quality": quality["looks"]})
    save_judge(folder, "habits", nets["habits"], {"scale": scale, "quality": quality["habits"]})
    from slotid.evaluate.judges import read_note

    size = 64 + 128
    real = {"strangeness": [0.5, 1.5], "jitter": [0.005, 0.05], "flicker": [0.001, 0.01]}
    about = {"quality": quality["facts"], "real": real, "looks_weights": read_note(folder, "looks")["weights"]["net"]}
    save_judge(folder, "facts", nets["facts"], about, {"real_mean": np.zeros(size), "real_cov": np.eye(size)})
    return folder


@pytest.fixture(scope="session")
def judges_folder(tmp_path_factory) -> Path:
    return write_judges(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="session")
def judges(judges_folder):
    from slotid.evaluate.judges import load_judges

    return load_judges(judges_folder)


@pytest.fixture(scope="session")
def trained_judges():
    """The judges that come with the program, if they are good enough to prove anything; skips with the reason otherwise."""
    from slotid.evaluate.judges import below_bars, judges_missing, load_judges

    missing = judges_missing()
    if missing:
        pytest.skip(missing)
    found = load_judges()
    short = below_bars(found.quality)
    if short:
        pytest.skip("; ".join(short))
    return found
