"""The page: a clip, a sentence, a film. Composes the sections of ``slotid/page``; holds no model code.

``python app.py`` or ``make app``. On a Space with borrowed accelerators ``spaces`` must come before torch touches CUDA.
"""

from __future__ import annotations

try:
    import spaces  # noqa: F401  (must be the first of the heavy imports)
except ImportError:  # elsewhere it is not needed
    spaces = None

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr  # noqa: E402

from slotid.backbone.zerogpu import borrowed  # noqa: E402
from slotid.page import compare, history, making, programs, reference, saw, style  # noqa: E402
from slotid.page.engine import Engine  # noqa: E402
from slotid.page.strangers import Strangers  # noqa: E402

ROOT = Path(__file__).resolve().parent
MASTHEAD = (
    '<div id="masthead"><span class="mark" aria-hidden="true">' + "<i></i>" * 8 + "</span><h1>Slot-ID</h1>"
    "<p>A few seconds of a face are enough. Slots read how the person looks and moves, and a video model dreams them into the scene "
    "you write.</p></div>"
)


def build(engine: Engine, examples: list[tuple[str, str, str]]) -> gr.Blocks:
    """The whole page around an engine. Everything of a visitor is in ``gr.State``; files in the cache live for half an hour."""
    with gr.Blocks(title="Slot-ID", analytics_enabled=False, delete_cache=(300, 1800)) as page:
        with gr.Row(elem_classes="top"):
            gr.HTML(MASTHEAD)
            status = gr.HTML(engine.status_html(), elem_id="engine")
        first = reference.lay_out(engine, examples)
        second = saw.lay_out(first.person)
        third = making.lay_out(engine, first.person, second)
        compare_parts = compare.lay_out(engine, first.person, third)
        history.lay_out(engine, third)
        programs.lay_out(engine)
        fresh = [*compare_parts.blank, *third.blank]

        def start_anew(films):
            history.forget_films(films)
            return [[], *(value for _, value in fresh)]

        first.deleted.then(
            start_anew, third.films, [third.films, *(part for part, _ in fresh)], concurrency_limit=None, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

        def tell():
            engine.preload()
            yield engine.status_html()
            if not engine.settled.is_set():
                engine.settled.wait(300)
                yield engine.status_html()

        page.load(tell, None, status, show_progress="hidden", concurrency_limit=None, api_visibility="private")
    return page


def serve(
    host: str | None = None, port: int | None = None, backbone: str | None = None, block: bool = True, adapter: str | None = None,
    memory: str = "auto",
) -> int:  # fmt: skip
    """Opens the page and waits until it is stopped; ``block`` False returns at once and leaves the server running.

    ``backbone`` None takes the variable SLOTID_BACKBONE, or the embedded one; ``adapter`` and ``memory`` as for ``open_studio``.
    """
    examples = reference.examples_of(ROOT / "examples")
    backbone = backbone or os.environ.get("SLOTID_BACKBONE") or "tiny"
    engine = Engine(backbone, Strangers({name: path for name, path, _ in examples}), adapter, memory)
    if borrowed():
        engine.open_all()
    page = build(engine, examples)
    page.queue(max_size=32)
    page.launch(
        server_name=host, server_port=port, theme=style.theme(), css_paths=style.CSS, max_file_size="100mb", prevent_thread_lock=True,
        run_history=False, footer_links=["api"], ssr_mode=False, show_error=False, quiet=not block, mcp_server=True,
    )  # fmt: skip
    if block:
        page.block_thread()
    return 0


def main(argv: list[str] | None = None) -> int:
    """``python app.py [--host H] [--port P] [--backbone NAME|DIR] [--adapter DIR|REPO] [--memory PROFILE]``; the environment's
    GRADIO_SERVER_* and SLOTID_BACKBONE hold where nothing is given."""
    parser = argparse.ArgumentParser(description="Open the Slot-ID page.")
    parser.add_argument("--host", help="0.0.0.0 lets other machines in (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="default 7860")
    parser.add_argument("--backbone", metavar="NAME|DIR", help="default tiny, the embedded one")
    parser.add_argument("--adapter", metavar="DIR|REPO", help="Slot-ID's weights for another backbone")
    parser.add_argument("--memory", default="auto", metavar="PROFILE", help="how a large backbone shares the card")
    args = parser.parse_args(argv)
    return serve(args.host, args.port, args.backbone, adapter=args.adapter, memory=args.memory)


if __name__ == "__main__":
    sys.exit(main())
