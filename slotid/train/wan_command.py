"""The options of ``python -m slotid train slots_wan13b``; the ``train`` command adds them and hands over."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from slotid.types import SlotIDError

# every option of the group, by the name it has once parsed; all are empty where they were not given
OPTIONS = ("data", "cache", "prepare", "backbone", "features", "film_frames", "memory", "width", "rank", "batch", "accumulate", "lr",
           "optimizer", "precision", "spread", "no_samples", "tracker")  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the group of options to the parser of ``train``."""
    group = parser.add_argument_group(
        "slots_wan13b", "Slot-ID on a real Wan; start it with `accelerate launch -m slotid train slots_wan13b ...`"
    )
    add = group.add_argument
    add("--data", type=Path, metavar="DIR", help="clips, each with a caption beside it (NAME.txt, or NAME.json with caption and person)")
    add("--cache", type=Path, metavar="DIR", help="encoded shards (OUT/slots_wan13b/shards)")
    add("--prepare", action="store_true", help="only read, track and encode the clips; training does not need them again")
    add("--backbone", metavar="NAME|DIR", help="a text-to-video Wan (wan2.1-1.3b)")
    add("--features", metavar="NAME|DIR", help="what reads the face crops: a DINOv2 or CLIP repository or folder, or vae (DINOv2)")
    add("--film-frames", type=int, metavar="N", help="frames of the training films (the backbone's)")
    add("--memory", metavar="PROFILE", help="how --prepare shares the card (auto), see `python -m slotid memory`")
    add("--width", type=int, metavar="N", help="channels of the slot encoder (512)")
    add("--rank", type=int, metavar="N", help="of the LoRA on cross-attention (32)")
    add("--batch", type=int, metavar="N", help="films a process and part of a step (1)")
    add("--accumulate", type=int, metavar="N", help="parts of a step (8)")
    add("--lr", type=float, metavar="X", help="learning rate (1e-4)")
    add("--optimizer", metavar="NAME", help="adamw, or adamw8bit (needs bitsandbytes)")
    add("--precision", choices=("no", "bf16", "fp16"), help="bf16, on a CPU no")
    add("--spread", action="store_true", help="spread the frozen weights over the processes (FSDP2), for the 14B; no films then")
    add("--no-samples", action="store_true", help="no film after each checkpoint")
    add("--tracker", metavar="NAME", help="none, tensorboard or trackio (none)")


def run(args: argparse.Namespace) -> int:
    """Prepares or trains.

    Raises:
        SlotIDError: no --data, a number out of its range, and what ``prepare`` and ``train`` may raise.
    """
    import torch

    from slotid.train.wan_recipe import NAME, Scale, plan_wan13b, prepare, process, train

    if args.data is None:
        raise SlotIDError(f"{NAME} needs --data DIR, the folder of the training clips.")
    for name in ("film_frames", "width", "rank", "batch", "accumulate", "lr"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise SlotIDError(f"--{name.replace('_', '-')} {value} was given; give a number above 0.")
    out = args.out / NAME
    told = {"backbone": args.backbone, "features": args.features, "frames": args.film_frames, "memory": args.memory,
            "tracker": args.tracker, "width": args.width, "rank": args.rank, "optimizer": args.optimizer}  # fmt: skip
    given = {name: value for name, value in told.items() if value is not None}
    scale = Scale(args.data, args.cache or out / "shards", out, shard_frozen=args.spread, samples=not args.no_samples, **given)
    if args.prepare:
        found: dict = prepare(scale, say=lambda text: print(text, file=sys.stderr, flush=True))
    else:
        precision = args.precision or ("bf16" if torch.cuda.is_available() else "no")
        names = ("steps", "batch", "accumulate", "lr")
        changes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        found = train(scale, plan_wan13b(precision=precision, **changes), minutes=args.minutes)
    if process()[0] == 0:
        print(json.dumps({"recipe": NAME, **found}), file=sys.stdout if args.json else sys.stderr)
    return 0
