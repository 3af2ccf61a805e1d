"""Step 4: films beside each other, same sentence, same seed, one thing changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np

from slotid.page.engine import Engine, Stopper
from slotid.page.line import waiting_words
from slotid.page.making import SPEAK, film_events, walk_html, wish_of
from slotid.page.style import empty, notice, step
from slotid.page.visit import Person
from slotid.types import FaceTrack, Request, Result, SlotIDError, Step

KINDS = {
    "with and without identity": "the same film for nobody in particular, and for this person",
    "strength": "identity from nothing to exaggerated",
    "clip or one still": "the whole clip as reference, or only its anchor frame",
    "looks of A, habits of B": "how A looks, moving as B moves (slots swapped)",
    "methods": "the chosen methods on the same wish",
}
EMPTY = "Press Compare: the films appear here side by side. They use the sentence and the settings of step 3."


@dataclass(frozen=True)
class Entry:
    """One film of a comparison."""

    caption: str
    request: Request
    method: str = "slots"
    backbone: str | None = None


def still_of(face: FaceTrack, index: int) -> FaceTrack:
    """The track cut down to one frame: what a picture instead of a clip would give."""
    at = slice(index, index + 1)
    quality = replace(face.quality, **{f.name: getattr(face.quality, f.name)[at] for f in fields(face.quality)})
    arrays = {name: getattr(face, name)[at] for name in ("crops", "boxes", "landmarks", "seen")}
    return replace(face, quality=quality, seconds=np.zeros(1), **arrays)


def entries(
    engine: Engine,
    kind: str,
    person: Person | None,
    other: Person | None,
    wish: Request,
    methods: Sequence[str] = (),
    method: str = "slots",
    backbone: str | None = None,
) -> list[Entry]:
    """The films of one comparison. ``methods``: whom to hold against each other, empty for all that are installed; ``method`` makes the
    other kinds. Raises SlotIDError where something is missing, saying what to do."""
    if kind not in KINDS:
        raise SlotIDError(f"'{kind}' is no comparison; choose one of: {', '.join(KINDS)}.")
    if person is None:
        raise SlotIDError("Read a clip first (step 1): there is nobody to compare with yet.")
    own = replace(wish, reference=person.reference)
    if kind == "methods":
        here = engine.methods(backbone)
        chosen = [name for name in here if name in methods] if methods else here
        if len(chosen) < 2:
            raise SlotIDError(f"Choose at least two methods to compare; installed are: {', '.join(here)}.")
        return [Entry(name, replace(own, reference=None if name == "none" else own.reference), name, backbone) for name in chosen]
    if method == "none":
        raise SlotIDError("The method `none` knows nobody: choose another one in fine tuning to compare with.")

    def entry(caption: str, **changes: Any) -> Entry:
        return Entry(caption, replace(own, **changes), method, backbone)

    if kind == "with and without identity":
        return [entry("without identity", strength=0.0), entry(f"identity {own.strength:g}")]
    if kind == "strength":
        return [entry(f"strength {value:g}", strength=value) for value in (0.0, 0.5, 1.0, 1.5, 2.0)]
    if kind == "clip or one still":
        if person.face is None:
            raise SlotIDError("A saved code has no clip to take a still from: read a clip instead.")
        still = still_of(person.face, int(person.code.shown["anchor_frame"]))
        return [entry("one still", reference=still), entry("the whole clip")]
    if other is None:
        raise SlotIDError("Keep somebody as B first: read B's clip in step 1, press `Keep as B`, then read A's clip.")
    if other.code is person.code:
        raise SlotIDError("A and B are the same clip: read another clip in step 1 to be A.")
    swapped = engine.studio("slots", engine.reader()).method.swapped
    parts = (
        ("A", person.code),
        ("looks of A, habits of B", swapped(person.code, other.code)),
        ("looks of B, habits of A", swapped(other.code, person.code)),
        ("B", other.code),
    )
    return [Entry(caption, replace(own, reference=code)) for caption, code in parts]


Made = list[tuple[str, Result]]  # caption and film


def films(engine: Engine, plan: Sequence[Entry], stopper: Stopper | None = None) -> Iterator[tuple[str, Step | None, Made]]:
    """Makes the films one after another, in one turn of the line; yields (what it does, its step, films so far). Ends early on Stop."""
    made: Made = []
    first = plan[0].request
    ticket = engine.line.enter(engine.expected(first.steps or 1, first.seconds, len(plan)))
    try:
        for place, seconds in engine.line.wait(ticket, lambda: stopper is not None and stopper.asked):
            yield waiting_words(place, seconds), None, made
        for number, entry in enumerate(plan, 1):
            result = None
            if stopper is not None and stopper.asked:
                return
            request = replace(entry.request, preview_every=0, likeness=False)
            for event in film_events(engine, request, entry.method, entry.backbone, stopper):
                if isinstance(event, Result):
                    result = event
                    continue
                later = engine.expected(first.steps or 1, first.seconds, len(plan) - number)
                left = None if event.seconds_left is None else event.seconds_left + later
                if left is not None:
                    ticket.expect(left)
                name = SPEAK.get(event.stage, event.stage).lower()
                yield f"Film {number} of {len(plan)}, {entry.caption}: {name}", replace(event, seconds_left=left), made
            if result is None:
                return
            made = [*made, (entry.caption, result)]
            yield f"Film {number} of {len(plan)} is ready", None, made
    finally:
        engine.line.leave(ticket)


def cell_html(caption: str, result: Result, face: FaceTrack | None) -> str:
    """One film with its caption, and its likeness to A where that can be measured."""
    from slotid.show.paint import data_uri, escape, webp

    words = ""
    if face is not None:
        from slotid.face.likeness import film_likeness

        values = film_likeness(face, result.clip)
        values = values[np.isfinite(values)]
        words = f"likeness {values.mean():.2f}" if len(values) else "no face found"
    picture = data_uri(webp(result.clip.frames, result.clip.seconds, quality=86), "webp")
    under = f"<figcaption><b>{escape(caption)}</b><span>{words}</span></figcaption>"
    return f'<figure><img src="{picture}" alt="Film: {escape(caption)}">{under}</figure>'


def sweep_html(cells: Sequence[str], count: int) -> str:
    """The films made so far side by side, with empty places for those to come."""
    ghosts = "<figure class='ghost'><i></i><figcaption>&nbsp;</figcaption></figure>" * (count - len(cells))
    return f'<div class="sweep" style="--count:{count}">{"".join(cells)}{ghosts}</div>'


def lay_out(engine: Engine, person: gr.State, made: SimpleNamespace) -> SimpleNamespace:
    """Builds the section on the settings of step 3 (``made``); returns its parts."""
    gr.HTML(step(4, "Compare", "same sentence, same seed, one thing changed"))
    other, stopper = gr.State(None, time_to_live=3600), gr.State(None)
    first = next(iter(KINDS))
    kind = gr.Radio(list(KINDS), value=first, label="What changes", show_label=False, elem_id="kind", elem_classes="pills")
    says = gr.HTML(f"<p>{KINDS[first].capitalize()}.</p>", elem_id="says")
    methods = gr.CheckboxGroup(
        engine.methods(), value=engine.methods(), label="Methods", show_label=False, elem_id="methods", elem_classes="pills", visible=False
    )
    with gr.Row(elem_classes="acts", visible=False) as two:
        keep = gr.Button("Keep this person as B", size="sm", elem_id="keep_b")
        told = gr.HTML(notice("Read B's clip in step 1 and keep it here; then read A's clip."), elem_id="told_b")
    with gr.Row(elem_classes="pair short"):
        compare = gr.Button("Compare", variant="primary", elem_id="compare")
        stop = gr.Button("Stop", variant="stop", elem_id="stop_compare", interactive=False)
    walk = gr.HTML(walk_html(None), elem_id="walk_compare")
    sweep = gr.HTML(empty(EMPTY, "strip"), elem_id="sweep")

    def choose(kind: str) -> list[Any]:
        return [f"<p>{KINDS[kind].capitalize()}.</p>", gr.update(visible=kind == "methods"), gr.update(visible=kind.startswith("looks"))]

    def keep_b(known: Person | None) -> list[Any]:
        if known is None:
            return [gr.skip(), notice("Read B's clip first (step 1).", "error")]
        return [known, notice(f"B is {known.title}. Now read another clip to be A.")]

    def arm() -> list[Any]:
        return [Stopper(), gr.update(interactive=False), gr.update(interactive=True), walk_html(None, "Getting ready…")]

    idle = [gr.update(interactive=True), gr.update(interactive=False)]

    def run(
        kind: str, methods: list[str], known: Person | None, other: Person | None, stopper: Stopper, *settings: Any
    ) -> Iterator[list[Any]]:
        face, cells = known.face if known is not None else None, []
        backbone, method = settings[-2:]
        try:
            plan = entries(engine, kind, known, other, wish_of(settings), methods, method, backbone)
            yield [gr.skip(), sweep_html([], len(plan)), *[gr.skip()] * 2]
            for said, event, results in films(engine, plan, stopper):
                html = gr.skip()
                if len(results) != len(cells):
                    cells.append(cell_html(*results[-1], face))
                    html = sweep_html(cells, len(plan))
                yield [walk_html(event, said), html, *[gr.skip()] * 2]
        except SlotIDError as error:
            yield [notice(str(error), "error"), gr.skip(), *idle]
            return
        yield [walk_html(None, "Stopped; the films made so far stay." if stopper.asked else "Done."), gr.skip(), *idle]

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    kind.input(choose, kind, [says, methods, two], **quiet)
    made.backbone.input(lambda name: gr.update(choices=engine.methods(name), value=engine.methods(name)), made.backbone, methods, **quiet)
    keep.click(keep_b, person, [other, told], **quiet)
    armed = compare.click(arm, None, [stopper, compare, stop, walk], **quiet)
    armed.then(
        run, [kind, methods, person, other, stopper, *made.settings], [walk, sweep, compare, stop], concurrency_limit=None,
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip

    def halt(stopper: Stopper | None) -> Any:
        if stopper is not None:
            stopper.stop()
        return gr.update(interactive=False)

    stop.click(halt, stopper, stop, **quiet)
    blank = [(other, None), (sweep, empty(EMPTY, "strip")), (walk, walk_html(None)), (told, "")]  # what a deleted visit looks like
    return SimpleNamespace(blank=blank)
