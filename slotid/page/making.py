"""Step 3: a sentence becomes a film. Progress with time left, live preview, a Stop that stops, and a result that explains itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np

from slotid.page import words
from slotid.page.engine import Engine, Stopper, on_gpu
from slotid.page.saw import gains_from
from slotid.page.style import notice, step
from slotid.page.visit import Film, Person, own_folder
from slotid.types import Request, Result, SlotIDError, Step

SPEAK = {
    "face": "Following the face", "remember": "Reading the identity", "read": "Reading the sentence", "denoise": "Dreaming",
    "decode": "Developing the film", "likeness": "Measuring likeness",
}  # fmt: skip
WAITING = "Your film appears here."


def frame_html(frames: np.ndarray | None, tag: str, alt: str, fps: float = 12.0) -> str:
    """The place of the picture, always the same size: a preview, or a sentence where there is none yet."""
    from slotid.show.paint import data_uri, escape, webp

    if frames is None:
        return f'<div class="frame"><p>{escape(tag)}</p></div>'
    picture = data_uri(webp(frames, fps=fps), "webp")
    return f'<div class="frame"><img src="{picture}" alt="{escape(alt)}"><span class="tag">{escape(tag)}</span></div>'


def walk_html(event: Step | None, said: str = "") -> str:
    """The progress bar with its words and time left."""
    from slotid.cli.progress import clock
    from slotid.show.paint import escape

    if event is None:
        return f'<div class="walk"><div class="row"><span>{escape(said)}</span></div></div>'
    done = event.step / event.steps if event.steps else 0.0
    label = SPEAK.get(event.stage, event.stage) + (f", step {event.step} of {event.steps}" if event.steps > 1 else "")
    left = f"about {clock(event.seconds_left)} left" if event.seconds_left is not None else "\u00a0"
    bar = f'<div class="bar" role="progressbar" aria-label="film" aria-valuenow="{done:.0%}"><i style="width:{done:.0%}"></i></div>'
    return f'<div class="walk"><div class="row"><span>{escape(label)}</span><span>{left}</span></div>{bar}</div>'


def film_events(engine: Engine, request: Request, method: str, backbone: str | None, stopper: Stopper | None) -> Iterator[Step | Result]:
    """The generator behind every film of the page. Ends early, without a Result, when the visitor pressed Stop."""
    from slotid.generate import generate

    studio = engine.studio(method, backbone)
    work = generate(studio, request)
    try:
        while not (stopper is not None and stopper.asked):
            with engine.work:
                event = next(work, None)
            if event is None:
                return
            yield event
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


def likeness_html(result: Result) -> str:
    """Likeness over time with floor and ceiling where they are known; a sentence where nothing was measured."""
    from slotid.show.likeness import likeness_sentence, likeness_svg
    from slotid.show.paint import escape

    if result.likeness is None:
        return notice("Likeness is measured against a clip; this film was made without one.")
    floor, ceiling = bounds(result)
    sentence = escape(likeness_sentence(result.likeness, floor, ceiling))
    return f"<p>{sentence}</p>{likeness_svg(result.likeness, result.clip.seconds, floor, ceiling)}"


def bounds(result: Result) -> tuple[float | None, float | None]:
    """(floor, ceiling): strangers' likeness as calibrated by the measure, and the reference's second half against its first."""
    from slotid.face import likeness as measure

    floor = getattr(measure, "STRANGERS", None)
    face = result.face
    if face is None or int(face.seen.sum()) < 10:
        return floor, None
    from slotid.page.halves import halves

    first, second = halves(face)
    values = measure.likeness(first, second)
    values = values[np.isfinite(values)]
    return floor, float(values.mean()) if len(values) else None


def timings_html(result: Result) -> str:
    """Seconds per stage as a small table."""
    rows = "".join(f"<tr><td>{SPEAK.get(name, name)}</td><td>{seconds:.1f} s</td></tr>" for name, seconds in result.timings.items())
    return f'<table class="times"><caption>Time taken</caption>{rows}</table>'


def lay_out(engine: Engine, person: gr.State, saw: SimpleNamespace) -> SimpleNamespace:
    """Builds the section; returns its parts. ``films`` (state) is this visit's history."""
    spec = engine.spec()
    low, high, usual = (spec.frames_min / spec.fps, spec.frames_max / spec.fps, spec.frames / spec.fps) if spec else (0.75, 4.1, 2.1)
    gr.HTML(step(3, "A new film", "the same person, doing what you write"))
    stopper, films, chosen = gr.State(Stopper), gr.State([]), gr.State({})
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300, elem_classes="wish"):
            prompt = gr.Textbox(
                label="What happens", placeholder="a person smiles in a garden, warm light", lines=2, max_lines=4, elem_id="prompt"
            )
            chips = {}
            for group, phrases in words.CHIPS.items():
                chips[group] = gr.Radio(list(phrases), label=group, elem_classes="chips", elem_id=f"chips_{group.lower()}")
            with gr.Row():
                surprise = gr.Button("Surprise me", size="sm", elem_id="surprise")
                clear = gr.Button("Clear", size="sm")
            strength = gr.Slider(
                0,
                2,
                1,
                step=0.05,
                label="Identity strength",
                info="0 nobody in particular, 1 as trained, 2 exaggerated",
                elem_id="strength",
            )
            with gr.Accordion("Fine tuning", open=False):
                with gr.Row():
                    text = gr.Slider(1, 10, spec.text_guidance if spec else 3, step=0.1, label="Text guidance", elem_id="text_guidance")
                    identity = gr.Slider(
                        1, 10, spec.identity_guidance if spec else 1.5, step=0.1, label="Identity guidance", elem_id="identity_guidance"
                    )
                with gr.Row():
                    steps = gr.Slider(1, 50, spec.steps if spec else 16, step=1, label="Steps", elem_id="steps")
                    seconds = gr.Slider(round(low, 2), round(high, 2), round(usual, 2), step=0.01, label="Seconds", elem_id="seconds")
                with gr.Row():
                    seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
                    dice = gr.Button("Another seed", size="sm", elem_id="dice")
                with gr.Row():
                    backbone = gr.Dropdown(engine.backbones(), value=engine.backbone, label="Backbone")
                    method = gr.Dropdown(engine.methods(), value="slots", label="Method", elem_id="method")
                restore = gr.UploadButton("Take the settings from a film made here", file_types=[".mp4"], elem_id="restore")
        with gr.Column(scale=5, min_width=300):
            frame = gr.HTML(frame_html(None, WAITING, ""), elem_id="frame")
            film = gr.Video(label="Film", interactive=False, visible=False, autoplay=True, loop=True, elem_id="film", buttons=["download"])
            walk = gr.HTML(walk_html(None), elem_id="walk")
            with gr.Row(elem_classes="pair"):
                make = gr.Button("Make the film", variant="primary", elem_id="make")
                stop = gr.Button("Stop", variant="stop", elem_id="stop", interactive=False)
            with gr.Row(visible=False, elem_classes="downloads") as downloads:
                get_mp4 = gr.DownloadButton("mp4", elem_id="get_mp4", size="sm")
                get_gif = gr.DownloadButton("GIF", elem_id="get_gif", size="sm")
                get_json = gr.DownloadButton("settings", elem_id="get_json", size="sm")
            said = gr.HTML(elem_id="said")
    with gr.Row(visible=False) as explained:
        with gr.Column(scale=6, min_width=300):
            likeness = gr.HTML(elem_id="likeness")
        with gr.Column(scale=5, min_width=300):
            heard = gr.HTML(elem_id="heard")
            timings = gr.HTML(elem_id="timings")
    parts = SimpleNamespace(**{k: v for k, v in locals().items() if isinstance(v, gr.blocks.Block)}, chips=chips)
    hidden = gr.update(visible=False)
    parts.blank = [(frame, gr.update(value=frame_html(None, WAITING, ""), visible=True)), (film, gr.update(value=None, visible=False)),
                   (downloads, hidden), (explained, hidden), (walk, walk_html(None)), (said, "")]  # fmt: skip
    parts.settings = [prompt, strength, text, identity, steps, seconds, seed, backbone, method]
    _wire_words(parts)
    _wire_film(engine, parts, person, saw)
    return parts


def _wire_words(p: SimpleNamespace) -> None:
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    for group, chip in p.chips.items():
        chip.input(lambda text, label, group=group: words.write_chip(text, group, label), [p.prompt, chip], p.prompt, **quiet)

    def surprise() -> list[Any]:
        return [words.surprise(int(np.random.default_rng().integers(1 << 31))), *[None] * len(p.chips)]

    p.surprise.click(surprise, None, [p.prompt, *p.chips.values()], **quiet)
    p.clear.click(lambda: ["", *[None] * len(p.chips)], None, [p.prompt, *p.chips.values()], **quiet)
    p.dice.click(lambda: int(np.random.default_rng().integers(1_000_000)), None, p.seed, **quiet)

    def restore(path: str) -> list[Any]:
        from slotid.clip_write import read_settings
        from slotid.page.history import settings_of

        try:
            kept = read_settings(path)
        except SlotIDError as error:
            return [notice(str(error), "error"), *[gr.skip()] * len(p.settings)]
        return [notice("The film's settings are in place; read the same clip to make it again."), *settings_of(kept)]

    p.restore.upload(restore, p.restore, [p.said, *p.settings], **quiet)


def _wire_film(engine: Engine, p: SimpleNamespace, person: gr.State, saw: SimpleNamespace) -> None:
    outputs = [p.frame, p.film, p.walk, p.make, p.stop, p.downloads, p.get_mp4, p.get_gif, p.get_json, p.said, p.explained,
               p.likeness, p.heard, p.timings, p.films]  # fmt: skip

    def update(**changes: Any) -> dict[Any, Any]:
        return {getattr(p, name): value for name, value in changes.items()}

    def idle() -> dict[str, Any]:
        return {"make": gr.update(interactive=True), "stop": gr.update(interactive=False)}

    def arm() -> list[Any]:
        return [Stopper(), gr.update(interactive=False), gr.update(interactive=True), walk_html(None, "Waiting for a turn…"), ""]

    @on_gpu
    def make(known: Person | None, stopper: Stopper, films: list[Film], *rest: Any) -> Iterator[dict[Any, Any]]:
        prompt, strength, text, identity, steps, seconds, seed, backbone, method, *slots = rest
        count = len(saw.gains)
        reference = known.reference if known is not None and method != "none" else None
        if reference is None and method != "none":
            said = notice("Read a clip first (step 1), or choose method `none` for a film of nobody in particular.", "error")
            yield update(said=said, walk=walk_html(None), **idle())
            return
        shown = known.shown() if known is not None else None
        gains = gains_from(slots[:count], slots[count:]) if shown is not None else None
        if gains is not None:
            gains = gains[: len(shown.names)]
        preview = None
        try:
            request = Request(
                prompt=prompt or "", reference=reference, strength=float(strength), text_guidance=float(text),
                identity_guidance=float(identity), steps=int(steps), seconds=float(seconds), seed=int(seed or 0), slot_gain=gains,
            )  # fmt: skip
            opening = walk_html(None, "Opening the models…" if engine.state != "ready" else "Starting…")
            blank = frame_html(None, "The first preview comes after a few steps.", "")
            yield update(walk=opening, frame=gr.update(value=blank, visible=True), film=gr.update(visible=False, value=None),
                         downloads=gr.update(visible=False), explained=gr.update(visible=False))  # fmt: skip
            result = None
            for event in film_events(engine, request, method, backbone, stopper):
                if isinstance(event, Result):
                    result = event
                    continue
                changes: dict[str, Any] = {"walk": walk_html(event)}
                if event.preview is not None:
                    preview = event.preview
                    changes["frame"] = frame_html(preview, f"preview, step {event.step} of {event.steps}", "The film so far, still noisy")
                yield update(**changes)
        except SlotIDError as error:
            yield update(said=notice(str(error), "error"), walk=walk_html(None), **idle())
            return
        if result is None:
            words_said = "Stopped. The last preview stays." if preview is not None else "Stopped before the first preview."
            yield update(walk=walk_html(None, words_said), said="", **idle())
            return
        film = keep_film(result)
        unknown = engine.studio(method, backbone).backbone.unknown_words(prompt)
        yield update(
            frame=gr.update(visible=False), film=gr.update(value=film.mp4, visible=True), walk=walk_html(None, "Done."),
            downloads=gr.update(visible=True), get_mp4=film.mp4, get_gif=film.gif, get_json=film.settings_json,
            said="".join(notice(text, "weak") for text in result.clip.notices), explained=gr.update(visible=True),
            likeness=likeness_html(result), heard=f"<p><b>What was heard</b></p>{words.heard_html(words.heard(prompt, unknown))}",
            timings=timings_html(result), films=[film, *films], **idle(),
        )  # fmt: skip

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    inputs = [person, p.stopper, p.films, *p.settings, *saw.gains, *saw.marks]
    armed = p.make.click(arm, None, [p.stopper, p.make, p.stop, p.walk, p.said], **quiet)
    p.made = armed.then(
        make,
        inputs,
        outputs,
        concurrency_id="cpu",
        concurrency_limit=1,
        show_progress="minimal",
        show_progress_on=p.walk,
        api_visibility="private",
    )

    def stop(stopper: Stopper) -> Any:
        stopper.stop()
        return gr.update(interactive=False)  # the film's own last word goes to the bar: this answer may arrive after it

    p.stop.click(stop, p.stopper, p.stop, **quiet)
