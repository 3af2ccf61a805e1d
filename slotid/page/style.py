"""The page's manner: one theme, a little CSS (style.css), and the small pieces that sections share. System fonts only, so that
nothing is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CSS = Path(__file__).with_name("style.css")

# A gr.HTML whose buttons carry data-pick tells the number of the one that was pressed, by mouse or keyboard.
PICK_JS = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-pick]');
  if (!button) return;
  element.querySelectorAll('button[data-pick]').forEach(one => one.setAttribute('aria-pressed', one === button));
  trigger('select', {pick: Number(button.dataset.pick)});
});
"""
# On a narrow screen the answer is below what was pressed: bring it into view.
TO_FOUND_JS = "() => { if (window.innerWidth < 760) document.querySelector('#told').scrollIntoView({behavior: 'smooth'}); }"


def theme():
    """Quiet greys, one accent, system fonts; light and dark come with it."""
    import gradio as gr

    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    base = gr.themes.Base(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", radius_size="lg", font=system, font_mono=mono)
    return base.set(
        block_border_width="1px", block_shadow="none", button_large_radius="10px", button_small_radius="8px",
        button_small_text_size="*text_md", body_text_size="15px",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400", block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400", block_label_text_color="*neutral_600", input_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950", block_background_fill_dark="*neutral_900", input_background_fill_dark="*neutral_800",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600", button_primary_background_fill_hover_dark="*primary_500",
        button_secondary_background_fill="*neutral_100", button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800", button_secondary_background_fill_hover_dark="*neutral_700",
    )  # fmt: skip


def step(number: int, title: str, say: str) -> str:
    """A section's heading as HTML."""
    return f'<div class="step"><span class="no" aria-hidden="true">{number}</span><h2>{title}</h2><span class="say">{say}</span></div>'


def label(title: str, say: str = "") -> str:
    """A heading within a section."""
    return f'<div class="label"><h3>{title}</h3>{f"<span>{say}</span>" if say else ""}</div>'


def empty(text: str, kind: str = "") -> str:
    """What stands where nothing is yet, and says what to do. ``kind`` sets its height (style.css)."""
    return f'<div class="empty {kind}"><p>{text}</p></div>'


def notice(text: str, kind: str = "") -> str:
    """A line to the visitor; ``kind`` is "", "busy", "weak" or "error" (announced by screen readers)."""
    from slotid.show.paint import escape

    role = "alert" if kind == "error" else "status"
    return f'<div class="notice {kind}" role="{role}"><p>{escape(text)}</p></div>'


def thumbs(pictures: Iterable[tuple[str, str, str]], kind: str = "") -> str:
    """Buttons with a picture each, for a ``gr.HTML`` with ``PICK_JS``: (address of the picture, alt text, caption or "")."""
    from slotid.show.paint import escape

    cells = []
    for number, (address, alt, caption) in enumerate(pictures):
        under = f"<span>{escape(caption)}</span>" if caption else ""
        cells.append(f'<button type="button" data-pick="{number}"><img src="{address}" alt="{escape(alt)}">{under}</button>')
    return f'<div class="thumbs {kind}">{"".join(cells)}</div>'
