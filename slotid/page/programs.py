"""Named endpoints for programs: read, generate, compare. The same work as the page's, without a session: nothing is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from slotid.page.compare import KINDS, films
from slotid.page.engine import Engine, on_gpu
from slotid.page.making import film_events, keep_film
from slotid.page.reference import CONSENT, read_person
from slotid.page.visit import Person, own_folder
from slotid.types import Request, SlotIDError


def _person(engine: Engine, reference: str | None, consent: bool) -> Person:
    if not reference:
        raise SlotIDError("No reference was given; send a clip or an identity code as `reference`.")
    if Path(reference).suffix == ".safetensors":
        from slotid.identity.codes import load_code

        return Person(load_code(reference), title=Path(reference).name)
    if not consent:
        raise SlotIDError(f"Set `consent` to true to say: {CONSENT} Nothing is read before that.")
    *_, last = read_person(engine, reference)
    return last.person


def lay_out(engine: Engine) -> None:
    """Adds the endpoints ``/read``, ``/generate`` and ``/compare``."""

    def told(function):
        """A SlotIDError becomes the caller's error message instead of a bare failure."""
        from functools import wraps

        @wraps(function)
        def inner(*args: Any) -> Any:
            try:
                return function(*args)
            except SlotIDError as error:
                raise gr.Error(str(error), print_exception=False) from error

        return inner

    @told
    @on_gpu
    def read(reference: str | None, consent: bool) -> tuple[dict[str, Any], str]:
        """Read a person from a clip: what was found, how good the clip is, what the slots took, and the identity code as a file."""
        from slotid.face.quality import reference_report
        from slotid.identity.codes import save_code

        person = _person(engine, reference, consent)
        path = own_folder() / "person.safetensors"
        save_code(person.code, path)
        shown = person.shown()
        report: dict[str, Any] = {"method": person.code.method, "version": person.code.version}
        if person.face is not None:
            rows = reference_report(person.face)
            report["meter"] = [{"name": n, "value": str(v), "grade": g, "advice": a} for n, v, g, a in rows]
            report["frames"], report["frames_with_face"] = len(person.face.seen), int(person.face.seen.sum())
        if shown is not None:
            report["slots"] = [
                {"name": name, "gate": float(gate), "mass": float(mass)}
                for name, gate, mass in zip(shown.names, shown.gates, shown.mass, strict=True)
            ]
        return report, str(path)

    @told
    @on_gpu
    def generate(
        reference: str | None, prompt: str, consent: bool, strength: float, text_guidance: float, identity_guidance: float, steps: int,
        seconds: float, seed: int,
    ) -> tuple[str, dict[str, Any]]:  # fmt: skip
        """Make a film of the person in a clip (or of a saved identity code) from a sentence. Returns the mp4 and its settings."""
        person = _person(engine, reference, consent)
        request = Request(
            prompt=prompt or "", reference=person.reference, strength=strength, text_guidance=text_guidance,
            identity_guidance=identity_guidance, steps=int(steps), seconds=seconds, seed=int(seed), preview_every=0,
        )  # fmt: skip
        *_, result = film_events(engine, request, "slots", None, None)
        film = keep_film(result)
        return film.mp4, {**film.settings, "likeness": film.likeness, "timings": {k: round(v, 3) for k, v in result.timings.items()}}

    @told
    @on_gpu
    def compare(reference: str | None, other: str | None, prompt: str, consent: bool, kind: str, steps: int, seed: int) -> str:
        """Make the films of one comparison, side by side with captions, as one mp4. ``other`` is B for looks of A, habits of B."""
        from slotid.film import write_side_by_side

        person = _person(engine, reference, consent)
        second = _person(engine, other, consent) if other else None
        wish = Request(prompt=prompt or "", reference=None, steps=int(steps), seed=int(seed))
        *_, (_, made) = films(engine, kind, person, second, wish)
        path = own_folder() / "compare.mp4"
        settings = {**replace(wish, reference=None).__dict__, "kind": kind, "ai_generated": True}
        return str(write_side_by_side(path, [r.clip for _, r in made], [caption for caption, _ in made], settings))

    spec = engine.spec()
    with gr.Column(visible=False):
        reference = gr.File(label="reference", type="filepath")
        other = gr.File(label="other", type="filepath")
        prompt, consent = gr.Textbox(label="prompt"), gr.Checkbox(False, label="consent")
        strength = gr.Number(1.0, label="strength", minimum=0, maximum=2)
        text = gr.Number(spec.text_guidance if spec else 3.0, label="text_guidance")
        identity = gr.Number(spec.identity_guidance if spec else 1.5, label="identity_guidance")
        steps = gr.Number(spec.steps if spec else 16, label="steps", precision=0)
        seconds = gr.Number(round(spec.frames / spec.fps, 3) if spec else 2.083, label="seconds")
        seed = gr.Number(0, label="seed", precision=0)
        kind = gr.Dropdown(list(KINDS), value="with and without identity", label="kind")
        report, code, film, settings, both = gr.JSON(), gr.File(label="code"), gr.Video(label="film"), gr.JSON(), gr.Video(label="compared")
        buttons = [gr.Button(name) for name in ("read", "generate", "compare")]
    shared = {"concurrency_id": "cpu", "concurrency_limit": 1}
    buttons[0].click(read, [reference, consent], [report, code], api_name="read", **shared)
    numbers = [strength, text, identity, steps, seconds, seed]
    buttons[1].click(generate, [reference, prompt, consent, *numbers], [film, settings], api_name="generate", **shared)
    buttons[2].click(compare, [reference, other, prompt, consent, kind, steps, seed], both, api_name="compare", **shared)
