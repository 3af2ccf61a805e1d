"""Step 1: a clip (or a saved code) becomes a person; what was found, and how good the clip is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np

from slotid.page.engine import Engine
from slotid.page.style import empty, notice, step
from slotid.page.visit import Person, forget, own_folder
from slotid.types import Clip, SlotIDError

CONSENT = "This is me, or I may use this face."
NOTHING = "Choose a clip on the left: a few seconds of one face, turning and smiling a little, read best."


@dataclass(frozen=True)
class Reading:
    """How far the reading is; ``person`` comes with the last one."""

    words: str
    person: Person | None = None


def read_person(engine: Engine, path: str, pick: tuple[float, float] | int | None = None, clip: Clip | None = None) -> Iterator[Reading]:
    """Clip -> face -> code, telling what it does. ``pick`` chooses among several people. Raises SlotIDError."""
    from slotid.clip import read_clip
    from slotid.face.track import track_face

    yield Reading("Looking at the clip…")
    clip = read_clip(path, max_side=960) if clip is None else clip
    yield Reading("Following the face…")
    face = track_face(clip) if pick is None else track_face(clip, pick=pick)
    yield Reading("Opening the models…" if engine.state != "ready" else "Reading the identity…")
    studio = engine.studio("slots")
    with engine.work:
        code = studio.method.remember(face, studio.backbone.to_latent)
    yield Reading("Done", Person(code, face, clip, Path(path).name))


def faces_of(person: Person) -> np.ndarray:
    """Boxes of everybody in view, the chosen one first: (P, 4)."""
    face = person.face
    return np.zeros((0, 4)) if face is None or face.others is None else np.asarray(face.others)


def found_html(person: Person) -> str:
    """The three pictures, and what was changed on the way in."""
    from slotid.show.reference import reference_html

    if person.face is None or person.clip is None:
        return notice(f"A saved code ({person.title}): there is no clip to look at, and likeness cannot be measured without one.")
    anchor = int(person.code.shown.get("anchor_frame", 0))
    notices = dict.fromkeys((*person.clip.notices, *person.face.notices))
    return reference_html(person.clip, person.face, anchor) + "".join(notice(text, "weak") for text in notices)


def meter_of(person: Person) -> str:
    """The reference meter, empty for a saved code."""
    if person.face is None:
        return ""
    from slotid.face.quality import reference_report
    from slotid.show.meter import meter_html

    return meter_html(reference_report(person.face))


def examples_of(root: Path) -> list[tuple[str, str, str]]:
    """(name, reference clip, prompt) of every folder in ``examples``; empty where there is none."""
    found = []
    for clip in sorted(root.glob("*/reference.mp4")):
        prompt = clip.with_name("prompt.txt")
        words = prompt.read_text(encoding="utf-8").strip() if prompt.is_file() else "a person smiles"
        found.append((clip.parent.name.replace("_", " "), str(clip), words))
    return found


def _poster(path: str) -> np.ndarray:
    from slotid.clip import read_clip

    clip = read_clip(path, max_seconds=0.5, max_side=256)
    return clip.frames[len(clip.frames) // 2]


def lay_out(engine: Engine, root: Path) -> SimpleNamespace:
    """Builds the section; returns its parts. ``person`` (state) changes when somebody was read or deleted."""
    examples = examples_of(root / "examples")
    person = gr.State(None, time_to_live=3600)
    gr.HTML(step(1, "Reference", "a short clip of one person: how they look, and how they move"))
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            consent = gr.Checkbox(
                label=CONSENT, info="Your clip stays in this session's memory and is gone when you delete it or leave.", elem_id="consent"
            )
            clip = gr.Video(
                label="Clip",
                sources=["upload", "webcam"],
                height=300,
                elem_id="clip",
                webcam_options=gr.WebcamOptions(mirror=False),
                buttons=[],
            )
            read = gr.Button("Read this clip", variant="primary", elem_id="read", interactive=False)
            gallery = gr.Gallery(
                value=[(_poster(path), name) for name, path, _ in examples] or None,
                label="Or try somebody who does not exist: one click",
                columns=4, rows=1, height=150, object_fit="cover", allow_preview=False, elem_id="examples",
                visible=bool(examples), interactive=False, buttons=[],
            )  # fmt: skip
            with gr.Accordion("Saved codes", open=False):
                load = gr.UploadButton("Load a code instead of a clip", file_types=[".safetensors"], elem_id="load_code")
                save = gr.Button("Save this person's code", elem_id="save_code", interactive=False)
                code_file = gr.DownloadButton("Download the code", visible=False, elem_id="code_file", variant="primary")
        with gr.Column(scale=6, min_width=300):
            told = gr.HTML(elem_id="told")
            found = gr.HTML(empty(NOTHING), elem_id="found")
            with gr.Group(visible=False) as several:
                crowd = gr.Image(
                    label="Several people: click a face, or choose a number", interactive=False, buttons=[], elem_id="crowd", type="numpy"
                )
                number = gr.Radio([], label="Person", elem_id="person_number")
            meter = gr.HTML(elem_id="meter")
            delete = gr.Button("Delete my clip, code and films", variant="stop", elem_id="delete", visible=False, size="sm")
    parts = SimpleNamespace(**{k: v for k, v in locals().items() if isinstance(v, gr.blocks.Block)}, examples=examples)
    _wire(engine, parts)
    return parts


def _wire(engine: Engine, p: SimpleNamespace) -> None:
    outputs = [p.person, p.told, p.found, p.several, p.crowd, p.number, p.meter, p.delete, p.save, p.code_file]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}

    def show(person: Person) -> list[Any]:
        from slotid.show.reference import people

        boxes = faces_of(person)
        many = len(boxes) > 1 and person.clip is not None
        picture = people(person.clip, boxes) if many else None
        choices = [(f"Person {k + 1}" + (" (read)" if k == 0 else ""), k) for k in range(len(boxes))] if many else []
        return [
            person, "", found_html(person), gr.update(visible=many), picture, gr.update(choices=choices, value=0 if many else None),
            meter_of(person), gr.update(visible=True), gr.update(interactive=True), gr.update(visible=False, value=None),
        ]  # fmt: skip

    def keep(words: str, kind: str = "") -> list[Any]:
        return [gr.skip(), notice(words, kind)] + [gr.skip()] * (len(outputs) - 2)

    def reading(path: str | None, pick: Any = None, known: Person | None = None) -> Iterator[list[Any]]:
        if not path:
            yield keep("Choose or record a clip first.", "error")
            return
        try:
            for stage in read_person(engine, path, pick, known.clip if known is not None else None):
                yield show(stage.person) if stage.person is not None else keep(stage.words)
        except SlotIDError as error:
            yield keep(str(error), "error")

    def read_own(path: str | None, consent: bool) -> Iterator[list[Any]]:
        if not consent:
            yield keep(f"Please tick “{CONSENT}” first: nothing is read before that.", "error")
            return
        yield from reading(path)

    def read_example(event: gr.SelectData) -> Iterator[list[Any]]:
        yield from reading(p.examples[event.index][1])

    def pick_click(person: Person | None, event: gr.SelectData) -> Iterator[list[Any]]:
        if person is None or person.clip is None:
            yield keep("Read a clip first.", "error")
            return
        height, width = person.clip.frames.shape[1:3]
        scale = 480 / max(height, width)
        x, y = event.index
        yield from reading(person.title, (x / scale, y / scale), person)

    def pick_number(person: Person | None, index: int | None) -> Iterator[list[Any]]:
        if person is None or person.clip is None or not index:
            yield keep("This person is already the one that was read.") if person is not None else keep("Read a clip first.", "error")
            return
        x0, y0, x1, y1 = (float(v) for v in faces_of(person)[index])
        yield from reading(person.title, ((x0 + x1) / 2, (y0 + y1) / 2), person)

    def load_code(path: str) -> list[Any]:
        from slotid.identity.codes import load_code as read_code

        try:
            return show(Person(read_code(path), title=Path(path).name))
        except SlotIDError as error:
            return keep(str(error), "error")

    def save_code(person: Person | None) -> Any:
        from slotid.identity.codes import save_code as write_code

        if person is None:
            return gr.skip()
        path = own_folder() / "person.safetensors"
        write_code(person.code, path)
        return gr.update(value=str(path), visible=True)

    def delete(clip: str | None, code: str | None, person: Person | None) -> list[Any]:
        forget([clip, code])
        told = notice(
            "Deleted: the clip, the code and this visit's films are gone from here." if person else "There was nothing to delete."
        )
        off = gr.update(visible=False)
        empty_form = [None, told, empty(NOTHING), off, None, gr.update(choices=[], value=None), "", off, gr.update(interactive=False)]
        return [*empty_form, gr.update(visible=False, value=None), None, False]

    def ready(clip: str | None, consent: bool) -> Any:
        return gr.update(interactive=bool(clip and consent))

    gr.on([p.clip.change, p.consent.change], ready, [p.clip, p.consent], p.read, queue=False, **quiet)
    work = {
        "concurrency_id": "cpu",
        "concurrency_limit": 1,
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": p.told,
    }
    p.read.click(read_own, [p.clip, p.consent], outputs, **work)
    if p.examples:
        p.gallery.select(read_example, None, outputs, **work)
    p.crowd.select(pick_click, p.person, outputs, **work)
    p.number.input(pick_number, [p.person, p.number], outputs, **work)
    p.load.upload(load_code, p.load, outputs, **quiet)
    p.save.click(save_code, p.person, p.code_file, **quiet)
    p.deleted = p.delete.click(delete, [p.clip, p.code_file, p.person], [*outputs, p.clip, p.consent], queue=False, **quiet)
