"""Likeness over time, with what it can be held against."""

from __future__ import annotations

import numpy as np

from slotid.show.paint import GOOD, WEAK, slot_colour, svg


def likeness_sentence(values: np.ndarray, floor: float | None = None, ceiling: float | None = None) -> str:
    """The plot in one sentence. ``values`` (T,) in [0, 1], NaN where no face was found."""
    values = np.asarray(values, np.float64).ravel()
    seen = values[np.isfinite(values)]
    if not len(seen):
        return "No face was found in the film, so there is no likeness to show."
    words = f"Likeness to the reference: {seen.mean():.2f} on average, {seen.min():.2f} at its lowest"
    missing = len(values) - len(seen)
    if missing:
        words += f"; no face in {missing} of {len(values)} frames"
    against = []
    if ceiling is not None:
        against.append(f"the reference against itself reaches {ceiling:.2f}")
    if floor is not None:
        against.append(f"strangers reach {floor:.2f}")
    return words + (f" ({', '.join(against)})." if against else ".")


def likeness_svg(
    values: np.ndarray, seconds: np.ndarray, floor: float | None = None, ceiling: float | None = None, width: int = 560
) -> str:
    """Likeness (T,) over ``seconds`` (T,) as SVG; frames without a face leave a gap and a mark at the bottom."""
    values, seconds = np.asarray(values, np.float64).ravel(), np.asarray(seconds, np.float64).ravel()
    height, left, right, top, bottom = 190.0, 40.0, 86.0, 12.0, 34.0
    span = max(float(seconds[-1] - seconds[0]), 1e-6) if len(seconds) else 1.0

    def place(index: int, value: float) -> tuple[float, float]:
        return left + (seconds[index] - seconds[0]) / span * (width - left - right), top + (1 - np.clip(value, 0, 1)) * (
            height - top - bottom
        )

    body: list[str] = []
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (1 - level) * (height - top - bottom)
        body.append(f'<line x1="{left:g}" x2="{width - right:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity="0.12"/>')
        if level in (0.0, 0.5, 1.0):
            body.append(f'<text x="{left - 8:g}" y="{y + 4:.1f}" font-size="12" text-anchor="end" opacity="0.8">{level:g}</text>')
    for level, name, colour in ((ceiling, "same clip", GOOD), (floor, "strangers", WEAK)):
        if level is not None:
            y = top + (1 - float(np.clip(level, 0, 1))) * (height - top - bottom)
            across = f'x1="{left:g}" x2="{width - right:g}" y1="{y:.1f}" y2="{y:.1f}"'
            body.append(f'<line {across} stroke="{colour}" stroke-width="1.5" stroke-dasharray="5 4"/>')
            body.append(f'<text x="{width - right + 6:g}" y="{y + 4:.1f}" font-size="12" fill="{colour}">{name}</text>')
    run: list[str] = []
    runs = []
    for index, value in enumerate(values):
        if np.isfinite(value):
            x, y = place(index, value)
            run.append(f"{x:.1f},{y:.1f}")
            continue
        runs.append(run)
        run = []
        x, y = place(index, 0.0)
        body.append(f'<path d="M{x - 3:.1f},{y - 3:.1f}l6,6m0,-6l-6,6" stroke="{WEAK}" stroke-width="1.5"/>')
    for points in (*runs, run):
        if len(points) == 1:
            x, y = points[0].split(",")
            body.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{slot_colour(0)}"/>')
        elif points:
            body.append(
                f'<polyline points="{" ".join(points)}" fill="none" stroke="{slot_colour(0)}" stroke-width="2.5" stroke-linejoin="round"/>'
            )
    ticks = np.linspace(0, span, 5)
    for tick in ticks:
        x = left + tick / span * (width - left - right)
        body.append(f'<text x="{x:.1f}" y="{height - 14:g}" font-size="12" text-anchor="middle" opacity="0.8">{tick:.1f} s</text>')
    return svg(width, height, body, likeness_sentence(values, floor, ceiling))
