"""The parser and the way out: exit 0 done, 2 an error a person can act on (one line), 130 stopped by Ctrl-C, 1 a fault of ours."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from slotid import __version__
from slotid.types import SlotIDError

# Commands that live beside what they run: looked up only when asked for, so that `--help` stays fast.
ELSEWHERE = {
    "train": ("slotid.cli.train_command", "train the tiny pipeline, Slot-ID, or the judges"),
    "world": ("slotid.world.command", "make the head world: pack the kit, render, look, check"),
    "evaluate": ("slotid.evaluate.command", "measure likeness, naturalness and prompt following"),
    "bench": ("slotid.bench.command", "ratios of time and memory, measured in one run"),
    "fetch": ("slotid.backbone.fetch_command", "bring a Wan checkpoint or an adapter to this machine"),
    "memory": ("slotid.backbone.memory_command", "what each checkpoint and memory profile needs"),
}


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise SlotIDError(f"{message}; see `{self.prog} --help`")


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The whole parser. Of the commands that live elsewhere only the one named in ``argv`` is imported and gets its options."""
    from slotid.cli import commands

    parser = Parser(prog="python -m slotid", description="Keep one person the same, face and way of moving, in generated video.")
    parser.add_argument("--version", action="version", version=f"slotid {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    commands.add_arguments(subparsers)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, (module, summary) in ELSEWHERE.items():
        if importlib.util.find_spec(module.rpartition(".")[0]) is None or importlib.util.find_spec(module) is None:
            if name == wanted:
                raise SlotIDError(f"`{name}` is not part of this build; see `python -m slotid --help` for the commands that are")
        elif name == wanted:
            importlib.import_module(module).add_arguments(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parses and runs one command. Raises SlotIDError for what the caller can mend."""
    parser = build_parser(argv)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    if args.command in ELSEWHERE:
        return int(importlib.import_module(ELSEWHERE[args.command][0]).run(args) or 0)
    return int(args.run(args) or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """The program: returns the exit code, prints errors as one line on stderr."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "fetch" not in argv[:2]:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the embedded pipeline is on disk; nothing is looked up on the way
    try:
        return run(argv)
    except SlotIDError as error:
        print(f"slotid: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nslotid: stopped; nothing half-written is left behind", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `slotid ... --json | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # a fault of ours: one line for the user, everything for --debug
        if "--debug" in argv:
            raise
        print(
            f"slotid: unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}; run again with --debug for more",
            file=sys.stderr,
        )
        return 1
