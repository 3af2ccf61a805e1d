"""Pictures of a report: means with intervals, likeness over time, and the best, median and worst films beside their person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slotid.clip import read_clip
from slotid.evaluate.controls import RULERS
from slotid.evaluate.judges import Judges
from slotid.evaluate.metrics import normalised
from slotid.evaluate.score import METRICS
from slotid.evaluate.study import Film, Findings, Study

SHOWN = METRICS[:8]
INK, PAPER = (30, 30, 34), (250, 249, 246)
CELL, COLUMNS = 96, 6


def write_pictures(report: dict[str, Any], found: Findings, study: Study, folder: str | Path) -> list[str]:
    """PNG files in ``folder``; returns their names."""
    folder = Path(folder)
    names = [bars(report, folder / "metrics.png")]
    if report["methods"]:
        names.append(over_time(found, study.judges, study, folder / "likeness_over_time.png"))
    sources = [*report["methods"]] or ["ceiling"]
    return names + [contact_sheet(found, study, source, folder / f"films_{source}.png") for source in sources]


def bars(report: dict[str, Any], path: Path) -> str:
    """Every metric of methods and rulers with its interval."""
    plt = _pyplot()
    rows = {**{k: v for k, v in report["controls"].items() if k in RULERS}, **report["methods"]}
    figure, axes = plt.subplots(2, 4, figsize=(14, 1.6 + 0.55 * len(rows)), sharey=True)
    order = list(rows)[::-1]
    for axis, metric in zip(axes.flat, SHOWN, strict=True):
        for y, name in enumerate(order):
            value = rows[name][metric]
            if value["mean"] is None:
                continue
            colour = "#2f6f9f" if name in report["methods"] else "#9a9a9a"
            axis.plot([value["low"], value["high"]], [y, y], color=colour, linewidth=2)
            axis.plot(value["mean"], y, "o", color=colour, markersize=5)
        axis.set_title(metric.replace("_", " "), fontsize=10)
        axis.set_yticks(range(len(order)), [name.replace("_", " ") for name in order], fontsize=8)
        axis.set_ylim(-0.6, len(order) - 0.4)
        axis.grid(axis="x", color="#e2e2e2", linewidth=0.6)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path.name


def over_time(found: Findings, judges: Judges, study: Study, path: Path) -> str:
    """Mean looks likeness at each moment, per method, with the real other clip as the ceiling."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(7, 3.2))
    for source in ("ceiling", *study.settings.methods):
        films = [film for film in found.films if film.source == source]
        times = np.linspace(0, min((film.reading.seconds[-1] for film in films), default=0), 20)
        curves = []
        for film in films:
            likeness = normalised(film.reading.looks @ study.footage.target(film.wish.person).looks, *judges.scales["looks"])
            curves.append(np.interp(times, film.reading.seconds, np.where(film.reading.seen, likeness, 0.0)))
        if curves:
            axis.plot(times, np.mean(curves, axis=0), label=source.replace("_", " "), color="#9a9a9a" if source in RULERS else None)
    axis.set_xlabel("seconds")
    axis.set_ylabel("looks likeness")
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path.name


def contact_sheet(found: Findings, study: Study, source: str, path: Path, each: int = 2) -> str:
    """The best, median and worst films by looks likeness: the person's reference in the first row of each, the film in the second."""
    from PIL import Image, ImageDraw

    films = sorted((film for film in found.films if film.source == source), key=lambda film: -(film.values["looks_likeness"] or 0.0))
    chosen = _extremes(films, each)
    line, gap = 34, 8
    height = sum(2 * CELL + line + gap for _ in chosen) + gap
    page = Image.new("RGB", (COLUMNS * CELL + 2 * gap, height), PAPER)
    pen = ImageDraw.Draw(page)
    y = gap
    for label, film in chosen:
        values = film.values
        said = f"{label}: looks {_shown(values['looks_likeness'])}, habits {_shown(values['habit_likeness'])}, prompt "
        said += f"{_shown(values['prompt_following'])}, natural {_shown(values['naturalness'])}"
        pen.text((gap, y), said, fill=INK)
        pen.text((gap, y + 15), film.wish.prompt[:96], fill=(110, 110, 116))
        y += line
        for clip in (study.footage.reference(film.wish.person), read_clip(film.path)):
            picked = np.linspace(0, len(clip.frames) - 1, COLUMNS).round().astype(int)
            for column, frame in enumerate(clip.frames[picked]):
                page.paste(Image.fromarray(frame).resize((CELL, CELL), Image.Resampling.LANCZOS), (gap + column * CELL, y))
            y += CELL
        y += gap
    page.save(path)
    return path.name


def _extremes(films: list[Film], each: int) -> list[tuple[str, Film]]:
    middle = max(0, len(films) // 2 - each // 2)
    parts = [("best", films[:each]), ("median", films[middle : middle + each]), ("worst", films[-each:])]
    taken, chosen = set(), []
    for label, part in parts:
        for film in part:
            if id(film) not in taken:
                taken.add(id(film))
                chosen.append((label, film))
    return chosen


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
