"""Step 5: the films of this visit, kept in the session's memory; pick one to see it again and take its settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr

from slotid.page.style import empty, notice, step
from slotid.page.visit import Film, forget

KEYS = ("prompt", "strength", "text_guidance", "identity_guidance", "steps", "seconds", "seed", None, "method")
EMPTY = "Your films of this visit gather here; nobody else sees them."


def caption(film: Film) -> str:
    """What was asked, the seed, the likeness where it was measured."""
    words = f"{film.settings['prompt']} · seed {film.settings['seed']}"
    return words if film.likeness is None else f"{words} · likeness {film.likeness:.2f}"


def settings_of(settings: dict[str, Any]) -> list[Any]:
    """Values for the controls of step 3; what the settings do not name stays."""
    return [settings[key] if key in settings else gr.skip() for key in KEYS]


def lay_out(made: SimpleNamespace) -> SimpleNamespace:
    """Builds the section; follows ``made.films``."""
    gr.HTML(step(5, "This visit", "your films, only here and only now"))
    nothing = gr.HTML(empty(EMPTY), elem_id="history_nothing")
    gallery = gr.Gallery(
        label="Films of this visit: choose one to see it again with its settings", columns=6, fit_columns=False, height=200,
        object_fit="cover", allow_preview=False, visible=False, elem_id="history", interactive=False, buttons=[],
    )  # fmt: skip

    def follow(films: list[Film]) -> list[Any]:
        pictures = [(film.poster, caption(film)) for film in films]
        return [gr.update(visible=not films), gr.update(value=pictures or None, visible=bool(films))]

    def again(films: list[Film], event: gr.SelectData) -> list[Any]:
        film = films[event.index]
        shown = [gr.update(visible=False), gr.update(value=film.mp4, visible=True), film.mp4, film.gif, film.settings_json]
        return [*shown, notice("This film's settings are in place again."), *settings_of(film.settings)]

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    made.films.change(follow, made.films, [nothing, gallery], **quiet)
    outputs = [made.frame, made.film, made.get_mp4, made.get_gif, made.get_json, made.said, *made.settings]
    gallery.select(again, made.films, outputs, **quiet)
    return SimpleNamespace(gallery=gallery)


def forget_films(films: list[Film]) -> list[Film]:
    """Deletes the files of these films; returns the empty history."""
    forget([path for film in films for path in (film.mp4, film.gif, film.settings_json)])
    return []
