"""Named endpoints for programs: read, generate, compare; the same three are the tools of the MCP server. The same work as the page's,
without a session: nothing is kept but the files that are asked for, which lie in the page's cache until it forgets them."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from slotid.page.compare import KINDS, entries, films
from slotid.page.engine import Engine
from slotid.page.making import film_events, keep_film
from slotid.page.reference import CONSENT, read_person
from slotid.page.visit import Person, own_folder
from slotid.types import Request, Result, SlotIDError

CALL = """from gradio_client import Client, handle_file

client = Client("{address}")
film, told = client.predict(
    reference=handle_file("me.mp4"),       # a clip, or a code that /read returned
    prompt="a person smiles in a garden",
    consent=True,                          # this is me, or I may use this face
    api_name="/generate",                  # also /read and /compare
)
print(film["video"], told["likeness"])"""


def _person(engine: Engine, reference: str | None, consent: bool) -> Person:
    if not reference:
        raise SlotIDError("No reference was given; send a clip or an identity code as `reference`.")
    if not consent:
        raise SlotIDError(f"Set `consent` to true to say: {CONSENT} Nothing is read before that.")
    if Path(reference).suffix == ".safetensors":
        from slotid.identity.codes import load_code

        return Person(load_code(reference), title=Path(reference).name)
    *_, last = read_person(engine, reference)
    return last.person


def _report(person: Person) -> dict[str, Any]:
    from slotid.face.quality import reference_report

    report: dict[str, Any] = {"method": person.code.method, "version": person.code.version}
    if person.face is not None:
        rows = reference_report(person.face)
        report["meter"] = [{"name": n, "value": str(v), "grade": g, "advice": a} for n, v, g, a in rows]
        report["frames"], report["frames_with_face"] = len(person.face.seen), int(person.face.seen.sum())
    shown = person.shown()
    if shown is not None:
        rows = zip(shown.names, shown.gates, shown.mass, strict=True)
        report["slots"] = [{"name": name, "gate": float(gate), "mass": float(mass)} for name, gate, mass in rows]
    return report


def told(function):
    """A SlotIDError becomes the caller's error message instead of a bare failure."""

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SlotIDError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return inner


def lay_out(engine: Engine) -> None:
    """Adds the endpoints ``/read``, ``/generate`` and ``/compare``, and says on the page how to call them."""

    @told
    def read(reference: str | None, consent: bool) -> tuple[dict[str, Any], str]:
        """Read a person from a short clip.

        Args:
            reference: A clip of a few seconds in which one face is seen (mp4, mov, webm, gif...).
            consent: True says: this is me, or I may use this face. Nothing is read without it.

        Returns:
            What was found, how good the clip is and what the slots took; and the identity code as a file, to be used instead of the clip.
        """
        from slotid.identity.codes import save_code

        person = _person(engine, reference, consent)
        path = own_folder() / "person.safetensors"
        save_code(person.code, path)
        return _report(person), str(path)

    @told
    def generate(
        reference: str | None, prompt: str, consent: bool, strength: float, text_guidance: float, identity_guidance: float, steps: int,
        seconds: float, seed: int, method: str,
    ) -> tuple[str, dict[str, Any]]:  # fmt: skip
        """Make a film of the person in a clip, doing what a sentence says.

        Args:
            reference: A clip of the person, or an identity code that `read` returned.
            prompt: What happens, such as "a person smiles in a garden".
            consent: True says: this is me, or I may use this face. Nothing is read without it.
            strength: 0 nobody in particular, 1 as trained, 2 exaggerated.
            text_guidance: 1 to 10, how hard the words pull.
            identity_guidance: 1 to 10, how hard the face pulls.
            steps: More are slower and cleaner.
            seconds: Length of the film.
            seed: The same seed and settings give the same film.
            method: An installed method; "slots" is Slot-ID.

        Returns:
            The film as mp4 with its settings inside; and the settings, mean likeness to the clip (null for a code) and timings.
        """
        person = _person(engine, reference, consent)
        request = Request(
            prompt=prompt or "", reference=None if method == "none" else person.reference, strength=strength, text_guidance=text_guidance,
            identity_guidance=identity_guidance, steps=int(steps), seconds=seconds, seed=int(seed), preview_every=0,
        )  # fmt: skip
        if method not in engine.methods():
            raise SlotIDError(f"Method '{method}' is not installed here; choose one of: {', '.join(engine.methods())}.")
        ticket = engine.line.enter(engine.expected(request.steps, request.seconds))
        try:
            for _ in engine.line.wait(ticket):
                pass
            *_, result = film_events(engine, request, method, None, None)
        finally:
            engine.line.leave(ticket)
        assert isinstance(result, Result)
        film = keep_film(result)
        return film.mp4, {**film.settings, "likeness": film.likeness, "timings": {k: round(v, 3) for k, v in result.timings.items()}}

    @told
    def compare(
        reference: str | None, prompt: str, consent: bool, kind: str, steps: int, seconds: float, seed: int, other: str | None = None
    ) -> str:  # fmt: skip
        """Make films with the same sentence and seed in which one thing changes, side by side with captions.

        Args:
            reference: A clip of the person A, or an identity code that `read` returned.
            prompt: What happens in all the films.
            consent: True says: I may use these faces. Nothing is read without it.
            kind: What changes.
            steps: More are slower and cleaner.
            seconds: Length of the films.
            seed: Of all the films.
            other: The person B, for "looks of A, habits of B"; otherwise leave it out.

        Returns:
            One mp4 with all the films beside each other.
        """
        from slotid.film import write_side_by_side

        person = _person(engine, reference, consent)
        second = _person(engine, other, consent) if other else None
        wish = Request(prompt=prompt or "", reference=None, steps=int(steps), seconds=seconds, seed=int(seed))
        *_, (_, _, made) = films(engine, entries(engine, kind, person, second, wish))
        path = own_folder() / "compare.mp4"
        settings = {**replace(wish, reference=None).__dict__, "kind": kind, "ai_generated": True}
        return str(write_side_by_side(path, [r.clip for _, r in made], [caption for caption, _ in made], settings))

    with gr.Accordion("For programs: the same as an API and as an MCP server", open=False, elem_id="programs"):
        gr.Markdown(
            "Three named endpoints do what the page does: `/read`, `/generate`, `/compare`. They are also the tools of the MCP server at "
            "`/gradio_api/mcp/`, for programs that speak the Model Context Protocol."
        )
        gr.Code(CALL.format(address="http://127.0.0.1:7860"), language="python", interactive=False, label="Python", buttons=["copy"])
    _endpoints(engine, read, generate, compare)


def _endpoints(engine: Engine, read: Any, generate: Any, compare: Any) -> None:
    spec = engine.spec()
    length = round(spec.frames / spec.fps, 3) if spec else 2.75
    with gr.Column(visible=False):
        reference = gr.File(label="reference", type="filepath")
        other = gr.File(label="other", type="filepath")
        prompt, consent = gr.Textbox(label="prompt"), gr.Checkbox(False, label="consent")
        strength = gr.Number(1.0, label="strength", minimum=0, maximum=2)
        text = gr.Number(spec.text_guidance if spec else 3.0, label="text_guidance")
        identity = gr.Number(spec.identity_guidance if spec else 1.5, label="identity_guidance")
        steps = gr.Number(spec.steps if spec else 16, label="steps", precision=0)
        seconds, seed = gr.Number(length, label="seconds"), gr.Number(0, label="seed", precision=0)
        method = gr.Textbox((engine.methods() or ["slots"])[0], label="method")
        kind = gr.Dropdown(list(KINDS), value=next(iter(KINDS)), label="kind")
        report, code, film, settings, both = gr.JSON(), gr.File(label="code"), gr.Video(label="film"), gr.JSON(), gr.Video(label="compared")
        buttons = [gr.Button(name) for name in ("read", "generate", "compare")]  # never pressed: an endpoint needs an event
    shared = {"concurrency_id": "programs", "concurrency_limit": 8}  # the engine's line lets one work at a time
    wishes = [strength, text, identity, steps, seconds, seed, method]
    buttons[0].click(read, [reference, consent], [report, code], api_name="read", **shared)
    buttons[1].click(generate, [reference, prompt, consent, *wishes], [film, settings], api_name="generate", **shared)
    buttons[2].click(compare, [reference, prompt, consent, kind, steps, seconds, seed, other], both, api_name="compare", **shared)
