"""``python -m slotid world``: pack the head kit, render shards, look at people, check that they can be found and told apart."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from slotid.types import SlotIDError


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``world`` and its own commands."""
    parser = subparsers.add_parser("world", help="make the head world: pack the kit, render, look, check")
    commands = parser.add_subparsers(dest="world_command", metavar="pack|render|sheet|check|separability", required=True)

    pack = commands.add_parser("pack", help="turn a checkout of ICT-FaceKit into one file")
    pack.add_argument("--facekit", required=True, metavar="DIR", help="its FaceXModel folder (OBJ files)")
    pack.add_argument("--out", required=True, metavar="KIT.npz")

    render = commands.add_parser("render", help="render training films of people into shards; goes on where it was stopped")
    render.add_argument("--people", required=True, type=_people, metavar="A:B", help="seeds A to B-1, of one split")
    render.add_argument("--clips", type=int, default=4, help="films a person (4)")
    render.add_argument("--references", type=int, metavar="N", help="how many of them, the last ones, are reference takes (half)")
    render.add_argument("--size", type=int, default=128, help="pixels (128)")
    render.add_argument("--seconds", type=float, default=2.75, help="length (2.75)")
    render.add_argument("--fps", type=float, default=12.0, help="frames a second (12)")
    render.add_argument("--defects", type=float, default=0.5, help="share of reference takes that a webcam spoils (0.5)")
    render.add_argument("--tripod", action="store_true", help="one fixed camera, head and shoulders, for all films")
    render.add_argument("--calm", action="store_true", help="with faces held still: the twins of films made by the same command without it")
    render.add_argument("--out", required=True, metavar="DIR")
    render.add_argument("--workers", type=int, default=1, help="processes, one thread each (1)")

    sheet = commands.add_parser("sheet", help="a contact sheet of people, or a film strip of one act")
    sheet.add_argument("--people", type=_people, default=(2_000_000, 2_000_048), metavar="A:B", help="(48 test people)")
    sheet.add_argument(
        "--act",
        action="append",
        metavar="ACT",
        help="film strips of this act (smile, talk+nod...) instead of single pictures; may be repeated",
    )
    sheet.add_argument("--size", type=int, default=160, help="pixels a picture (160)")
    sheet.add_argument("--out", required=True, metavar="SHEET.webp", help="png, webp or jpg")

    check = commands.add_parser("check", help="how often MediaPipe finds the face, by yaw")
    check.add_argument("--clips", type=int, default=500, help="test clips, one person each (500)")
    check.add_argument("--every", type=int, default=4, help="look at every n-th frame (4)")
    check.add_argument("--size", type=int, default=128, help="pixels (128)")

    apart = commands.add_parser("separability", help="can people be told apart by habits alone?")
    apart.add_argument("--people", type=int, default=400, help="people for the true curves, half to fit, half to test (400)")
    apart.add_argument(
        "--rendered", type=int, default=80, metavar="N", help="people rendered for MediaPipe's curves (80); 0: true curves only"
    )
    apart.add_argument("--takes", type=int, default=3, help="performances of each act kind (3)")
    apart.add_argument("--size", type=int, default=192, help="pixels of the rendered films (192)")

    for command in (render, sheet, check, apart):
        command.add_argument("--kit", metavar="KIT.npz", help="the packed head kit (else SLOTID_HEADKIT, else the cache folder)")
    for command in (pack, render, sheet, check, apart):
        command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _people(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match:
        raise SlotIDError(f"--people {text!r} is not A:B with two whole numbers; write for example --people 0:100.")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Runs one of the world's commands; exit code 0, or SlotIDError."""
    return {"pack": _pack, "render": _render, "sheet": _sheet, "check": _check, "separability": _separability}[args.world_command](args)


def _tell(args: argparse.Namespace, facts: dict, text: str) -> int:
    print(json.dumps(facts) if args.json else text)
    return 0


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _pack(args: argparse.Namespace) -> int:
    from slotid.world.kit import pack

    pack(args.facekit, args.out)
    return _tell(args, {"kit": str(args.out)}, f"packed {args.out}; name it in SLOTID_HEADKIT or with --kit")


def _render(args: argparse.Namespace) -> int:
    from slotid.world.shards import ShardSettings, write_shards

    references = args.clips // 2 if args.references is None else args.references
    if not args.seconds > 0:
        raise SlotIDError(f"--seconds {args.seconds} is no length; give a number above 0.")
    if not 0 <= args.defects <= 1:
        raise SlotIDError(f"--defects {args.defects} is no share; give a number from 0 to 1.")
    how = {"defects": args.defects, "tripod": args.tripod, "calm": args.calm}
    settings = ShardSettings(args.clips, references, args.size, round(args.seconds * args.fps), args.fps, **how)
    made = write_shards(*args.people, settings, args.out, args.workers, args.kit)
    text = (
        f"{made['shards']} shards in {args.out} ({made['skipped']} were there), {made['clips']} clips rendered in {made['seconds']:.0f} s"
    )
    return _tell(args, {"out": str(args.out), **made}, text)


def _sheet(args: argparse.Namespace) -> int:
    from slotid.world.performance import script_from_fact
    from slotid.world.sheet import contact_sheet, film_strips

    seeds = range(*args.people)
    if not 1 <= len(seeds) <= 400:
        raise SlotIDError(f"a sheet of {len(seeds)} people cannot be drawn; give 1 to 400 with --people A:B.")
    if not Path(args.out).resolve().parent.is_dir():
        raise SlotIDError(f"folder {Path(args.out).resolve().parent} does not exist; make it or give another --out.")
    if Path(args.out).suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise SlotIDError(f"a sheet named {Path(args.out).name} cannot be written; end --out in .png, .webp or .jpg.")
    if args.act:
        picture = film_strips(seeds, [script_from_fact(act) for act in args.act], args.size, args.kit)
    else:
        picture = contact_sheet(seeds, args.size, args.kit)
    picture.save(args.out, quality=86, **({"method": 6} if args.out.lower().endswith(".webp") else {}))
    return _tell(args, {"sheet": str(args.out), "people": len(seeds)}, f"wrote {args.out}")


def _check(args: argparse.Namespace) -> int:
    from slotid.world.check import detection_by_yaw

    rows = detection_by_yaw(args.clips, args.every, args.size, args.kit, report=_note)
    lines = ["|yaw| of the head | frames | found"]
    for row in rows:
        share = "none" if row["found"] is None else f"{row['found']:.2%}"
        lines.append(f"{row['from']:4.1f} to {row['to']:4.1f} deg | {row['frames']:6d} | {share:>7}")
    return _tell(args, {"clips": args.clips, "size": args.size, "rows": rows}, "\n".join(lines))


def _separability(args: argparse.Namespace) -> int:
    from slotid.world.separability import measured_curves_auc, true_curves_auc

    true = true_curves_auc(args.people, args.takes)
    found = {"true": true}
    lines = ["verification AUC by habits alone, people never fitted on", "true expression curves:", *_auc_lines(true)]
    if args.rendered:
        measured = measured_curves_auc(args.rendered, args.takes, args.size, args.kit, report=_note)
        found["mediapipe"] = measured
        lines += [f"curves MediaPipe measures at {args.size} px, another face and scene in every clip:", *_auc_lines(measured)]
    return _tell(args, found, "\n".join(lines))


def _auc_lines(table: dict[str, float]) -> list[str]:
    return [f"  {name:<44} {value:.1%}" if isinstance(value, float) else f"  {name:<44} {value}" for name, value in table.items()]
