"""``python -m slotid bench``: a table on stdout, or one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from slotid.types import SlotIDError

PARTS = ("routing", "steps", "reading", "full")


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``bench``."""
    parser = subparsers.add_parser(
        "bench", help="measure what routing, identity and reading cost",
        description="Ratios measured in one run, candidates in turn, processor time on a CPU. "
        "`full` (Wan 2.1 1.3B at full size, every memory profile) needs a CUDA card.",
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all that this machine can do)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="measured rounds of each candidate (default %(default)s)")
    parser.add_argument("--blocks", type=int, default=2, metavar="N", help="Wan-1.3B-shaped blocks in the stack (default %(default)s)")
    parser.add_argument("--frames", type=int, default=1, metavar="N", help="latent frames of 480x832 in the stack (default %(default)s)")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (cuda when there is a card)")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does it run, not what does it say")
    parser.add_argument("--out", metavar="FILE.json", help="also write the JSON there")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Measures and prints."""
    import torch

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    wanted = args.parts or [part for part in PARTS if part != "full" or device.startswith("cuda")]
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        raise SlotIDError(f"Unknown part '{unknown[0]}' of the bench; expected some of {', '.join(PARTS)}.")
    for name in ("rounds", "blocks", "frames"):
        if getattr(args, name) < 1:
            raise SlotIDError(f"--{name} {getattr(args, name)} was given; give a whole number above 0.")
    if args.out and not Path(args.out).resolve().parent.is_dir():
        raise SlotIDError(f"The folder of --out {args.out} does not exist; make it first.")
    found: dict[str, Any] = {"machine": machine(device)}
    for part in wanted:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        found[part] = _measure(part, args, device)
    if args.out:
        Path(args.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found) if args.json else tables(found))
    return 0


def _measure(part: str, args: argparse.Namespace, device: str) -> Any:
    if part == "routing":
        from slotid.bench.routing import SIZES, routing

        return routing(((2, 64),) if args.quick else SIZES, rounds=args.rounds, device=device)
    if part == "reading":
        from slotid.bench.reading import LENGTHS, reading

        return reading((12, 24) if args.quick else LENGTHS, rounds=args.rounds, device=device, movement=True)
    if part == "steps":
        import torch

        from slotid.bench.steps import step_cost

        small = {"num_attention_heads": 2, "attention_head_dim": 16, "ffn_dim": 64, "text_dim": 32} if args.quick else None
        grid = (args.frames, 4, 4) if args.quick else (args.frames, 60, 104)
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        return step_cost(args.blocks, grid, args.rounds, small, device, dtype)
    from slotid.bench.full import profiles

    return profiles(device=device)


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    import os
    import platform

    import torch

    name = torch.cuda.get_device_name() if device.startswith("cuda") else (platform.processor() or platform.machine())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": load, "torch": torch.__version__}


def tables(found: dict[str, Any]) -> str:
    """Markdown."""
    told = found["machine"]
    lines = [f"{told['device']}, {told['cores']} cores, {told['threads']} threads, load {told['load'] or 0:.1f}, torch {told['torch']}"]
    if "routing" in found:
        lines += [
            "",
            "| clips | tokens | ours, ms | faster than solve_batch | than sinkhorn_log | marginal error ours / solve_batch |",
            "|---|---|---|---|---|---|",
        ]
        for row in found["routing"]:
            error = row["marginal_error"]
            lines.append(
                f"| {row['clips']} | {row['tokens']} | {1000 * row['seconds']['ours']:.2f} | {row['faster_than_solve_batch']:.1f}x | "
                f"{row['faster_than_sinkhorn_log']:.1f}x | {error['ours']:.1e} / {error['POT solve_batch']:.1e} |"
            )
    if "steps" in found:
        part = found["steps"]
        lines += ["", f"One forward of {part['blocks']} blocks of width {part['width']} on {part['tokens']} tokens", ""]
        lines += ["exemplars: VACE's control blocks, and one picture as a latent frame more", ""]
        lines += ["| method | seconds | added time (middle half of the rounds) | peak MiB |", "|---|---|---|---|"]
        for name, row in part["methods"].items():
            spread = f"{row['added_low']:+.1%} to {row['added_high']:+.1%}"
            lines.append(f"| {name} | {row['seconds']:.3f} | {row['added']:+.1%} ({spread}) | {row['peak_mib']:.0f} |")
    if "reading" in found:
        part = found["reading"]
        lines += ["", "| frames read | ms | ms per frame | peak MiB |", "|---|---|---|---|"]
        for frames, row in part["frames"].items():
            lines.append(f"| {frames} | {1000 * row['seconds']:.1f} | {row['ms_per_frame']:.2f} | {row['peak_mib']:.1f} |")
        lines += ["", f"time grows with length to the power of {part['time_exponent']:.2f}, memory {part['memory_exponent']:.2f}"]
    if "full" in found:
        lines += ["", "| profile | seconds per step | added by slots | peak GiB | estimated GiB |", "|---|---|---|---|---|"]
        for name, row in found["full"].items():
            peak = f"{row['peak_gib']:.1f}" if "peak_gib" in row else "-"
            spent = f"{row['seconds_per_step']:.2f}" if "seconds_per_step" in row else row.get("failed", "-")
            added = f"{row['slots_added']:+.1%}" if "slots_added" in row else "-"
            lines.append(f"| {name} | {spent} | {added} | {peak} | {row['estimated_gib']:.1f} |")
    return "\n".join(lines)
