"""``python -m slotid train RECIPE``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``train`` to the command line."""
    from slotid.train.recipes import RECIPES

    parser = subparsers.add_parser(
        "train",
        help="train the tiny pipeline or Slot-ID on the head world",
        description="Runs one stage of a recipe, resuming where it stopped. " + "; ".join(f"{n}: {r.expected}" for n, r in RECIPES.items()),
    )
    parser.add_argument("recipe", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--clips", type=Path, default=Path("runs/clips"), help="shards of films (runs/clips)")
    parser.add_argument("--stills", type=Path, default=Path("runs/stills"), help="shards at a low frame rate (runs/stills)")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="checkpoints and caches (runs)")
    parser.add_argument("--assets", type=Path, default=Path("assets/tiny"), help="where assemble writes (assets/tiny)")
    parser.add_argument("--steps", type=int, help="instead of the recipe's own number")
    parser.add_argument("--minutes", type=float, help="stop, resumable, after so long")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Runs the recipe; prints what it gave."""
    from slotid.train import recipes
    from slotid.types import SlotIDError

    for name in ("steps", "minutes", "threads"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise SlotIDError(f"--{name} {value} was given; give a number above 0.")
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    job = recipes.Job(args.clips, args.stills, args.out, args.assets, args.steps, args.minutes)
    found = recipes.run(args.recipe, job)
    print(json.dumps({"recipe": args.recipe, **found}), file=sys.stdout if args.json else sys.stderr)
    return 0
