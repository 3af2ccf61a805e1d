"""Backbones by name, or by the folder of a pipeline."""

from __future__ import annotations

import os
from pathlib import Path

from slotid.backbone.known import KNOWN

BACKBONES = ("tiny", *KNOWN)


def backbone_folder(name: str | Path) -> Path:
    """Where a backbone's pipeline lies: a known name (``SLOTID_TINY`` moves 'tiny'), a fetched repository, or a folder with
    model_index.json.

    Raises:
        SlotIDError: none of these; lists the known names.
    """
    from slotid.backbone.hub import locate
    from slotid.backbone.tiny import TINY_FOLDER

    if str(name) == "tiny":
        return Path(os.environ.get("SLOTID_TINY") or TINY_FOLDER)
    if (Path(name) / "model_index.json").is_file():
        return Path(name)
    return locate(name)


def backbone_spec(name: str | Path):
    """The numbers of a backbone (lengths, size, steps, guidance) from its configs, without loading weights.

    Raises:
        SlotIDError: as ``backbone_folder``.
    """
    from slotid.backbone.backbone import SPEC_FILE, Spec

    folder = backbone_folder(name)
    if str(name) == "tiny" or (folder / SPEC_FILE).is_file():
        return Spec.load(folder)
    from slotid.backbone.wan import folder_spec

    return folder_spec(folder)


def backbones_here() -> list[str]:
    """Names that can be opened now: the embedded one, and the known checkpoints that were fetched. Looks at the disk only."""
    from slotid.backbone.hub import locate
    from slotid.types import SlotIDError

    found = ["tiny"]
    for name in KNOWN:
        try:
            locate(name)
        except SlotIDError:
            continue
        found.append(name)
    return found


def backbone_fields(name: str | Path) -> tuple[str, ...]:
    """Fields of ``Conditioning`` that a backbone can obey, without loading it; those of the usual ones where it is not there yet."""
    from slotid.backbone.hub import read_json
    from slotid.types import SlotIDError

    usual = ("context", "reference", "patch")
    try:
        kind = read_json(backbone_folder(name) / "model_index.json").get("_class_name")
    except SlotIDError:
        return usual
    return (*usual, "residual") if kind == "WanVACEPipeline" else usual


def open_backbone(name: str | Path, memory: str = "auto", device: str | None = None):
    """Load a backbone, frozen. The embedded one is on the CPU; a Wan pipeline is where its memory profile puts it.

    Args:
        memory: "auto" or a profile of ``memory.PROFILES``; for Wan pipelines. device: where a Wan pipeline computes.

    Raises:
        SlotIDError: as ``backbone_folder`` and ``load_wan``; a profile for the embedded one.
    """
    from slotid.backbone.backbone import SPEC_FILE, Spec
    from slotid.backbone.tiny import load_tiny
    from slotid.types import SlotIDError

    folder = backbone_folder(name)
    if str(name) == "tiny" or ((folder / SPEC_FILE).is_file() and Spec.load(folder).name == "tiny"):
        if memory != "auto":
            raise SlotIDError(f"Memory profile '{memory}' was asked for, but backbone 'tiny' is always whole; leave --memory out.")
        return load_tiny(folder)
    from slotid.backbone.wan import load_wan

    return load_wan(folder, memory, device)
