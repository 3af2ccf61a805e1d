"""The reference meter: what is good and what is weak about a clip, with one piece of advice each."""

from __future__ import annotations

from collections.abc import Iterable

from slotid.show.paint import GOOD, WEAK, escape

Row = tuple[str, object, str, str]  # name, value, "good" or "weak", advice


def meter_sentence(rows: Iterable[Row]) -> str:
    """The verdict in one sentence."""
    rows = list(rows)
    weak = [name for name, _, grade, _ in rows if grade != "good"]
    if not rows:
        return "Nothing was measured yet."
    if not weak:
        return f"A good reference: all {len(rows)} measures are good."
    return f"{len(rows) - len(weak)} of {len(rows)} measures are good; weak: {', '.join(weak)}."


def meter_html(rows: Iterable[Row]) -> str:
    """A list, one line a measure: a mark (shape and word, not colour alone), name, value, advice where weak."""
    rows = list(rows)
    items = []
    for name, value, grade, advice in rows:
        good = grade == "good"
        shown = f"{value:.2f}" if isinstance(value, float) else str(value)
        mark = f'<span class="mark" style="--tone:{GOOD if good else WEAK}">{"✓ good" if good else "△ weak"}</span>'
        hint = "" if good or not advice else f'<span class="advice">{escape(advice)}</span>'
        items.append(f'<li><span class="name">{escape(name)}</span><span class="value">{escape(shown)}</span>{mark}{hint}</li>')
    return f'<div class="meter"><p>{escape(meter_sentence(rows))}</p><ul>{"".join(items)}</ul></div>'
