"""Step 4: films beside each other, same sentence, same seed, one thing changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np

from slotid.page.engine import Engine, Stopper, on_gpu
from slotid.page.making import SPEAK, film_events
from slotid.page.style import empty, notice, step
from slotid.page.visit import Person
from slotid.types import FaceTrack, Request, Result, SlotIDError

KINDS = {
    "with and without identity": "the same film for nobody in particular, and for this person",
    "strength": "identity from nothing to exaggerated",
    "clip or one still": "the whole clip as reference, or only its anchor frame",
    "looks of A, habits of B": "how A looks, moving as B moves (slots swapped)",
    "methods": "every installed method on the same wish",
}
EMPTY = "Choose what to compare, then press Compare: it uses the sentence and the settings of step 3."


@dataclass(frozen=True)
class Entry:
    """One film of a comparison."""

    caption: str
    request: Request
    method: str = "slots"


def still_of(face: FaceTrack, index: int) -> FaceTrack:
    """The track cut down to one frame: what a picture instead of a clip would give."""
    at = slice(index, index + 1)
    quality = replace(face.quality, **{f.name: getattr(face.quality, f.name)[at] for f in fields(face.quality)})
    arrays = {name: getattr(face, name)[at] for name in ("crops", "boxes", "landmarks", "seen")}
    return replace(face, quality=quality, seconds=np.zeros(1), **arrays)


def entries(engine: Engine, kind: str, person: Person | None, other: Person | None, wish: Request) -> list[Entry]:
    """The films of one comparison. Raises SlotIDError where something is missing, saying what to do."""
    if kind not in KINDS:
        raise SlotIDError(f"'{kind}' is no comparison; choose one of: {', '.join(KINDS)}.")
    if person is None:
        raise SlotIDError("Read a clip first (step 1): there is nobody to compare with yet.")
    own = replace(wish, reference=person.reference)
    if kind == "with and without identity":
        return [Entry("without identity", replace(own, strength=0.0)), Entry(f"identity {own.strength:g}", own)]
    if kind == "strength":
        return [Entry(f"strength {value:g}", replace(own, strength=value)) for value in (0.0, 0.5, 1.0, 1.5, 2.0)]
    if kind == "clip or one still":
        if person.face is None:
            raise SlotIDError("A saved code has no clip to take a still from: read a clip instead.")
        still = still_of(person.face, int(person.code.shown["anchor_frame"]))
        return [Entry("one still", replace(own, reference=still)), Entry("the whole clip", own)]
    if kind == "methods":
        return [Entry(name, replace(own, reference=None if name == "none" else own.reference), name) for name in engine.methods()]
    if other is None:
        raise SlotIDError("Keep somebody as B first: read B's clip in step 1, press `Keep as B`, then read A's clip.")
    if other.code is person.code:
        raise SlotIDError("A and B are the same clip: read another clip in step 1 to be A.")
    method = engine.studio("slots").method
    return [
        Entry("A", replace(own, reference=person.code)),
        Entry("looks of A, habits of B", replace(own, reference=method.swapped(person.code, other.code))),
        Entry("looks of B, habits of A", replace(own, reference=method.swapped(other.code, person.code))),
        Entry("B", replace(own, reference=other.code)),
    ]


def films(
    engine: Engine, kind: str, person: Person | None, other: Person | None, wish: Request, stopper: Stopper | None = None
) -> Iterator[tuple[str, list[tuple[str, Result]]]]:
    """Makes the films one after another; yields (what it does, films so far). Ends early on Stop."""
    made: list[tuple[str, Result]] = []
    plan = entries(engine, kind, person, other, replace(wish, preview_every=0, likeness=False))
    for number, entry in enumerate(plan, 1):
        result = None
        for event in film_events(engine, entry.request, entry.method, None, stopper):
            if isinstance(event, Result):
                result = event
            else:
                name = SPEAK.get(event.stage, event.stage)
                yield f"Film {number} of {len(plan)}, {entry.caption}: {name.lower()} {event.step}/{event.steps}", made
        if result is None:
            return
        made = [*made, (entry.caption, result)]
        yield f"Film {number} of {len(plan)} is ready", made


def sweep_html(made: list[tuple[str, Result]], face: FaceTrack | None) -> str:
    """The films side by side with captions, each with its likeness to A where that can be measured."""
    from slotid.show.paint import data_uri, escape, webp

    cells = []
    for caption, result in made:
        words = caption
        if face is not None:
            from slotid.face.likeness import film_likeness

            values = film_likeness(face, result.clip)
            values = values[np.isfinite(values)]
            words += f" · likeness {values.mean():.2f}" if len(values) else " · no face found"
        picture = data_uri(webp(result.clip.frames, result.clip.seconds, quality=86), "webp")
        cells.append(f'<figure><img src="{picture}" alt="Film: {escape(caption)}"><figcaption>{escape(words)}</figcaption></figure>')
    return f'<div class="sweep">{"".join(cells)}</div>'


def lay_out(engine: Engine, person: gr.State, made: SimpleNamespace) -> SimpleNamespace:
    """Builds the section on the settings of step 3 (``made``); returns its parts."""
    gr.HTML(step(4, "Compare", "same sentence, same seed, one thing changed"))
    other, stopper = gr.State(None, time_to_live=3600), gr.State(Stopper)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280):
            kind = gr.Radio([(f"{name}: {what}", name) for name, what in KINDS.items()], value="with and without identity",
                            label="What changes", elem_id="kind")  # fmt: skip
            keep = gr.Button("Keep this person as B", size="sm", elem_id="keep_b")
            told = gr.HTML(elem_id="told_b")
            with gr.Row(elem_classes="pair"):
                compare = gr.Button("Compare", variant="primary", elem_id="compare")
                stop = gr.Button("Stop", variant="stop", elem_id="stop_compare", interactive=False)
        with gr.Column(scale=7, min_width=300):
            walk = gr.HTML(elem_id="walk_compare")
            sweep = gr.HTML(empty(EMPTY), elem_id="sweep")

    def keep_b(known: Person | None) -> list[Any]:
        if known is None:
            return [gr.skip(), notice("Read B's clip first (step 1).", "error")]
        return [known, notice(f"B is {known.title}. Now read another clip to be A.")]

    def arm() -> list[Any]:
        return [Stopper(), gr.update(interactive=False), gr.update(interactive=True), notice("Waiting for a turn…")]

    idle = [gr.update(interactive=True), gr.update(interactive=False)]

    @on_gpu
    def run(kind: str, known: Person | None, other: Person | None, stopper: Stopper, *settings: Any) -> Iterator[list[Any]]:
        prompt, strength, text, identity, steps, seconds, seed, *_ = settings
        face = known.face if known is not None else None
        shown, html = -1, gr.skip()
        try:
            wish = Request(
                prompt=prompt or "", reference=None, strength=float(strength), text_guidance=float(text),
                identity_guidance=float(identity), steps=int(steps), seconds=float(seconds), seed=int(seed or 0),
            )  # fmt: skip
            for said, results in films(engine, kind, known, other, wish, stopper):
                if len(results) != shown:
                    shown, html = len(results), sweep_html(results, face) if results else empty("The films appear here one by one.")
                    yield [notice(said), html, *[gr.skip()] * 2]
                else:
                    yield [notice(said), *[gr.skip()] * 3]
        except SlotIDError as error:
            yield [notice(str(error), "error"), gr.skip(), *idle]
            return
        yield [notice("Stopped; the films made so far stay." if stopper.asked else "Done."), gr.skip(), *idle]

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    keep.click(keep_b, person, [other, told], **quiet)
    armed = compare.click(arm, None, [stopper, compare, stop, walk], **quiet)
    armed.then(
        run, [kind, person, other, stopper, *made.settings], [walk, sweep, compare, stop], concurrency_id="cpu", concurrency_limit=1,
        show_progress="minimal", show_progress_on=walk, api_visibility="private",
    )  # fmt: skip
    stop.click(lambda stopper: stopper.stop(), stopper, None, **quiet)
    blank = [(other, None), (sweep, empty(EMPTY)), (walk, ""), (told, "")]  # what a deleted visit looks like
    return SimpleNamespace(blank=blank)
