"""Step 5: the films of this visit, kept in the session's memory; pick one to see it again and take its settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr

from slotid.page.engine import Engine
from slotid.page.style import PICK_JS, empty, notice, step, thumbs
from slotid.page.visit import Film, forget

KEYS = ("prompt", "strength", "text_guidance", "identity_guidance", "steps", "seconds", "seed", "backbone", "method")
EMPTY = "Your films gather here. Choose one to see it again with its settings; nobody else sees them."


def caption(film: Film) -> str:
    """What was asked, the seed, the likeness where it was measured."""
    words = f"{film.settings['prompt']} · seed {film.settings['seed']}"
    return words if film.likeness is None else f"{words} · likeness {film.likeness:.2f}"


def settings_of(settings: dict[str, Any], engine: Engine) -> list[Any]:
    """Values for the controls of step 3; what the settings do not name, or name but is not here, stays."""
    here = {"backbone": engine.backbones(), "method": engine.methods(settings.get("backbone"))}
    values = [settings.get(key) for key in KEYS]
    fits = [value is not None and (key not in here or value in here[key]) for key, value in zip(KEYS, values, strict=True)]
    return [value if fit else gr.skip() for value, fit in zip(values, fits, strict=True)]


def lay_out(engine: Engine, made: SimpleNamespace) -> SimpleNamespace:
    """Builds the section; follows ``made.films``."""
    gr.HTML(step(5, "This visit", "your films, only here and only now"))
    gallery = gr.HTML(empty(EMPTY), elem_id="history", js_on_load=PICK_JS)

    def follow(films: list[Film]) -> str:
        from slotid.show.paint import data_uri, jpeg

        pictures = [(data_uri(jpeg(film.poster, 88), "jpeg"), f"See this film again: {caption(film)}", caption(film)) for film in films]
        return thumbs(pictures, "films") if films else empty(EMPTY)

    def again(films: list[Film], event: gr.EventData) -> list[Any]:
        film = films[event.pick]
        files = [gr.update(value=path, interactive=True) for path in (film.mp4, film.gif, film.settings_json)]
        shown = [gr.update(visible=False), gr.update(value=film.mp4, visible=True), *files, film.likeness_html, film.heard_html, ""]
        return [*shown, notice("This film's settings are in place again."), *settings_of(film.settings, engine)]

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    made.films.change(follow, made.films, gallery, **quiet)
    outputs = [made.frame, made.film, made.get_mp4, made.get_gif, made.get_json, made.likeness, made.heard, made.timings, made.said]
    gallery.select(again, made.films, [*outputs, *made.settings], **quiet)
    return SimpleNamespace(gallery=gallery)


def forget_films(films: list[Film]) -> list[Film]:
    """Deletes the files of these films; returns the empty history."""
    forget([path for film in films for path in (film.mp4, film.gif, film.settings_json)])
    return []
