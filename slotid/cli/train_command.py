"""``python -m slotid train RECIPE``: the recipes of ``train``, and those of the judges, whose engine stands apart in ``evaluate``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from slotid.types import SlotIDError


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``train`` to the command line."""
    from slotid.train import command
    from slotid.train.judge_recipes import JUDGES

    command.add_arguments(subparsers)
    parser = subparsers.choices["train"]
    parser.epilog = "The judges of `evaluate`, on held-out people: " + "; ".join(f"{n}: {r.expected}" for n, r in JUDGES.items())
    group = parser.add_argument_group("judge_looks, judge_habits, judge_facts", "in this order; they render their own people")
    group.add_argument("--judges", type=Path, metavar="DIR", help="where the judges go (assets/judges)")
    group.add_argument("--kit", metavar="KIT.npz", help="the packed head kit (else SLOTID_HEADKIT, else the cache folder)")


def run(args: argparse.Namespace) -> int:
    """Runs the recipe; prints what it gave. Raises SlotIDError for an unknown recipe or an option that it does not have."""
    from slotid.train import command
    from slotid.train.judge_recipes import JUDGES

    if args.recipe not in JUDGES:
        for name in ("judges", "kit"):
            if getattr(args, name):
                raise SlotIDError(f"Recipe '{args.recipe}' has no --{name}; it belongs to {', '.join(JUDGES)}.")
        return command.run(args)
    known = {"recipe", "out", "steps", "minutes", "threads", "json", "judges", "kit", "command", "debug"}
    for name, value in vars(args).items():
        if name not in known and value:
            raise SlotIDError(
                f"Recipe '{args.recipe}' has no --{name.replace('_', '-')}; leave it out, see `python -m slotid train --help`."
            )
    command.set_limits(args)
    from slotid.evaluate.learn import Teaching, run_recipe

    sizes = {name: value for name, value in asdict(JUDGES[args.recipe]).items() if name != "expected"}
    how = Teaching(**sizes | ({"steps": args.steps} if args.steps else {}), minutes=args.minutes)
    found = run_recipe(args.recipe, args.out / args.recipe, how, args.kit, data=args.out / "judge_world", judges=args.judges)
    print(json.dumps({"recipe": args.recipe, **found}), file=sys.stdout if args.json else sys.stderr)
    return 0
