"""The small pipelines are written once for all tests of this folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """kind -> folder, each written when it is first asked for."""
    from wan_small import write_wan

    home, made = tmp_path_factory.mktemp("wan"), {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_wan(home / kind.replace(".", "_"), kind)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def adapter(pipelines, tmp_path_factory):
    """(folder, backbone, method, lora) of an adapter for the small Wan, with DINOv2 features."""
    from small import stir
    from wan_small import vision_method, write_vision

    from slotid.backbone.backbone import LoraPlan
    from slotid.backbone.wan import load_wan

    home = tmp_path_factory.mktemp("adapter")
    backbone, method = load_wan(pipelines("2.1"), device="cpu"), vision_method(write_vision(home / "dino"))
    lora = backbone.adopt(LoraPlan(rank=2))
    stir(lora, 1)
    method.save_pretrained(home / "slots", backbone.spec.name, lora, recipe="test")
    return home / "slots", backbone, method, lora
