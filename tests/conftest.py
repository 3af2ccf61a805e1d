"""Shared by all tests: where optional real clips are, a small pipeline, a maker of media files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_media import Media

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """The folder of real clips named by SLOTID_REAL_CLIPS; skips where it is not set."""
    folder = os.environ.get("SLOTID_REAL_CLIPS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real clips of people: set SLOTID_REAL_CLIPS to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def examples() -> list[Path]:
    """The committed reference clips; skips until there are any."""
    found = sorted(ROOT.glob("examples/*/reference.mp4"))
    if not found:
        pytest.skip("needs examples/*/reference.mp4, rendered clips of heads")
    return found


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Path:
    """The folder of a small random pipeline with identity weights: 64x64 films in a second."""
    from small import small_backbone, small_method, stir

    from slotid.backbone.backbone import LoraPlan
    from slotid.backbone.tiny import save_tiny

    folder = tmp_path_factory.mktemp("pipeline")
    backbone = small_backbone()
    save_tiny(backbone, folder)
    lora = backbone.adopt(LoraPlan(rank=2))
    stir(lora)
    small_method().save_pretrained(folder / "identity" / "slots", backbone.spec.name, lora)
    return folder


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path)


@pytest.fixture(scope="session")
def two_faces() -> list:
    """Two clips of two different people, 36 frames each at 12 fps: examples, or real clips where those are named; skips without."""
    from slotid.clip import read_clip, resample

    folder = os.environ.get("SLOTID_REAL_CLIPS")
    paths = sorted(Path(folder).glob("grid_*.mpg"))[:2] if folder else sorted(ROOT.glob("examples/[bl]*/reference.mp4"))
    if len(paths) < 2:
        pytest.skip("needs two clips of two people: examples/*/reference.mp4, or SLOTID_REAL_CLIPS with grid_*.mpg")
    from dataclasses import replace

    clips = [resample(read_clip(path, max_seconds=3), 12) for path in paths]
    return [replace(clip, frames=clip.frames[:36], seconds=clip.seconds[:36]) for clip in clips]
