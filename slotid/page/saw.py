"""Step 2: what the slots saw. Heat-map films, time map, gates, the plan while it forms; mute, solo and gain act on the next film."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import gradio as gr

from slotid.page.style import empty, step
from slotid.page.visit import Person
from slotid.show.shown import Shown

EMPTY = "Read a clip first: each card will show where on the face one slot looked, and how much it counts."

# The cards are one gr.HTML: a picture opens its slot large; gain, mute and solo of all cards are told together when one changes.
CARDS_JS = """
const cards = () => [...element.querySelectorAll('.slot')];
const pressed = (card, name) => card.querySelector(`[data-mark=${name}]`).getAttribute('aria-pressed') === 'true';
const draw = () => {
  const solo = cards().some(card => pressed(card, 'solo'));
  cards().forEach(card => {
    const gain = card.querySelector('input'), off = pressed(card, 'mute') || (solo && !pressed(card, 'solo')) || gain.value === '0';
    card.classList.toggle('off', off);
    card.querySelector('output').textContent = off ? 'off' : Number(gain.value).toFixed(2);
  });
};
const tell = () => {
  draw();
  trigger('input', {
    gains: cards().map(card => Number(card.querySelector('input').value)),
    muted: cards().map(card => pressed(card, 'mute')), solo: cards().map(card => pressed(card, 'solo')),
  });
};
element.addEventListener('input', draw);
element.addEventListener('change', tell);
element.addEventListener('click', event => {
  const mark = event.target.closest('[data-mark]'), look = event.target.closest('[data-look]');
  if (mark) { mark.setAttribute('aria-pressed', mark.getAttribute('aria-pressed') !== 'true'); tell(); }
  if (look) trigger('select', {pick: Number(look.dataset.look)});
});
watch('value', () => cards().forEach(card => {
  card.querySelector('input').value = 1;
  card.classList.remove('off');
  card.querySelector('output').textContent = '1.00';
  card.querySelectorAll('[data-mark]').forEach(mark => mark.setAttribute('aria-pressed', false));
}));
"""


@dataclass(frozen=True, eq=False)  # told apart by being, not by value: the page hashes its states
class Mix:
    """What the visitor set on the cards; one value a slot."""

    gains: list[float]
    muted: list[bool]
    solo: list[bool]


def gains_of(mix: Mix | None) -> tuple[float, ...] | None:
    """Slot gains for a request: any solo mutes all that are not solo; None when nothing was changed."""
    if mix is None:
        return None
    alone = any(mix.solo)
    rows = zip(mix.gains, mix.muted, mix.solo, strict=True)
    final = [0.0 if muted or (alone and not solo) else float(gain) for gain, muted, solo in rows]
    return None if all(gain == 1.0 for gain in final) else tuple(final)


def cards_html(shown: Shown) -> str:
    """A card per slot: a film over the face crops, its share of the mass, its gate, and what acts on the next film."""
    from slotid.show.paint import data_uri, escape, slot_colour, webp
    from slotid.show.routing import heat_film, thin

    picks = thin(len(shown.seconds), 24)
    share = shown.mass / max(float(shown.mass.sum()), 1e-9)
    cells = []
    for slot, plain in enumerate(shown.names):
        film = data_uri(webp(heat_film(shown.crops, shown.plan[slot], slot, 152)[picks], shown.seconds[picks]), "webp")
        name = escape(plain)
        cells.append(
            f'<div class="slot" id="slot{slot + 1}" style="--tone:{slot_colour(slot)}">'
            f'<button type="button" class="open" data-look="{slot}" title="Show it large">'
            f'<img src="{film}" alt="Where the slot for {name} looks, through the clip"></button>'
            f'<h4>{name}</h4><p class="facts"><span>mass {share[slot]:.0%}</span><span>gate {float(shown.gates[slot]):.2f}</span></p>'
            f'<label class="gain"><span>gain</span><output>1.00</output>'
            f'<input type="range" min="0" max="2" step="0.05" value="1" aria-label="Gain of {name} in the next film"></label>'
            f'<p class="marks"><button type="button" data-mark="mute" aria-pressed="false" aria-label="Mute {name}">mute</button>'
            f'<button type="button" data-mark="solo" aria-pressed="false" aria-label="Solo {name}">solo</button></p></div>'
        )
    return f'<div class="slots">{"".join(cells)}</div>'


def large_html(shown: Shown, slot: int) -> str:
    """One slot large: its film, and what it looked at most."""
    import numpy as np

    from slotid.show.paint import data_uri, escape, slot_colour, webp
    from slotid.show.routing import focus, heat_film

    film = data_uri(webp(heat_film(shown.crops, shown.plan[slot], slot, 256), shown.seconds, quality=85), "webp")
    per_frame = shown.plan[slot].sum((1, 2))
    busiest = float(shown.seconds[int(np.argmax(per_frame))])
    _, top = focus(shown.plan[slot])
    name = escape(shown.names[slot])
    words = (
        f"<h4>{name}</h4><p>Colour marks where this slot took its mass: none where it took half an even share or less, full where it took "
        f"{top:.1f} times an even share. It took most at {busiest:.1f}&nbsp;s.</p>"
        f"<p>The name is what this slot was trained towards on rendered heads, not a promise about this clip.</p>"
    )
    if slot in shown.heard:
        words += "<p>For a habit this decides how much each moment counts; what is read of a moment is how the whole face moves there.</p>"
    return (
        f'<div class="large" style="--tone:{slot_colour(slot)}"><img src="{film}" alt="The slot for {name}, large, through the clip">'
        f"<div>{words}</div></div>"
    )


def forming_html(shown: Shown, iteration: int) -> str:
    """The plan at one iteration (1-based, through all refinements) and the marginal error up to it."""
    from slotid.show.routing import error_curve, forming

    rounds, count = shown.errors.shape
    index = min(max(int(iteration), 1), len(shown.forming)) - 1
    pictures = forming(shown.forming[index], shown.crops, shown.anchor, shown.names)
    error = float(shown.errors.flat[index])
    words = (
        f"Refinement {index // count + 1} of {rounds}, Sinkhorn iteration {index % count + 1} of {count}: "
        f"{error:.2%} of the mass is not yet where it has to be."
    )
    return f"<p>{words}</p>{pictures}<h4>Marginal error, falling with every iteration</h4>{error_curve(shown.errors, index)}"


def time_html(shown: Shown, chosen: int | None = None) -> str:
    """Slots by time with the clip's frames beneath."""
    from slotid.show.routing import time_map

    drawing = time_map(shown.plan, shown.seconds, shown.crops, shown.names, chosen=chosen)
    return f'<div class="scroll" tabindex="0" role="group" aria-label="Slots through time">{drawing}</div>'


def moves_html(shown: Shown) -> str:
    """What the habit slots heard, with its sentence; a sentence alone for a method that hears nothing."""
    from slotid.show.moves import move_lines

    if not shown.moves:
        return "<p>This method reads habits from pictures; it tells no movement by name.</p>"
    words = (
        "What the habit slots heard, frame by frame: how far each movement is from where this face rests. Where there are two lines, the "
        "whole one is the person's left side, the dashed one the right: a smile that begins on one side shows as one. A small network "
        "that was taught on rendered heads reads it, so fine movements may be missed."
    )
    drawing = move_lines(shown.moves, shown.seconds)
    return f'<p>{words}</p><div class="scroll" tabindex="0" role="group" aria-label="Movements through time">{drawing}</div>'


def gates_html(shown: Shown) -> str:
    """Gates as bars with their sentence."""
    from slotid.show.gates import gate_bars, gates_sentence
    from slotid.show.paint import escape

    return f"<p>{escape(gates_sentence(shown.gates, shown.names))}</p>{gate_bars(shown.gates, shown.mass, shown.names)}"


def waiting_html(words: str, count: int = 8) -> str:
    """The section while there is nothing to see: as high as it will be, so that nothing below it jumps."""
    cards = '<div class="slot"><i></i><b></b><b></b><b></b></div>' * count
    ghosts = f'<div class="ghosts" aria-hidden="true"><div class="slots">{cards}</div>{"<u></u>" * count}</div>'
    return f'<div class="before">{ghosts}{empty(words)}</div>'


def lay_out(person: gr.State) -> SimpleNamespace:
    """Builds the section and makes it follow ``person``; returns its parts (``mix``, a state, is an input of a film)."""
    gr.HTML(step(2, "What the slots saw", "each slot reads its own part of the face, or of the way it moves"))
    mix = gr.State(None)
    nothing = gr.HTML(waiting_html(EMPTY), elem_id="saw_nothing")
    with gr.Column(visible=False, elem_id="saw") as section:
        cards = gr.HTML(elem_id="cards", js_on_load=CARDS_JS)
        with gr.Tabs(elem_id="views") as tabs:
            with gr.Tab("Through time", id="time"):
                time_map = gr.HTML(elem_id="time_map")
            with gr.Tab("What moved", id="moves"):
                moves = gr.HTML(elem_id="moves")
            with gr.Tab("Gates", id="gates"):
                gates = gr.HTML(elem_id="gates")
            with gr.Tab("One slot, large", id="large"):
                choose = gr.Radio([], label="Slot", show_label=False, elem_id="choose_slot", elem_classes="pills")
                large = gr.HTML(elem_id="large")
            with gr.Tab("How the plan formed", id="forming"):
                iteration = gr.Slider(1, 2, 1, step=1, label="Sinkhorn iteration", elem_id="iteration", buttons=[])
                forming = gr.HTML(elem_id="forming")
    outputs = [nothing, section, mix, cards, time_map, moves, gates, choose, large, iteration, forming]

    def follow(person: Person | None) -> list[Any]:
        shown = person.shown() if person is not None else None
        if shown is None:
            words = EMPTY if person is None else "This code was saved without the pictures of its routing; a film can be made all the same."
            quiet = [gr.update(value=waiting_html(words), visible=True), gr.update(visible=False), None, ""]
            return [*quiet, "", "", "", gr.update(choices=[], value=None), "", gr.skip(), ""]
        last = len(shown.forming)
        return [
            gr.update(visible=False), gr.update(visible=True), None, cards_html(shown), time_html(shown), moves_html(shown),
            gates_html(shown), gr.update(choices=[(name, index) for index, name in enumerate(shown.names)], value=0), large_html(shown, 0),
            gr.update(maximum=max(2, last), value=last), forming_html(shown, last),
        ]  # fmt: skip

    def look(person: Person | None, slot: int | None) -> list[Any]:
        shown = person.shown() if person is not None else None
        return ["", gr.skip()] if shown is None or slot is None else [large_html(shown, slot), time_html(shown, slot)]

    def open_large(person: Person | None, event: gr.EventData) -> list[Any]:
        return [gr.update(selected="large"), event.pick, *look(person, event.pick)]

    def mixed(event: gr.EventData) -> Mix:
        return Mix(event.gains, event.muted, event.solo)

    def form(person: Person | None, iteration: int) -> Any:
        shown = person.shown() if person is not None else None
        return "" if shown is None else forming_html(shown, iteration)

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    person.change(follow, person, outputs, **quiet)
    choose.input(look, [person, choose], [large, time_map], **quiet)
    cards.select(open_large, person, [tabs, choose, large, time_map], **quiet)
    cards.input(mixed, None, mix, **quiet)
    iteration.input(form, [person, iteration], forming, trigger_mode="always_last", **quiet)
    return SimpleNamespace(mix=mix, cards=cards)
