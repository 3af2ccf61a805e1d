"""The page's manner: one theme, a little CSS (style.css). System fonts only, so that nothing is fetched from elsewhere."""

from pathlib import Path

CSS = Path(__file__).with_name("style.css")


def theme():
    """Quiet greys, one accent, system fonts; light and dark come with it."""
    import gradio as gr

    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    base = gr.themes.Base(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", radius_size="lg", font=system, font_mono=mono)
    return base.set(block_border_width="1px", block_shadow="none", button_large_radius="10px", body_text_size="15px",
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400", block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400")  # fmt: skip


def step(number: int, title: str, say: str) -> str:
    """A section's heading as HTML."""
    return f'<div class="step"><span class="no">{number}</span><h2>{title}</h2><span class="say">{say}</span></div>'


def empty(text: str) -> str:
    """What stands where nothing is yet, and says what to do."""
    return f'<div class="empty">{text}</div>'


def notice(text: str, kind: str = "") -> str:
    """A line to the visitor; ``kind`` is "", "weak" or "error" (announced by screen readers)."""
    from slotid.show.paint import escape

    role = "alert" if kind == "error" else "status"
    return f'<div class="notice {kind}" role="{role}"><p>{escape(text)}</p></div>'
