"""``python -m slotid train RECIPE``: the recipes of the embedded pipeline on the head world, and ``slots_wan13b`` on clips of people."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``train`` to the command line."""
    from slotid.train import wan_command
    from slotid.train.recipes import RECIPES
    from slotid.train.wan_recipe import NAME

    parser = subparsers.add_parser(
        "train",
        help="train the tiny pipeline or Slot-ID on the head world, or Slot-ID for a real Wan",
        description="Runs one stage of a recipe, resuming where it stopped. " + "; ".join(f"{n}: {r.expected}" for n, r in RECIPES.items()),
    )
    parser.add_argument("recipe", metavar="RECIPE", help=", ".join([*RECIPES, NAME]))
    parser.add_argument("--clips", type=Path, help="shards of films (runs/clips)")
    parser.add_argument("--stills", type=Path, help="shards at a low frame rate (runs/stills)")
    parser.add_argument("--also", type=Path, nargs="+", metavar="DIR", help="shards with cameras of every kind, for decoder and reading")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="checkpoints and caches (runs)")
    parser.add_argument("--assets", type=Path, help="where assemble writes (assets/tiny)")
    parser.add_argument("--method", help="slots_*: slots, or the variant anchor, mean or attention (slots)")
    parser.add_argument("--steps", type=int, help="instead of the recipe's own number")
    parser.add_argument("--minutes", type=float, help="stop, resumable, after so long")
    parser.add_argument("--threads", type=int, help="CPU threads (all)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    wan_command.add_options(parser)


def set_limits(args: argparse.Namespace) -> None:
    """Checks --steps, --minutes and --threads of any recipe, and gives torch its threads. SlotIDError when one is not above 0."""
    from slotid.types import SlotIDError

    for name in ("steps", "minutes", "threads"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise SlotIDError(f"--{name} {value} was given; give a number above 0.")
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def run(args: argparse.Namespace) -> int:
    """Runs the recipe; prints what it gave."""
    from slotid.train import recipes, wan_command
    from slotid.train.wan_recipe import NAME
    from slotid.types import SlotIDError

    set_limits(args)
    foreign = ("clips", "stills", "also", "assets", "method") if args.recipe == NAME else wan_command.OPTIONS
    for name in foreign:
        if getattr(args, name):
            raise SlotIDError(
                f"Recipe '{args.recipe}' has no --{name.replace('_', '-')}; leave it out, see `python -m slotid train --help`."
            )
    if args.recipe == NAME:
        return wan_command.run(args)
    clips, stills = args.clips or Path("runs/clips"), args.stills or Path("runs/stills")
    job = recipes.Job(
        clips,
        stills,
        args.out,
        args.assets or Path("assets/tiny"),
        args.steps,
        args.minutes,
        args.method or "slots",
        tuple(args.also or ()),
    )
    found = recipes.run(args.recipe, job)
    print(json.dumps({"recipe": args.recipe, **found}), file=sys.stdout if args.json else sys.stderr)
    return 0
