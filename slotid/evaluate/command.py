"""``python -m slotid evaluate``: methods against controls on the head world, or identity codes on real clips."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from slotid.types import SlotIDError

RULERS_ONLY = "real"  # as --methods: no generator


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``evaluate``."""
    parser = subparsers.add_parser("evaluate", help="measure likeness, naturalness and prompt following")
    parser.add_argument(
        "--methods", default="slots", metavar="A,B", help="methods to compare, or 'real': controls without any generator (slots)"
    )
    parser.add_argument("--people", type=int, default=8, metavar="N", help="test people (8)")
    parser.add_argument(
        "--films", type=int, default=1, metavar="M", help="films of each: odd ones show habits, even ones any other act (1)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="films, report.md, report.json and pictures; the same folder goes on")
    parser.add_argument("--backbone", default="tiny", metavar="NAME|DIR", help="the frozen generator (%(default)s)")
    parser.add_argument("--steps", type=int, metavar="N", help="of the walk from noise to film (the backbone's own)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same report (0)")
    parser.add_argument("--gallery", type=int, default=100, metavar="N", help="test people among whom a film's person is sought (100)")
    parser.add_argument("--control-people", type=int, metavar="K", help="people for sweeps and controls but ceiling and floor (a quarter)")
    parser.add_argument("--order-people", type=int, metavar="K", help="people for the shuffled and the still reference (as the controls)")
    parser.add_argument("--strengths", metavar="X,Y", help="also turn the strength of the identity, for example 0,0.5,1,1.5,2")
    parser.add_argument("--muted", action="store_true", help="also mute the slots one by one")
    parser.add_argument("--step-counts", metavar="N,M", help="also walk in so many steps, for example 4,8,32")
    parser.add_argument("--part", metavar="K/N", help="only every N-th person's films, so that N processes share the work; no report")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of torch (all)")
    parser.add_argument("--real", metavar="DIR", help="instead: a folder of real clips, one person each; reads both halves of every clip")
    parser.add_argument("--judges", metavar="DIR", help="the judges' folder (those that come with the program)")
    parser.add_argument("--kit", metavar="KIT.npz", help="the packed head kit (else SLOTID_HEADKIT, else the cache folder)")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Exit code 0, or SlotIDError."""
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise SlotIDError(f"--out {out} is a file; give a folder.")
    if not out.resolve().parent.is_dir():
        raise SlotIDError(f"the folder of --out {out} does not exist; make {out.resolve().parent} first.")
    if args.steps is not None and not 1 <= args.steps <= 100:
        raise SlotIDError(f"--steps {args.steps} is out of range; give 1 to 100.")
    if args.threads is not None and not 1 <= args.threads <= 256:
        raise SlotIDError(f"--threads {args.threads} is out of range; give 1 to 256.")
    methods = method_names(args.methods)
    settings = None if args.real else _settings(args, methods)
    out.mkdir(exist_ok=True)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    report = _real(args, methods, out) if settings is None else _study(args, settings, out)
    if report is None:
        print(f"part {args.part} is made; run the same command without --part when all parts are", file=sys.stderr)
        return 0
    if args.json:
        from slotid.evaluate.report import plain

        print(json.dumps(plain(report), allow_nan=False))
    else:
        print(out / "report.md")
    return 0


def method_names(text: str) -> tuple[str, ...]:
    """--methods as a tuple, () for "real". Raises SlotIDError for an unknown or repeated one."""
    from slotid.identity.registry import method_class

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names == (RULERS_ONLY,):
        return ()
    if not names or len(set(names)) != len(names):
        raise SlotIDError(f"--methods {text!r} names no method, or one twice; give for example --methods slots,none.")
    for name in names:
        method_class(name)
    return names


def command_line() -> str:
    """The command as it was typed, for the report."""
    return "python -m slotid " + " ".join(shlex.quote(word) for word in sys.argv[1:])


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _settings(args: argparse.Namespace, methods: tuple[str, ...]) -> Any:
    from slotid.evaluate.study import Settings

    strengths, counts = _numbers("--strengths", args.strengths, float), _numbers("--step-counts", args.step_counts, int)
    part = None
    if args.part is not None:
        try:
            part = tuple(int(word) for word in args.part.split("/"))
            if len(part) != 2:
                raise ValueError
        except ValueError:
            raise SlotIDError(f"--part {args.part} is no part; give for example 1/2 in one process and 2/2 in another.") from None
    return Settings(
        methods, args.people, args.films, args.seed, args.steps, args.backbone, args.gallery, args.control_people, args.kit,
        strengths, args.muted, counts, args.order_people, part,
    )  # fmt: skip


def _numbers(option: str, text: str | None, kind: type) -> tuple:
    """A list of numbers as a tuple without repetitions."""
    try:
        return tuple(dict.fromkeys(kind(word) for word in (text or "").split(",") if word.strip()))
    except ValueError:
        raise SlotIDError(f"{option} {text!r} is no list of numbers; give for example {option} 1,2.") from None


def _study(args: argparse.Namespace, settings: Any, out: Path) -> dict[str, Any] | None:
    from slotid.evaluate.judges import below_bars, load_judges
    from slotid.evaluate.plots import write_pictures
    from slotid.evaluate.report import build_report, write_report
    from slotid.evaluate.study import Study

    judges = load_judges(args.judges)
    for sentence in below_bars(judges.quality):
        _note(f"note: {sentence}")
    study = Study(settings, judges, out)
    found = study.run()
    if found is None:
        return None
    report = build_report(found, settings, judges, command_line())
    report["pictures"] = write_pictures(report, found, study, out)
    write_report(report, out)
    return report


def _real(args: argparse.Namespace, methods: tuple[str, ...], out: Path) -> dict[str, Any]:
    from slotid.evaluate.judges import judges_missing, load_judges
    from slotid.evaluate.real import clips_in, evaluate_real, real_markdown
    from slotid.evaluate.recogniser import ArcFace, arcface_missing
    from slotid.evaluate.report import plain
    from slotid.generate import open_studio

    method = next((name for name in methods if name != "none"), None)
    if method is None:
        raise SlotIDError("--real compares identity codes, but --methods names no method that makes any; give for example --methods slots.")
    clips_in(args.real)  # before anything is loaded
    lacking = judges_missing(args.judges)
    if lacking:
        _note(f"note: {lacking} The codes are measured without them.")
    missing = arcface_missing()
    report = evaluate_real(
        args.real,
        open_studio(backbone=args.backbone, method=method),
        None if lacking else load_judges(args.judges),
        None if missing else ArcFace(),
        _note,
        args.steps,
        args.seed,
    )
    report |= {"command": command_line(), "arcface_missing": missing}
    (out / "real.json").write_text(json.dumps(plain(report), indent=1, allow_nan=False) + "\n")
    (out / "report.md").write_text(real_markdown(report) + "\n")
    return report
