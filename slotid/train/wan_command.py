"""The options of ``python -m slotid train slots_wan13b``; the ``train`` command adds them and hands over."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from slotid.types import SlotIDError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the group of options to the parser of ``train``."""
    group = parser.add_argument_group(
        "slots_wan13b", "Slot-ID on a real Wan; start it with `accelerate launch -m slotid train slots_wan13b ...`"
    )
    group.add_argument(
        "--data", type=Path, metavar="DIR", help="clips, each with a caption beside it (NAME.txt, or NAME.json with caption and person)"
    )
    group.add_argument("--cache", type=Path, metavar="DIR", help="encoded shards (OUT/shards)")
    group.add_argument("--prepare", action="store_true", help="only read, track and encode the clips; training does not need them again")
    group.add_argument("--backbone", default="wan2.1-1.3b", metavar="NAME|DIR", help="default %(default)s")
    group.add_argument(
        "--features", metavar="NAME|DIR", help="what reads the face crops: a DINOv2 or CLIP repository or folder, or vae (DINOv2)"
    )
    group.add_argument("--film-frames", type=int, metavar="N", help="frames of the training films (the backbone's)")
    group.add_argument("--spread", action="store_true", help="spread the frozen weights over the processes (FSDP2), for the 14B")
    group.add_argument("--tracker", default="none", help="none, tensorboard or trackio")
    group.add_argument("--batch", type=int, metavar="N", help="films a process and step (1)")
    group.add_argument("--precision", choices=("no", "bf16", "fp16"), help="bf16, on a CPU no")


def run(args: argparse.Namespace) -> int:
    """Prepares or trains."""
    import torch

    from slotid.train.wan_recipe import NAME, Scale, plan_wan13b, prepare, process, train

    if args.data is None:
        raise SlotIDError(f"{NAME} needs --data DIR, the folder of the training clips.")
    for name in ("film_frames", "batch"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise SlotIDError(f"--{name.replace('_', '-')} {value} was given; give a whole number above 0.")
    out = args.out / NAME
    scale = Scale(args.data, args.cache or out / "shards", out, args.backbone, args.features, args.film_frames, shard_frozen=args.spread,
                  tracker=args.tracker)  # fmt: skip
    if args.prepare:
        found: dict = prepare(scale, say=lambda text: print(text, file=sys.stderr, flush=True))
    else:
        precision = args.precision or ("bf16" if torch.cuda.is_available() else "no")
        changes = {name: getattr(args, name) for name in ("steps", "batch") if getattr(args, name)}
        found = train(scale, plan_wan13b(precision=precision, **changes), minutes=args.minutes)
    if process()[0] == 0:
        print(json.dumps({"recipe": NAME, **found}), file=sys.stdout if args.json else sys.stderr)
    return 0
