"""Step 3: a sentence becomes a film. Progress with time left, live preview, a Stop that stops, and a result that explains itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np

from slotid.page import words
from slotid.page.engine import Engine, Stopper
from slotid.page.line import waiting_words
from slotid.page.saw import Mix, gains_of
from slotid.page.style import empty, label, notice, step
from slotid.page.visit import Film, Person, own_folder
from slotid.types import FaceTrack, Request, Result, SlotIDError, Step

SPEAK = {
    "face": "Following the face", "remember": "Reading the identity", "read": "Reading the sentence", "denoise": "Dreaming",
    "previews": "Previews", "decode": "Developing the film", "likeness": "Measuring likeness",
}  # fmt: skip
WAITING = "Your film appears here."
NOT_YET = "After a film: how much it resembles the reference in every frame, between a floor (other people) and a ceiling (the same clip)."
UNHEARD = "After a film: which of your words the model knows, and where the time went."


def frame_html(frames: np.ndarray | None, tag: str, alt: str, fps: float = 12.0) -> str:
    """The place of the picture, always the same size: a preview, or a sentence where there is none yet."""
    from slotid.show.paint import data_uri, escape, webp

    if frames is None:
        return f'<div class="frame"><p>{escape(tag)}</p></div>'
    picture = data_uri(webp(frames, fps=fps), "webp")
    return f'<div class="frame"><img src="{picture}" alt="{escape(alt)}"><span class="tag">{escape(tag)}</span></div>'


def walk_html(event: Step | None, said: str = "") -> str:
    """The progress bar with its words (``said``, or the stage's) and time left; without a step the words alone, on the same room."""
    from slotid.cli.progress import clock
    from slotid.show.paint import escape

    if event is None:
        return f'<div class="walk" role="status"><div class="row"><span>{escape(said)}</span></div></div>'
    done = event.step / event.steps if event.steps else 0.0
    words = said or SPEAK.get(event.stage, event.stage)
    words += f", step {event.step} of {event.steps}" if event.steps > 1 else ""
    left = f"about {clock(event.seconds_left)} left" if event.seconds_left is not None else "\u00a0"
    bar = f'<div class="bar" role="progressbar" aria-label="film" aria-valuenow="{100 * done:.0f}"><i style="width:{done:.0%}"></i></div>'
    return f'<div class="walk"><div class="row"><span>{escape(words)}</span><span>{left}</span></div>{bar}</div>'


def film_events(engine: Engine, request: Request, method: str, backbone: str | None, stopper: Stopper | None) -> Iterator[Step | Result]:
    """The generator behind every film of the page; takes its turn elsewhere (``Line``). Ends early, without a Result, on Stop."""
    work = engine.film(request, method, backbone)
    try:
        for event in work:
            if isinstance(event, Result):
                engine.learn_pace(event)
            yield event
            if stopper is not None and stopper.asked:
                return
    finally:
        work.close()


def keep_film(result: Result) -> Film:
    """Writes mp4 with its settings inside, GIF and settings JSON into the page's cache."""
    from slotid.clip_write import write_clip
    from slotid.film import write_gif

    folder = own_folder()
    settings = {**result.settings, "ai_generated": True}
    mp4, gif, told = folder / "slotid.mp4", folder / "slotid.gif", folder / "slotid.json"
    write_clip(mp4, result.clip, settings)
    write_gif(gif, result.clip)
    told.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    seen = result.likeness[np.isfinite(result.likeness)] if result.likeness is not None else np.zeros(0)
    poster = result.clip.frames[len(result.clip.frames) // 2]
    return Film(str(mp4), str(gif), str(told), poster, settings, float(seen.mean()) if len(seen) else None)


def likeness_html(result: Result, floor: float | None) -> str:
    """Likeness over time with floor and ceiling where they are known; a sentence where nothing was measured."""
    from slotid.show.likeness import likeness_sentence, likeness_svg
    from slotid.show.paint import escape

    if result.likeness is None:
        return empty("Likeness is measured against a clip; this film was made without one.", "plot")
    ceiling = ceiling_of(result.face)
    sentence = escape(likeness_sentence(result.likeness, floor, ceiling))
    return f"<p>{sentence}</p>{likeness_svg(result.likeness, result.clip.seconds, floor, ceiling)}"


def ceiling_of(face: FaceTrack | None) -> float | None:
    """The reference's second half held against its first: as alike as a film could be. None for a very short clip."""
    from slotid.face.likeness import likeness
    from slotid.page.halves import halves

    if face is None or int(face.seen.sum()) < 10:
        return None
    first, second = halves(face)
    if not first.seen.any():
        return None
    values = likeness(first, second)
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def timings_html(result: Result) -> str:
    """Seconds per stage as a small table."""
    rows = "".join(f"<tr><td>{SPEAK.get(name, name)}</td><td>{seconds:.1f} s</td></tr>" for name, seconds in result.timings.items())
    return f'<table class="times"><caption>Time taken</caption>{rows}</table>'


def lay_out(engine: Engine, person: gr.State, saw: SimpleNamespace) -> SimpleNamespace:
    """Builds the section; returns its parts. ``films`` (state) is this visit's history."""
    gr.HTML(step(3, "A new film", "the same person, doing what you write"))
    stopper, films = gr.State(None), gr.State([])
    with gr.Row(equal_height=False, elem_classes="two wide"):
        with gr.Column(min_width=280, elem_classes="wish"):
            prompt = gr.Textbox(
                label="What happens", placeholder="a person smiles in a garden, warm light", lines=2, max_lines=4, elem_id="prompt"
            )
            with gr.Row(elem_classes="acts"):
                surprise = gr.Button("Surprise me", size="sm", elem_id="surprise")
                clear = gr.Button("Clear", size="sm", elem_id="clear")
            chips = {
                group: gr.Radio(list(phrases), label=group, elem_classes="pills chips", elem_id=f"chips_{group.lower()}")
                for group, phrases in words.CHIPS.items()
            }
            strength = gr.Slider(
                0, 2, 1, step=0.05, label="Identity strength", info="0 nobody in particular, 1 as trained, 2 exaggerated",
                elem_id="strength", buttons=[],
            )  # fmt: skip
            with gr.Accordion("Fine tuning", open=False, elem_id="fine"):
                fine = _fine(engine)
            restore = gr.File(label="Drop a film made here to get its settings back", file_types=[".mp4"], height=104, elem_id="restore")
        with gr.Column(min_width=280, elem_classes="result"):
            frame = gr.HTML(frame_html(None, WAITING, ""), elem_id="frame")
            film = gr.Video(
                label="Film", interactive=False, visible=False, autoplay=True, loop=True, elem_id="film", buttons=[], show_label=False
            )
            walk = gr.HTML(walk_html(None), elem_id="walk")
            with gr.Row(elem_classes="pair"):
                make = gr.Button("Make the film", variant="primary", elem_id="make")
                stop = gr.Button("Stop", variant="stop", elem_id="stop", interactive=False)
            with gr.Row(elem_classes="pair"):
                get_mp4 = gr.DownloadButton("Download mp4", elem_id="get_mp4", size="sm", interactive=False)
                get_gif = gr.DownloadButton("GIF", elem_id="get_gif", size="sm", interactive=False)
                get_json = gr.DownloadButton("Settings", elem_id="get_json", size="sm", interactive=False)
            said = gr.HTML(elem_id="said")
    with gr.Row(equal_height=False, elem_classes="two wide explained"):
        with gr.Column(min_width=280):
            gr.HTML(label("Likeness through the film"))
            likeness = gr.HTML(empty(NOT_YET, "plot"), elem_id="likeness")
        with gr.Column(min_width=280):
            gr.HTML(label("What was heard, and the time it took"))
            heard = gr.HTML(empty(UNHEARD, "plot"), elem_id="heard")
            timings = gr.HTML(elem_id="timings")
    parts = SimpleNamespace(**{k: v for k, v in locals().items() if isinstance(v, gr.blocks.Block)}, chips=chips, **fine)
    parts.settings = [prompt, strength, *(fine[name] for name in ("text", "identity", "steps", "seconds", "seed", "backbone", "method"))]
    none = gr.update(value=None, interactive=False)
    parts.blank = [
        (frame, gr.update(value=frame_html(None, WAITING, ""), visible=True)), (film, gr.update(value=None, visible=False)),
        (get_mp4, none), (get_gif, none), (get_json, none), (walk, walk_html(None)), (said, ""), (restore, None),
        (likeness, empty(NOT_YET, "plot")), (heard, empty(UNHEARD, "plot")), (timings, ""),
    ]  # fmt: skip
    _wire_words(engine, parts)
    _wire_film(engine, parts, person, saw)
    return parts


def _fine(engine: Engine) -> dict[str, gr.components.Component]:
    """What most visitors leave as it is."""
    spec = engine.spec()
    with gr.Row():
        text = gr.Slider(
            1, 10, spec.text_guidance if spec else 3, step=0.1, label="Text guidance", info="how hard the words pull",
            elem_id="text_guidance", buttons=[], min_width=200,
        )  # fmt: skip
        identity = gr.Slider(
            1, 10, spec.identity_guidance if spec else 1.5, step=0.1, label="Identity guidance", info="how hard the face pulls",
            elem_id="identity_guidance", buttons=[], min_width=200,
        )  # fmt: skip
    with gr.Row():
        steps = gr.Slider(
            1, 50, spec.steps if spec else 16, step=1, label="Steps", info="more are slower and cleaner", elem_id="steps", buttons=[],
            min_width=200,
        )  # fmt: skip
        seconds = gr.Slider(
            **lengths(spec), step=0.01, label="Seconds", info="length of the film", elem_id="seconds", buttons=[], min_width=200
        )
    with gr.Row(elem_classes="pair seeds"):
        seed = gr.Number(0, label="Seed", info="the same seed and settings give the same film", precision=0, minimum=0, elem_id="seed")
        dice = gr.Button("🎲 Another seed", size="sm", elem_id="dice")
    with gr.Row():
        backbone = gr.Dropdown(engine.backbones(), value=engine.backbone, label="Backbone", elem_id="backbone", min_width=200)
        method = gr.Dropdown(
            engine.method_choices(), value=(engine.methods() or ["none"])[0], label="Method", elem_id="method", min_width=200
        )
    return {k: v for k, v in locals().items() if isinstance(v, gr.blocks.Block)}


def lengths(spec: Any) -> dict[str, float]:
    """Slider limits of a film's seconds for a backbone's spec; None: those of the embedded one."""
    if spec is None:
        return {"minimum": 0.75, "maximum": 4.08, "value": 2.75}
    low, high = math.ceil(100 * spec.frames_min / spec.fps) / 100, math.floor(100 * spec.frames_max / spec.fps) / 100
    return {"minimum": low, "maximum": high, "value": round(spec.frames / spec.fps, 2)}


def _wire_words(engine: Engine, p: SimpleNamespace) -> None:
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    for group, chip in p.chips.items():
        chip.input(lambda text, label, group=group: words.write_chip(text, group, label), [p.prompt, chip], p.prompt, **quiet)

    def surprise() -> list[Any]:
        return [words.surprise(int(np.random.default_rng().integers(1 << 31))), *[None] * len(p.chips)]

    p.surprise.click(surprise, None, [p.prompt, *p.chips.values()], **quiet)
    p.clear.click(lambda: ["", *[None] * len(p.chips)], None, [p.prompt, *p.chips.values()], **quiet)
    p.dice.click(lambda: int(np.random.default_rng().integers(1_000_000)), None, p.seed, **quiet)

    def suit(backbone: str) -> list[Any]:
        spec, names = engine.spec(backbone), engine.methods(backbone)
        return [
            gr.update(choices=engine.method_choices(backbone), value=names[0]), gr.update(**lengths(spec)),
            *([spec.text_guidance, spec.identity_guidance, spec.steps] if spec else [gr.skip()] * 3),
        ]  # fmt: skip

    p.backbone.input(suit, p.backbone, [p.method, p.seconds, p.text, p.identity, p.steps], **quiet)

    def restore(path: str | None) -> list[Any]:
        from slotid.clip_write import read_settings
        from slotid.page.history import settings_of

        if path is None:
            return [gr.skip()] * (1 + len(p.settings))
        try:
            kept = read_settings(path)
        except SlotIDError as error:
            return [notice(str(error), "error"), *[gr.skip()] * len(p.settings)]
        return [notice("The film's settings are in place; read the same clip to make it again."), *settings_of(kept, engine)]

    p.restore.upload(restore, p.restore, [p.said, *p.settings], **quiet)


def _wire_film(engine: Engine, p: SimpleNamespace, person: gr.State, saw: SimpleNamespace) -> None:
    outputs = [p.frame, p.film, p.walk, p.make, p.stop, p.get_mp4, p.get_gif, p.get_json, p.said, p.likeness, p.heard, p.timings,
               p.films]  # fmt: skip

    def update(**changes: Any) -> dict[Any, Any]:
        return {getattr(p, name): value for name, value in changes.items()}

    def idle() -> dict[str, Any]:
        return {"make": gr.update(interactive=True), "stop": gr.update(interactive=False)}

    def arm() -> list[Any]:
        return [Stopper(), gr.update(interactive=False), gr.update(interactive=True), walk_html(None, "Getting ready…"), ""]

    def make(known: Person | None, stopper: Stopper, films: list[Film], mix: Mix | None, *settings: Any) -> Iterator[dict[Any, Any]]:
        backbone, method = settings[-2:]
        if known is None and method != "none":
            said = notice("Read a clip first (step 1), or choose the method `none` in fine tuning for nobody in particular.", "error")
            yield update(said=said, walk=walk_html(None), **idle())
            return
        reference = known.reference if known is not None and method != "none" else None
        preview, result, ticket = None, None, None
        try:
            request = wish_of(settings, reference, gains_of(mix) if method == "slots" else None)
            ticket = engine.line.enter(engine.expected(request.steps, request.seconds))
            for place, left in engine.line.wait(ticket, lambda: stopper.asked):
                yield update(walk=walk_html(None, waiting_words(place, left)))
            opening = walk_html(None, "Starting…" if engine.opened(method, backbone) else f"Opening the models of '{backbone}'…")
            blank = frame_html(None, "The first preview comes after a few steps.", "")
            yield update(walk=opening, frame=gr.update(value=blank, visible=True), film=gr.update(visible=False, value=None))
            events = iter(()) if stopper.asked else film_events(engine, request, method, backbone, stopper)
            for event in events:
                if isinstance(event, Result):
                    result = event
                    continue
                if event.seconds_left is not None:
                    ticket.expect(event.seconds_left)
                changes: dict[str, Any] = {"walk": walk_html(event)}
                if event.preview is not None:
                    preview = event.preview
                    changes["frame"] = frame_html(preview, f"preview, step {event.step} of {event.steps}", "The film so far, still noisy")
                yield update(**changes)
        except SlotIDError as error:
            yield update(said=notice(str(error), "error"), walk=walk_html(None), **idle())
            return
        finally:
            if ticket is not None:
                engine.line.leave(ticket)
        if result is None:
            words_said = "Stopped. The last preview stays." if preview is not None else "Stopped before the first preview."
            yield update(walk=walk_html(None, words_said), said="", **idle())
            return
        unknown = engine.studio(method, backbone).backbone.unknown_words(request.prompt)
        floor = engine.strangers.floor(result.face, known.title) if result.likeness is not None else None
        plot, heard = likeness_html(result, floor), words.heard_html(words.heard(request.prompt, unknown))
        told = [text for text in result.clip.notices if not any(word in text for word in unknown)]  # strange words are in what was heard
        film = replace(keep_film(result), likeness_html=plot, heard_html=heard)
        yield update(
            frame=gr.update(visible=False), film=gr.update(value=film.mp4, visible=True), walk=walk_html(None, "Done."),
            get_mp4=gr.update(value=film.mp4, interactive=True), get_gif=gr.update(value=film.gif, interactive=True),
            get_json=gr.update(value=film.settings_json, interactive=True),
            said="".join(notice(text, "weak") for text in told), likeness=plot, heard=heard, timings=timings_html(result),
            films=[film, *films], **idle(),
        )  # fmt: skip

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    armed = p.make.click(arm, None, [p.stopper, p.make, p.stop, p.walk, p.said], **quiet)
    p.made = armed.then(
        make, [person, p.stopper, p.films, saw.mix, *p.settings], outputs, concurrency_limit=None, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip

    def stop(stopper: Stopper | None) -> Any:
        if stopper is not None:
            stopper.stop()
        return gr.update(interactive=False)  # the film's own last word goes to the bar: this answer may arrive after it

    p.stop.click(stop, p.stopper, p.stop, **quiet)


def wish_of(settings: Sequence[Any], reference: Any = None, gains: tuple[float, ...] | None = None) -> Request:
    """The controls of step 3, in the order of ``parts.settings``, as a Request."""
    prompt, strength, text, identity, steps, seconds, seed, *_ = settings
    return Request(
        prompt=prompt or "", reference=reference, strength=float(strength), text_guidance=float(text), identity_guidance=float(identity),
        steps=int(steps), seconds=float(seconds), seed=int(seed or 0), slot_gain=gains,
    )  # fmt: skip
