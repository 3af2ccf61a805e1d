"""Step 2: what the slots saw. Heat-map films, time map, gates, the plan while it forms; mute, solo and gain act on the next film."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr

from slotid.page.style import empty, step
from slotid.page.visit import Person
from slotid.show.shown import Shown

CARDS = 8  # the page has room for so many slots; more are read all the same
EMPTY = "Read a clip first: here you will see where on the face, and when, each slot looked."


def gains_from(gains: list[float], marks: list[list[str]]) -> tuple[float, ...] | None:
    """Slot gains from sliders (0 to 2) and marks: any solo mutes all that are not solo; None when nothing was changed."""
    solo = [index for index, mark in enumerate(marks) if "solo" in (mark or [])]
    final = []
    for index, (gain, mark) in enumerate(zip(gains, marks, strict=True)):
        off = "mute" in (mark or []) or (solo and index not in solo)
        final.append(0.0 if off else float(gain))
    return None if all(gain == 1.0 for gain in final) else tuple(final)


def card_html(shown: Shown, slot: int) -> str:
    """One slot as a film over the face crops, with its share of the mass and its gate."""
    from slotid.show.paint import data_uri, escape, slot_colour, webp
    from slotid.show.routing import heat_film, thin

    picks = thin(len(shown.seconds), 24)
    film = data_uri(webp(heat_film(shown.crops, shown.plan[slot], slot, 144)[picks], shown.seconds[picks]), "webp")
    name = escape(shown.names[slot])
    share = float(shown.mass[slot] / max(shown.mass.sum(), 1e-9))
    alt = f"Where the slot for {name} looks, through the clip"
    return (
        f'<div class="slot" style="--tone:{slot_colour(slot)}"><figure><img src="{film}" alt="{alt}">'
        f'<figcaption><span class="name">{name}</span><span class="facts">mass {share:.0%}<br>gate {float(shown.gates[slot]):.2f}</span>'
        "</figcaption></figure></div>"
    )


def large_html(shown: Shown, slot: int) -> str:
    """One slot large: its film, and what it looked at most."""
    import numpy as np

    from slotid.show.paint import data_uri, escape, webp
    from slotid.show.routing import focus, heat_film

    film = data_uri(webp(heat_film(shown.crops, shown.plan[slot], slot, 224), shown.seconds, quality=85), "webp")
    per_frame = shown.plan[slot].sum((1, 2))
    busiest = float(shown.seconds[int(np.argmax(per_frame))])
    _, top = focus(shown.plan[slot])
    name = escape(shown.names[slot])
    words = (
        f"<p><b>{name}</b></p><p>Colour marks where this slot took its mass; dim grey is half of an even share or less, full colour is "
        f"{top:.1f} times an even share.</p><p>It took most at {busiest:.1f} s.</p>"
        f"<p>The name is what this slot was trained towards on rendered heads, not a promise about this clip.</p>"
    )
    return f'<div class="large"><img src="{film}" alt="The slot for {name}, large, through the clip"><div>{words}</div></div>'


def forming_html(shown: Shown, iteration: int) -> str:
    """The plan at one iteration (1-based) and the marginal error up to it."""
    from slotid.show.routing import error_curve, forming

    index = min(max(int(iteration), 1), len(shown.plans)) - 1
    pictures = forming(shown.plans[index], shown.crops, shown.anchor, shown.names)
    largest = shown.errors[index]
    words = f"Iteration {index + 1} of {len(shown.plans)}: the plan misses its marginals by {largest:.1e} in all."
    return f"<p>{words}</p>{pictures}<p>Marginal error by iteration</p>{error_curve(shown.errors, index)}"


def time_html(shown: Shown, chosen: int | None = None) -> str:
    """Slots by time with the clip's frames beneath."""
    from slotid.show.routing import time_map

    return f'<div class="scroll" tabindex="0">{time_map(shown.plan, shown.seconds, shown.crops, shown.names, chosen=chosen)}</div>'


def gates_html(shown: Shown) -> str:
    """Gates as bars with their sentence."""
    from slotid.show.gates import gate_bars, gates_sentence
    from slotid.show.paint import escape

    return f"<p>{escape(gates_sentence(shown.gates, shown.names))}</p>{gate_bars(shown.gates, shown.mass, shown.names)}"


def lay_out(person: gr.State) -> SimpleNamespace:
    """Builds the section and makes it follow ``person``; returns its parts (``gains`` and ``marks`` are inputs of a film)."""
    gr.HTML(step(2, "What the slots saw", "each slot reads its own part of the face and of the way it moves"))
    nothing = gr.HTML(empty(EMPTY), elem_id="saw_nothing")
    cards, gains, marks, boxes = [], [], [], []
    with gr.Column(visible=False, elem_id="saw") as section:
        with gr.Row(elem_classes="slotgrid"):
            for number in range(CARDS):
                with gr.Column(min_width=128, elem_classes="slotcard") as box:
                    cards.append(gr.HTML(elem_id=f"slot{number + 1}"))
                    gains.append(
                        gr.Slider(0, 2, 1, step=0.05, label="gain", elem_id=f"gain{number + 1}", buttons=[], container=False, min_width=100)
                    )
                    marks.append(gr.CheckboxGroup(["mute", "solo"], show_label=False, label="next film", container=False, min_width=100))
                boxes.append(box)
        with gr.Tabs():
            with gr.Tab("Through time", id="time"):
                time_map = gr.HTML(elem_id="time_map")
            with gr.Tab("Gates", id="gates"):
                gates = gr.HTML(elem_id="gates")
            with gr.Tab("One slot, large", id="large") as large_tab:
                choose = gr.Radio([], label="Slot", elem_id="choose_slot")
                large = gr.HTML(elem_id="large")
            with gr.Tab("How the plan formed", id="forming"):
                iteration = gr.Slider(1, 2, 1, step=1, label="Routing iteration", elem_id="iteration", buttons=[])
                forming = gr.HTML(elem_id="forming")
    outputs = [nothing, section, *cards, *boxes, *gains, *marks, time_map, gates, choose, large, iteration, forming]

    def follow(person: Person | None) -> list[Any]:
        shown = person.shown() if person is not None else None
        if shown is None:
            words = EMPTY if person is None else "This code was saved without the pictures of its routing; a film can be made all the same."
            quiet = [gr.update(value=empty(words), visible=True), gr.update(visible=False)]
            resets = [""] * CARDS + [gr.skip()] * CARDS + [1.0] * CARDS + [[]] * CARDS
            return [*quiet, *resets, "", "", gr.update(choices=[], value=None), "", gr.skip(), ""]
        count = min(CARDS, len(shown.names))
        html = [card_html(shown, slot) if slot < count else "" for slot in range(CARDS)]
        seen = [gr.update(visible=slot < count) for slot in range(CARDS)]
        last = len(shown.plans)
        return [
            gr.update(visible=False), gr.update(visible=True), *html, *seen, *[1.0] * CARDS, *[[]] * CARDS,
            time_html(shown), gates_html(shown),
            gr.update(choices=[(name, index) for index, name in enumerate(shown.names)], value=0),  "",
            gr.update(maximum=max(2, last), value=last), forming_html(shown, last),
        ]  # fmt: skip

    def look(person: Person | None, slot: int | None) -> Any:
        shown = person.shown() if person is not None else None
        return "" if shown is None or slot is None else large_html(shown, slot)

    def form(person: Person | None, iteration: int) -> Any:
        shown = person.shown() if person is not None else None
        return "" if shown is None else forming_html(shown, iteration)

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    person.change(follow, person, outputs, **quiet)
    large_tab.select(look, [person, choose], large, **quiet)
    choose.input(look, [person, choose], large, **quiet)
    iteration.input(form, [person, iteration], forming, **quiet)
    return SimpleNamespace(gains=gains, marks=marks, cards=cards)
