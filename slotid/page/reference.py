"""Step 1: a clip (or a saved code) becomes a person; what was found, and how good the clip is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from slotid.page.engine import Engine
from slotid.page.line import waiting_words
from slotid.page.style import PICK_JS, TO_FOUND_JS, empty, label, notice, step, thumbs
from slotid.page.visit import Person, forget, own_folder
from slotid.types import Clip, SlotIDError

CONSENT = "This is me, or I may use this face."
NOTHING = (
    "Here you will see the face that was found, the crop that the slots read, and whether the clip is good enough.<br>"
    "A few seconds of one person, turning the head and smiling a little, read best."
)
READ_SECONDS = 5.0  # what a reading is thought to take, for those who wait behind it


@dataclass(frozen=True)
class Reading:
    """How far the reading is; ``person`` comes with the last one."""

    words: str
    person: Person | None = None


def read_person(
    engine: Engine, path: str, pick: tuple[float, float] | int | None = None, clip: Clip | None = None, title: str | None = None
) -> Iterator[Reading]:
    """Clip -> face -> code, telling what it does. ``pick`` chooses among several people. Raises SlotIDError."""
    from slotid.clip import read_clip
    from slotid.face.track import track_face

    ticket = engine.line.enter(READ_SECONDS)
    try:
        for place, seconds in engine.line.wait(ticket):
            yield Reading(waiting_words(place, seconds))
        yield Reading("Looking at the clip…")
        clip = read_clip(path, max_side=960) if clip is None else clip
        yield Reading("Following the face…")
        face = track_face(clip, pick, engine.crop_pixels())
        yield Reading("Opening the models…" if engine.state != "ready" else "Reading the identity…")
        code = engine.remember(face)
    finally:
        engine.line.leave(ticket)
    yield Reading("Done", Person(code, face, clip, title or Path(path).name))


def found_html(person: Person) -> str:
    """The three pictures, and what was changed on the way in."""
    from slotid.show.reference import reference_html

    if person.face is None or person.clip is None:
        return notice(f"A saved code ({person.title}): there is no clip to look at, and likeness cannot be measured without one.")
    anchor = int(person.code.shown.get("anchor_frame", 0))
    notices = dict.fromkeys((*person.clip.notices, *person.face.notices))
    return reference_html(person.clip, person.face, anchor) + "".join(notice(text, "weak") for text in notices)


def several_html(person: Person) -> str:
    """The clip's first frame with a button over every face; empty where there is one person only."""
    from slotid.show.reference import people_html

    others = None if person.face is None else person.face.others
    if person.clip is None or others is None or len(others) < 2:
        return ""
    return label(f"{len(others)} people in view", "click the face that should be read") + people_html(person.clip, others)


def meter_of(person: Person) -> str:
    """The reference meter, empty for a saved code."""
    if person.face is None:
        return ""
    from slotid.face.quality import reference_report
    from slotid.show.meter import meter_html

    return meter_html(reference_report(person.face))


def examples_of(root: Path) -> list[tuple[str, str, str]]:
    """(name, reference clip, prompt) of every folder in ``root``; empty where there is none."""
    found = []
    for clip in sorted(root.glob("*/reference.mp4")):
        prompt = clip.with_name("prompt.txt")
        words = prompt.read_text(encoding="utf-8").strip() if prompt.is_file() else "a person smiles"
        found.append((clip.parent.name.replace("_", " "), str(clip), words))
    return found


def _poster(path: str) -> str:
    from slotid.clip import read_clip
    from slotid.show.paint import data_uri, jpeg, resize

    frames = read_clip(path, max_seconds=0.5, max_side=256).frames
    return data_uri(jpeg(resize(frames[len(frames) // 2 :][:1], 160)[0], 86), "jpeg")


def lay_out(engine: Engine, examples: list[tuple[str, str, str]]) -> SimpleNamespace:
    """Builds the section; returns its parts. ``person`` (state) changes when somebody was read or deleted."""
    person = gr.State(None, time_to_live=3600)
    gr.HTML(step(1, "A clip of somebody", "a few seconds are enough: how they look, and how they move"))
    with gr.Row(equal_height=False, elem_classes="two"):
        with gr.Column(min_width=280):
            gallery = gr.HTML(
                label("Somebody who does not exist", "one click reads the clip")
                + thumbs(((_poster(path), f"Read the example {name}", "") for name, path, _ in examples), "row"),
                js_on_load=PICK_JS, elem_id="examples", visible=bool(examples),
            )  # fmt: skip
            gr.HTML(label("Or you", "upload or record"))
            clip = gr.Video(
                label="Your clip", sources=["upload", "webcam"], height=280, elem_id="clip", buttons=[], show_label=False,
                webcam_options=gr.WebcamOptions(mirror=False),
            )  # fmt: skip
            consent = gr.Checkbox(
                label=CONSENT, info="It stays in this session's memory, and is gone when you delete it or leave.", elem_id="consent"
            )
            read = gr.Button("Read this clip", variant="primary", elem_id="read", interactive=False)
            load = gr.UploadButton("Or load a saved code", file_types=[".safetensors"], elem_id="load_code", size="sm", interactive=False)
        with gr.Column(min_width=280):
            told = gr.HTML(elem_id="told")
            found = gr.HTML(empty(NOTHING, "tall"), elem_id="found")
            several = gr.HTML(elem_id="crowd", js_on_load=PICK_JS)
            meter = gr.HTML(elem_id="meter")
            with gr.Row(elem_classes="acts"):
                save = gr.Button("Save this person's code", elem_id="save_code", size="sm", visible=False)
                code_file = gr.DownloadButton("Download the code", visible=False, elem_id="code_file", size="sm", variant="primary")
                delete = gr.Button("Delete my clip, code and films", variant="stop", elem_id="delete", visible=False, size="sm")
    parts = SimpleNamespace(**{k: v for k, v in locals().items() if isinstance(v, gr.blocks.Block)}, examples=examples)
    _wire(engine, parts)
    return parts


def _wire(engine: Engine, p: SimpleNamespace) -> None:
    outputs = [p.person, p.told, p.found, p.several, p.meter, p.delete, p.save, p.code_file]
    quiet = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    work = {"concurrency_limit": None, "api_visibility": "private", "show_progress": "hidden"}  # the engine's line lets one work at a time

    def show(person: Person) -> list[Any]:
        return [
            person, "", found_html(person), several_html(person), meter_of(person), gr.update(visible=True), gr.update(visible=True),
            gr.update(visible=False, value=None),
        ]  # fmt: skip

    def keep(words: str, kind: str = "") -> list[Any]:
        return [gr.skip(), notice(words, kind)] + [gr.skip()] * (len(outputs) - 2)

    def reading(path: str | None, title: str | None = None, pick: Any = None, clip: Clip | None = None) -> Iterator[list[Any]]:
        if not path:
            yield keep("Choose or record a clip first.", "error")
            return
        try:
            for stage in read_person(engine, path, pick, clip, title):
                yield show(stage.person) if stage.person is not None else keep(stage.words, "busy")
        except SlotIDError as error:
            yield keep(str(error), "error")

    def read_own(path: str | None, consent: bool) -> Iterator[list[Any]]:
        if not consent:
            yield keep(f"Please tick “{CONSENT}” first: nothing is read before that.", "error")
            return
        yield from reading(path)

    def read_example(event: gr.EventData) -> Iterator[list[Any]]:
        name, path, _ = p.examples[event.pick]
        yield from reading(path, name)

    def pick(person: Person | None, event: gr.EventData) -> Iterator[list[Any]]:
        if person is None or person.clip is None:
            yield keep("Read a clip first.", "error")
            return
        x0, y0, x1, y1 = (float(v) for v in person.face.others[event.pick])
        yield from reading(person.title, person.title, ((x0 + x1) / 2, (y0 + y1) / 2), person.clip)

    def load_code(path: str, consent: bool) -> list[Any]:
        from slotid.identity.codes import load_code as read_code

        if not consent:
            return keep(f"Please tick “{CONSENT}” first: nothing is read before that.", "error")
        try:
            return show(Person(read_code(path), title=Path(path).name))
        except SlotIDError as error:
            return keep(str(error), "error")

    def save_code(person: Person | None) -> list[Any]:
        from slotid.identity.codes import save_code as write_code

        if person is None:
            return [gr.skip(), gr.skip()]
        path = own_folder() / "person.safetensors"
        write_code(person.code, path)
        return [gr.update(visible=False), gr.update(value=str(path), visible=True)]

    def delete(*paths: str | None) -> list[Any]:
        forget(list(paths))
        told = notice("Deleted: the clip, the code and this visit's films are gone from here.")
        off = gr.update(visible=False)
        return [None, told, empty(NOTHING, "tall"), "", "", off, off, gr.update(visible=False, value=None), None, False]

    def ready(clip: str | None, consent: bool) -> list[Any]:
        return [gr.update(interactive=bool(clip and consent)), gr.update(interactive=bool(consent))]

    gr.on([p.clip.change, p.consent.change], ready, [p.clip, p.consent], [p.read, p.load], **quiet)
    p.read.click(read_own, [p.clip, p.consent], outputs, **work)
    p.gallery.select(read_example, None, outputs, **work)
    p.several.select(pick, p.person, outputs, **work)
    for press in (p.read.click, p.gallery.select):
        press(None, None, None, js=TO_FOUND_JS, **quiet)
    # A state's change is noticed only by events that pass the queue: what follows the person waits for these two.
    p.load.upload(load_code, [p.load, p.consent], outputs, **work)
    p.save.click(save_code, p.person, [p.save, p.code_file], **quiet)
    p.deleted = p.delete.click(delete, [p.clip, p.code_file, p.load], [*outputs, p.clip, p.consent], **work)
