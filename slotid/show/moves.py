"""What habit slots heard of a clip: the face's movements through time, as its frame reader tells them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from slotid.show.paint import escape, slot_colour, svg

TALL = 3.0  # deviations, of what people do, from a row's line to its top


def move_lines(moves: Mapping[str, np.ndarray], seconds: np.ndarray, width: int = 860) -> str:
    """A row for each movement as SVG: how far it is from where this face rests (its median), on one scale for all rows.

    ``moves``: by name (T, 1), or (T, 2) with the person's left and right side, the right one dashed; in deviations of what people do.
    ``seconds`` (T,), increasing.
    """
    seconds = np.asarray(seconds, np.float64)
    row, left, right, top = 58.0, 150.0, 10.0, 8.0
    span = max(float(seconds[-1] - seconds[0]), 1e-6)
    across = left + (seconds - seconds[0]) / span * (width - left - right)
    body: list[str] = []
    for number, (name, values) in enumerate(moves.items()):
        values = np.asarray(values, np.float64).reshape(len(seconds), -1)
        # of both sides one rest: where one is always lower than the other, that is to be seen
        up = np.clip((values - np.median(values)) / TALL, -0.5, 1) * 0.6 * row
        line, colour = top + number * row + row * 0.66, slot_colour(number)
        body.append(f'<text x="{left - 10:g}" y="{line:g}" font-size="13" text-anchor="end">{escape(name)}</text>')
        body.append(f'<line x1="{left:g}" x2="{width - right:g}" y1="{line:g}" y2="{line:g}" stroke="currentColor" opacity="0.15"/>')
        for side, heights in enumerate(up.T):
            points = " ".join(f"{x:.1f},{line - y:.1f}" for x, y in zip(across, heights, strict=True))
            dash = ' stroke-dasharray="5 3" opacity="0.75"' if side else ""
            body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
    height = top + len(moves) * row + 22
    for second in range(int(np.floor(span)) + 1):
        x = left + second / span * (width - left - right)
        body.append(f'<text x="{x:.1f}" y="{height - 6:g}" font-size="11" text-anchor="middle" opacity="0.75">{second} s</text>')
    most = max(moves, key=lambda name: float(np.std(moves[name])))
    title = f"{len(moves)} movements of the face over {span:.1f} seconds of the clip; most moves: {most}"
    return svg(width, height, body, title)
