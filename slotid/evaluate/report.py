"""Films to report.json and report.md."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from slotid.evaluate import metrics
from slotid.evaluate.controls import ORDER_CONTROLS, REFERENCE_CONTROLS, RULERS
from slotid.evaluate.cost import machine
from slotid.evaluate.judges import Judges, below_bars
from slotid.evaluate.score import METRICS
from slotid.evaluate.statistics import RESAMPLES, interval, paired
from slotid.evaluate.study import NO_IDENTITY, Film, Findings, Settings

MAIN = METRICS[:8]

EXPLAINED = {
    "looks_likeness": "face, frame by frame: 0 mean impostor, 1 another real clip of the person; a frame without a face counts 0",
    "habit_likeness": "way of moving, same scale; only films that ask for talking, smiling or laughing",
    "rank1": "share of films whose person is found first in the gallery",
    "margin": "likeness to the person minus that to the nearest other in the gallery",
    "drift": "change of looks likeness a second",
    "prompt_following": "share of the asked facts (act, light, background, clothing) that the judge sees",
    "naturalness": "0 to 1: frames, trembling and flicker as in real films; still films are not natural",
    "detection_rate": "share of frames with a face",
    "looks_likeness_seen": "looks likeness over frames with a face alone",
    "pose_range": "degrees of yaw and pitch",
    "expression_range": "mouth opening and smile, in mouth and eye widths",
    "frechet": "Frechet distance of frame features to real films; compare with ceiling, small sets are biased upwards",
}


def build_report(found: Findings, settings: Settings, judges: Judges, command: str) -> dict[str, Any]:
    """The whole report as plain values; the layout is fixed: command, machine, people, methods, controls, films, and more beside."""
    groups: dict[str, list[Film]] = defaultdict(list)
    for film in found.films:
        groups[film.source].append(film)
    summary = {source: _summary(films, judges, settings.seed) for source, films in groups.items()}
    if "none" in summary:
        summary[NO_IDENTITY] = summary["none"]  # it has no reference: the method is the control
    swept = {name: {value: summary.pop(f"{name} {value}") for value in values} for name, values in found.sweeps.items()}
    return {
        "command": command,
        "machine": machine(),
        "people": settings.people,
        "methods": {name: summary[name] for name in settings.methods if name in summary},
        "controls": {name: value for name, value in summary.items() if name not in settings.methods},
        "sweeps": swept,
        "routing": found.routing,
        "films": [_film(film) for film in found.films],
        "settings": {
            "films_per_person": settings.films,
            "seed": settings.seed,
            "steps": settings.steps,
            "backbone": settings.backbone,
            "gallery": settings.gallery,
            "control_people": settings.controlled,
            "order_people": settings.ordered,
            "control_method": settings.main,
            "resamples": RESAMPLES,
        },
        "paired": _paired(groups, settings),
        "cost": _costs(groups, found, settings),
        "reconstruction": _reconstruction(found, settings.seed),
        "judges": {
            "quality": judges.quality,
            "scales": judges.scales,
            "fingerprint": judges.fingerprint,
            "below": below_bars(judges.quality),
        },
        "explained": EXPLAINED,
    }


def _summary(films: list[Film], judges: Judges, seed: int) -> dict[str, dict[str, float | None]]:
    people = [film.wish.person for film in films]
    values = {name: interval([film.values[name] for film in films], people, seed) for name in METRICS}
    return values | {"frechet": _frechet(films, judges)}


def _frechet(films: list[Film], judges: Judges) -> dict[str, float | None]:
    """Without an interval: people drawn twice make a set look farther from real films than it is."""
    features = np.concatenate([film.reading.features for film in films]).astype(np.float64)
    mean = metrics.frechet_gaussians(judges.real_mean, judges.real_cov, *metrics.gaussian(features))
    return {"mean": mean, "low": None, "high": None}


def _film(film: Film) -> dict[str, Any]:
    return {
        "source": film.source,
        "person": film.wish.person,
        "film": film.wish.number,
        "prompt": film.wish.prompt,
        "asked": film.wish.asked,
        "file": "/".join(film.path.parts[-3:]),
        **film.values,
    }


def _paired(groups: dict[str, list[Film]], settings: Settings) -> dict[str, dict[str, dict[str, float | None]]]:
    """Differences over the same wishes: every two methods; reference controls and no identity against their method; rulers."""
    methods = [name for name in settings.methods if name in groups]
    couples = [(a, b) for k, a in enumerate(methods) for b in methods[k + 1 :]]
    if settings.main in groups:
        couples += [(source, settings.main) for source in (NO_IDENTITY, *REFERENCE_CONTROLS) if source in groups]
    couples += [(ruler, RULERS[0]) for ruler in RULERS[1:] if ruler in groups]
    tables = {source: {m: {_key(f): f.values[m] for f in films} for m in METRICS} for source, films in groups.items()}
    return {f"{a} - {b}": {m: paired(tables[a][m], tables[b][m], settings.seed) for m in METRICS} for a, b in couples}


def _key(film: Film) -> tuple[int, int]:
    return film.wish.person, film.wish.number


def _costs(groups: dict[str, list[Film]], found: Findings, settings: Settings) -> dict[str, dict[str, Any]]:
    costs = {}
    for name in settings.methods:
        notes = [film.note for film in groups.get(name, []) if "timings" in film.note]
        stages = sorted({stage for note in notes for stage in note["timings"]})
        costs[name] = {
            "films": len(notes),
            "seconds_per_film": float(np.mean([sum(note["timings"].values()) for note in notes])) if notes else None,
            "seconds_per_stage": {stage: float(np.mean([note["timings"].get(stage, 0.0) for note in notes])) for stage in stages},
            "peak_mb": max((note["peak_mb"] for note in notes), default=None),
            "parameters": found.sizes.get(name),
        }
    return costs


def _reconstruction(found: Findings, seed: int) -> dict[str, dict[str, float | None]]:
    """Real films through the VAE and back; empty where none could be read."""
    people = sorted(found.vae)
    names = ("psnr", "flicker", "flicker_real") if people else ()
    return {name: interval([found.vae[who][name] for who in people], people, seed) for name in names}


def write_report(report: dict[str, Any], folder: str | Path) -> tuple[Path, Path]:
    """report.json and report.md in ``folder``; each appears whole."""
    folder = Path(folder)
    paths = folder / "report.json", folder / "report.md"
    for path, text in zip(paths, (json.dumps(plain(report), indent=1, allow_nan=False), markdown(report)), strict=True):
        temporary = path.with_name(path.name + f".{os.getpid()}.part")
        temporary.write_text(text + "\n")
        os.replace(temporary, path)
    return paths


def plain(value: Any) -> Any:
    """JSON values: arrays as lists, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(report: dict[str, Any]) -> str:
    """The report for a reader: judges first, then rulers, then methods."""
    lines = [f"# Evaluation of {', '.join(report['methods']) or 'real renders alone'}", "", f"`{report['command']}`", ""]
    settings = report["settings"]
    lines += [
        f"{report['people']} test people, {settings['films_per_person']} films each; gallery of {settings['gallery']}; "
        f"seed {settings['seed']}. Values are means over people with bootstrap 95 % intervals.",
        "",
        "## The judges, on people they were not trained on",
        "",
    ]
    lines += ["| judge | quality |", "| --- | --- |"]
    for name, quality in report["judges"]["quality"].items():
        lines.append(f"| {name} | {', '.join(f'{k} {_number(v)}' for k, v in quality.items())} |")
    lines += ["", *(f"- {sentence[0].upper()}{sentence[1:]}" for sentence in report["judges"]["below"]), ""]
    rulers = {name: report["controls"][name] for name in RULERS if name in report["controls"]}
    others = {name: value for name, value in report["controls"].items() if name not in rulers}
    lines += ["## Rulers: films whose score is known", "", *_table(rulers), ""]
    if report["methods"]:
        lines += ["## Methods", "", *_table(report["methods"]), ""]
        lines += ["## Cost", "", "| method | s per film | peak MB, all methods loaded | parameters |", "| --- | --- | --- | --- |"]
        for name, cost in report["cost"].items():
            sizes = cost["parameters"] or {}
            shown = ", ".join(f"{k} {v / 1e6:.2f} M" for k, v in sizes.items())
            lines.append(f"| {name} | {_number(cost['seconds_per_film'])} | {cost['peak_mb']} | {shown} |")
        lines.append("")
    if lost := report["reconstruction"]:
        lines += ["## What the VAE loses: real films of the same people, encoded and decoded", ""]
        lines += ["| PSNR in dB | flicker | flicker of the real films |", "| --- | --- | --- |"]
        lines += [f"| {' | '.join(_cell(lost[name]) for name in ('psnr', 'flicker', 'flicker_real'))} |", ""]
    if others:
        title = f"## Controls of {settings['control_method']} on the first {settings['control_people']} people"
        if settings["order_people"] != settings["control_people"]:
            title += f" ({' and '.join(ORDER_CONTROLS)}: the first {settings['order_people']})"
        lines += [title, "", *_table(others), ""]
    for name, rows in report["sweeps"].items():
        lines += [f"## {settings['control_method']}: {name}", "", *_table(rows), ""]
    for name, found in report["routing"].items():
        lines += _routing(name, found)
    if report["paired"]:
        lines += ["## Paired differences", "", *_table(report["paired"]), ""]
    lines += ["## What the columns mean", "", *(f"- `{name}`: {text}" for name, text in report["explained"].items()), ""]
    for picture in report.get("pictures", []):
        lines += [f"![{Path(picture).stem.replace('_', ' ')}]({picture})", ""]
    return "\n".join(lines)


def _routing(method: str, found: dict[str, Any]) -> list[str]:
    """What each slot read: mass 1 is an even share; entropies of 1 mean everywhere alike."""
    lines = [f"## What the slots of {method} read, over {found['clips']} clips", ""]
    lines += ["| slot | mass | gate | entropy over time | entropy over the face |", "| --- | --- | --- | --- | --- |"]
    for name, row in found["slots"].items():
        lines.append(f"| {name} | {' | '.join(_cell(row[what]) for what in ('mass', 'gate', 'time', 'space'))} |")
    dead = ", ".join(found["dead"]) or "none"
    apart = f"{_number(found['between_clips'])} between clips, {_number(found['between_slots'])} between slots of a clip"
    return [*lines, "", f"Dead slots: {dead}. Total variation of the maps: {apart} (0 alike, 1 apart).", ""]


def _table(rows: dict[str, dict[str, dict[str, float | None]]]) -> list[str]:
    columns = [*MAIN, *(name for name in ("frechet",) if any(name in row for row in rows.values()))]
    lines = [f"| | {' | '.join(name.replace('_', ' ') for name in columns)} |", "| --- |" + " --- |" * len(columns)]
    return lines + [f"| {name} | {' | '.join(_cell(row.get(column)) for column in columns)} |" for name, row in rows.items()]


def _cell(value: dict[str, float | None] | None) -> str:
    if value is None or value["mean"] is None:
        return "-"
    if value["low"] is None:
        return _number(value["mean"])
    return f"{_number(value['mean'])} ({_number(value['low'])} to {_number(value['high'])})"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.3f}".rstrip("0").rstrip(".")
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
