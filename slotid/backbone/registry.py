"""Backbones by name, or by the folder of a pipeline."""

from __future__ import annotations

import os
from pathlib import Path

from slotid.types import SlotIDError

BACKBONES = ("tiny",)


def backbone_folder(name: str | Path) -> Path:
    """Where a backbone's pipeline lies: a known name (``SLOTID_TINY`` moves 'tiny') or a folder with model_index.json.

    Raises:
        SlotIDError: neither; lists the known names.
    """
    from slotid.backbone.tiny import TINY_FOLDER

    if str(name) == "tiny":
        return Path(os.environ.get("SLOTID_TINY") or TINY_FOLDER)
    if (Path(name) / "model_index.json").is_file():
        return Path(name)
    raise SlotIDError(f"Unknown backbone '{name}'; known are {', '.join(BACKBONES)}, or give the folder of a diffusers Wan pipeline.")


def open_backbone(name: str | Path):
    """Load a backbone, frozen, on the CPU."""
    from slotid.backbone.tiny import load_tiny

    return load_tiny(backbone_folder(name))
