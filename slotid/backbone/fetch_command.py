"""``python -m slotid fetch NAME`` and ``python -m slotid memory``: what a checkpoint takes, and getting it."""

from __future__ import annotations

import argparse
import json
import sys

from slotid.types import SlotIDError


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``fetch``."""
    parser = subparsers.add_parser(
        "fetch", help="download a Wan checkpoint, a vision model or an adapter into the hub's cache",
        description="The only command that uses the network. Takes json, text and safetensors files, nothing that could run code.",
    )  # fmt: skip
    parser.add_argument(
        "name", metavar="NAME", help="wan2.1-1.3b, wan2.1-14b, wan2.2-5b, wan2.2-a14b, wan2.1-vace-1.3b, or owner/name[@revision]"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Fetches and prints the folder."""
    from slotid.backbone.hub import fetch
    from slotid.backbone.known import known_for

    known = known_for(args.name)
    if known is not None:
        print(f"fetching {known.repository} at {known.revision[:12]}, about {known.gib:.0f} GiB", file=sys.stderr)
    folder = fetch(args.name)
    print(json.dumps({"name": args.name, "folder": str(folder)}) if args.json else folder)
    return 0


def add_memory_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``memory``."""
    parser = subparsers.add_parser(
        "memory", help="what each Wan checkpoint needs under each memory profile, in GiB",
        description="Computed by running the real classes on shapes alone, at the checkpoint's own film size; minutes on a slow machine.",
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME|DIR", help="checkpoints (all known ones)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run_memory(args: argparse.Namespace) -> int:
    """Prints the table: GiB of VRAM, and of RAM in brackets; then what is free here."""
    from dataclasses import asdict
    from pathlib import Path

    from slotid.backbone import memory
    from slotid.backbone.known import KNOWN, known_for
    from slotid.backbone.wan import folder_spec

    rows = {}
    for name in args.names or KNOWN:
        print(f"computing {name} ...", file=sys.stderr, flush=True)
        if known_for(name) is not None:
            rows[name] = memory.estimate_known(name)
        elif Path(name).is_dir():
            rows[name] = memory.estimate_folder(Path(name), folder_spec(name))
        else:
            raise SlotIDError(f"'{name}' is neither a known checkpoint nor a folder; known are {', '.join(KNOWN)}.")
    free = memory.free_memory()
    if args.json:
        needs = {name: {profile: asdict(need) for profile, need in row.items()} for name, row in rows.items()}
        print(json.dumps({"gib": needs, "free": asdict(free), "profiles": {p.name: p.says for p in memory.PROFILES.values()}}))
        return 0
    print(memory.table(rows))
    for profile in memory.PROFILES.values():
        print(f"{profile.name}: {profile.says}", file=sys.stderr)
    vram = "no accelerator" if free.vram is None else f"{free.vram:.1f} GiB of VRAM"
    print(f"free here: {vram}, {free.ram:.1f} GiB of RAM", file=sys.stderr)
    return 0
