"""Gates as bars: how much of each slot's memory reaches the film."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slotid.show.paint import escape, slot_colour, svg


def gates_sentence(gates: np.ndarray, names: Sequence[str]) -> str:
    """What the gates say, in one plain sentence. ``gates`` (S,) in [0, 1]."""
    gates = np.asarray(gates, np.float64).ravel()
    if not len(gates):
        return "This code has no gates."
    low, high = float(gates.min()), float(gates.max())
    opening = "A gate is the part of a slot's memory that reaches the film: 0 keeps it shut, 1 opens it fully."
    if high - low < 0.02:
        return f"{opening} Here all stand near {gates.mean():.2f}: no slot is preferred over another."
    return f"{opening} Here {names[int(gates.argmax())]} opens widest ({high:.2f}) and {names[int(gates.argmin())]} least ({low:.2f})."


def gate_bars(gates: np.ndarray, mass: np.ndarray, names: Sequence[str], width: int = 560) -> str:
    """Two bars a slot as SVG: its gate (thick) and its share of the clip's mass (thin). ``gates``, ``mass`` (S,)."""
    gates, mass = np.asarray(gates, np.float64).ravel(), np.asarray(mass, np.float64).ravel()
    share = mass / max(float(mass.sum()), 1e-12)
    row, left, right, top = 34.0, 150.0, 130.0, 4.0
    across = width - left - right
    body: list[str] = []
    for slot, name in enumerate(names):
        y, colour = top + slot * row, slot_colour(slot)
        gate = float(np.clip(gates[slot], 0, 1))
        body.append(f'<text x="{left - 10:g}" y="{y + 16:g}" font-size="13" text-anchor="end">{escape(name)}</text>')
        body.append(f'<rect x="{left:g}" y="{y + 5:g}" width="{across:g}" height="13" rx="6.5" fill="currentColor" opacity="0.08"/>')
        body.append(f'<rect x="{left:g}" y="{y + 5:g}" width="{max(2.0, across * gate):.1f}" height="13" rx="6.5" fill="{colour}"/>')
        thin = f'x="{left:g}" y="{y + 21:g}" width="{max(1.0, across * share[slot]):.1f}" height="4" rx="2"'
        body.append(f'<rect {thin} fill="{colour}" opacity="0.55"/>')
        body.append(f'<text x="{width - right + 10:g}" y="{y + 16:g}" font-size="13" font-weight="600">{gate:.2f}</text>')
        body.append(f'<text x="{width - right + 46:g}" y="{y + 16:g}" font-size="12" opacity="0.75">{share[slot]:.0%} mass</text>')
    return svg(width, top + row * len(names), body, gates_sentence(gates, names))
