"""The commands a visitor uses: ``encode``, ``generate``, ``app``. Heavy modules are imported when a command runs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.types import IdentityCode, Result

FILMS = (".mp4", ".gif")


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    """Adds the three commands; each sets ``run`` to a function of the parsed arguments that returns the exit code."""
    encode = subparsers.add_parser("encode", help="read a person from a clip into an identity code")
    encode.add_argument(
        "reference", metavar="REF", help="a clip of one person: mp4, mov, webm, mkv, avi, gif, webp or a folder of pictures"
    )
    encode.add_argument(
        "--out", required=True, metavar="CODE.safetensors", help="where the code goes; it is biometric, keep it like a picture"
    )
    encode.add_argument("--maps", metavar="DIR", help="also write what the slots saw: heat-map films, time map, gates")
    _shared(encode)
    encode.set_defaults(run=run_encode)

    film = subparsers.add_parser("generate", help="make a film of a person from a sentence")
    film.add_argument("--reference", metavar="REF|CODE", help="a clip, or a code made by encode; leave it out only with --method none")
    film.add_argument("--prompt", required=True, metavar="TEXT", help="what happens in the film, for example: a person smiles in a garden")
    film.add_argument("--out", required=True, metavar="FILM.mp4", help="where the film goes (.mp4, or .gif)")
    film.add_argument("--maps", metavar="DIR", help="also write what the slots saw, and likeness over time")
    _shared(film)
    film.add_argument("--strength", type=float, default=1.0, metavar="X", help="of the identity: 0 none, 1 as trained, 2 exaggerated")
    film.add_argument("--text-guidance", type=float, metavar="X", help="how strongly the sentence is followed, 1 to 10")
    film.add_argument("--identity-guidance", type=float, metavar="X", help="how strongly the person is followed, 1 to 10")
    film.add_argument("--steps", type=int, metavar="N", help="of the walk from noise to film, 1 to 100")
    film.add_argument("--seconds", type=float, metavar="X", help="of film")
    film.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed and settings give the same film")
    film.set_defaults(run=run_generate)

    app = subparsers.add_parser("app", help="open the page")
    app.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (default %(default)s)")
    app.add_argument("--port", type=int, default=7860, help="default %(default)s")
    _opened(app, None)
    app.set_defaults(run=run_app)


def _shared(parser: argparse.ArgumentParser) -> None:
    _opened(parser, "tiny")
    parser.add_argument("--method", default="slots", metavar="NAME", help="how identity is kept (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _opened(parser: argparse.ArgumentParser, backbone: str | None) -> None:
    parser.add_argument("--backbone", default=backbone, metavar="NAME|DIR", help="the frozen generator (default tiny, embedded)")
    parser.add_argument("--adapter", metavar="DIR|REPO", help="weights trained for another backbone than the embedded one")
    parser.add_argument("--memory", default="auto", metavar="PROFILE", help="how a large backbone shares the card, see `slotid memory`")


def run_encode(args: argparse.Namespace) -> int:
    """Clip -> face -> identity code -> safetensors (and maps)."""
    from slotid.cli.progress import Progress

    out = _target(args.out, (".safetensors",))
    _maps_target(args.maps)
    progress = Progress()
    started = time.perf_counter()
    progress.update("face")
    face, reading = _read_face(args.reference, args.method)
    timings = {"face": time.perf_counter() - started}

    from slotid.generate import open_studio
    from slotid.identity.codes import save_code

    studio = open_studio(args.backbone, args.method, adapter=args.adapter, memory=args.memory)
    progress.update("remember")
    marked = time.perf_counter()
    code = studio.method.remember(face, studio.backbone.to_latent)
    timings["remember"] = time.perf_counter() - marked
    save_code(code, out)
    maps = _write_maps(code, args.maps)
    progress.finish()
    timings["total"] = time.perf_counter() - started
    report = {"code": str(out), "maps": [str(path) for path in maps], "method": code.method, "version": code.version, "timings": timings}
    report |= {"notices": reading, "meter": _meter(face)}
    if args.json:
        return _print_json(report)
    for notice in reading:
        print(f"note: {notice}", file=sys.stderr)
    for row in report["meter"]:
        if row["grade"] != "good":
            print(f"weak: {row['name']}: {row['advice']}", file=sys.stderr)
    print(out)
    for path in maps:
        print(path)
    return 0


def run_generate(args: argparse.Namespace) -> int:
    """Clip or code and a sentence -> film."""
    from slotid.cli.progress import Progress

    out = _target(args.out, FILMS)
    _maps_target(args.maps)
    if args.reference is None and args.method != "none":
        raise SlotIDError(
            "--reference is missing: give a clip or a code of the person, or --method none for a film of nobody in particular"
        )
    progress = Progress()
    started = time.perf_counter()
    progress.update("face")
    reference, reading = None, []
    if args.reference is not None and Path(args.reference).suffix == ".safetensors":
        from slotid.identity.codes import load_code

        reference = load_code(args.reference)
        if args.maps is not None:
            raise SlotIDError("--maps needs a clip as --reference: a saved code keeps no pictures of its routing")
    elif args.reference is not None:
        reference, reading = _read_face(args.reference, args.method)
    timings = {"face": time.perf_counter() - started}

    from slotid.generate import generate, open_studio
    from slotid.types import Request, Step

    studio = open_studio(args.backbone, args.method, adapter=args.adapter, memory=args.memory)
    request = Request(
        prompt=args.prompt, reference=reference, strength=args.strength, text_guidance=args.text_guidance,
        identity_guidance=args.identity_guidance, steps=args.steps, seconds=args.seconds, seed=args.seed, preview_every=0,
    )  # fmt: skip
    work = generate(studio, request)
    result = None
    try:
        for event in work:
            if isinstance(event, Step):
                progress.update(event.stage, event.step, event.steps, event.seconds_left)
            else:
                result = event
    finally:
        work.close()
    settings = film_settings(result)
    write_film(out, result, settings)
    maps = _write_maps(result.code, args.maps) if result.code is not None and args.method != "none" else []
    maps += _write_likeness(result, args.maps)
    progress.finish()
    timings |= {name: float(value) for name, value in result.timings.items() if name != "face" or value}
    timings["total"] = time.perf_counter() - started
    placed = [studio.backbone.placement.words()] if studio.backbone.placement else []
    notices, likeness = [*reading, *placed, *result.clip.notices], _likeness(result)
    if args.json:
        report = {"film": str(out), "maps": [str(path) for path in maps], "timings": timings, "face": _face_seen(result.face)}
        return _print_json(report | {"likeness": likeness, "settings": settings, "notices": notices})
    for notice in notices:
        print(f"note: {notice}", file=sys.stderr)
    print(out)
    for path in maps:
        print(path)
    if likeness:
        print(f"likeness {likeness['mean']:.2f} (lowest frame {likeness['lowest']:.2f})", file=sys.stderr)
    return 0


def run_app(args: argparse.Namespace) -> int:
    """The page, from app.py beside the package."""
    import importlib.util

    import slotid

    path = Path(slotid.__file__).resolve().parent.parent / "app.py"
    if not path.is_file():
        raise SlotIDError(f"app.py is not beside the package ({path.parent}): run this from a clone of the repository")
    spec = importlib.util.spec_from_file_location("slotid_app", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.serve(host=args.host, port=args.port, backbone=args.backbone, adapter=args.adapter, memory=args.memory)


def film_settings(result: Result) -> dict[str, Any]:
    """What goes into the film's metadata: everything that made it, and that it is made."""
    return {**result.settings, "ai_generated": True}


def write_film(path: Path, result: Result, settings: dict[str, Any]) -> None:
    """Writes mp4 with its settings inside, or gif; whole or not at all."""
    if path.suffix == ".gif":
        from slotid.film import write_gif

        write_gif(path, result.clip)
    else:
        from slotid.clip import write_clip

        write_clip(path, result.clip, settings)


def _target(name: str, suffixes: tuple[str, ...]) -> Path:
    """The output path, refused before any work when it cannot be written."""
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise SlotIDError(f"--out {name} should end in {' or '.join(suffixes)}")
    try:
        if path.is_dir():
            raise SlotIDError(f"--out {name} is a folder: add a file name")
        if not path.parent.is_dir():
            raise SlotIDError(f"the folder of --out {name} does not exist: make {path.parent} first")
    except OSError as error:
        raise SlotIDError(f"--out ...{name[-40:]} cannot be a file ({error.strerror}): choose another name") from error
    return path


def _maps_target(name: str | None) -> None:
    """Refuses a folder for maps that can be none, before any work."""
    if name is not None and Path(name).exists() and not Path(name).is_dir():
        raise SlotIDError(f"--maps {name} is a file: give a folder, which is made if it is missing")


def _read_face(name: str, method: str):
    """A clip's one person in crops of the method's size, and what was changed on the way (tuple of sentences)."""
    from slotid.clip import read_clip
    from slotid.face.track import TRACK_SIDE, track_face
    from slotid.identity.registry import method_class

    size = method_class(method).crop_pixels
    clip = read_clip(name, max_side=TRACK_SIDE)  # a phone's film at full size would fill a gigabyte before anything is found
    face = track_face(clip, crop_size=size)
    return face, list(dict.fromkeys((*clip.notices, *face.notices)))


def _face_seen(face) -> dict[str, Any] | None:
    """How much of the reference was read: frames, frames in which the face was seen, seconds; None for a code or nobody."""
    if face is None:
        return None
    return {"frames": len(face.seen), "seen": int(face.seen.sum()), "seconds": round(float(face.seconds[-1]), 3)}


def _meter(face) -> list[dict[str, Any]]:
    from slotid.face.quality import reference_report

    rows = []
    for name, value, grade, advice in reference_report(face):
        rows.append({"name": name, "value": value, "grade": grade, "advice": advice})
    return rows


def _write_maps(code: IdentityCode, folder: str | None) -> list[Path]:
    if folder is None:
        return []
    from slotid.show.shown import write_maps

    return write_maps(code, Path(folder))


def _write_likeness(result: Result, folder: str | None) -> list[Path]:
    if folder is None or result.likeness is None:
        return []
    from slotid.show.likeness import likeness_svg

    path = Path(folder) / "likeness.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(likeness_svg(result.likeness, result.clip.seconds), encoding="utf-8")
    return [path]


def _likeness(result: Result) -> dict[str, Any] | None:
    """Mean, lowest frame, share of frames with a face, and the values; None where it was not measured."""
    import numpy as np

    if result.likeness is None:
        return None
    seen = result.likeness[~np.isnan(result.likeness)]
    frames = [None if np.isnan(value) else round(float(value), 4) for value in result.likeness]
    mean, lowest = (float(seen.mean()), float(seen.min())) if len(seen) else (0.0, 0.0)
    return {"mean": mean, "lowest": lowest, "frames_with_face": len(seen) / max(1, len(frames)), "frames": frames}


def _print_json(report: dict[str, Any]) -> int:
    print(json.dumps(report, default=_plain, allow_nan=False))
    return 0


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
