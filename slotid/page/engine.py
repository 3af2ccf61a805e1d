"""The models behind the page, opened lazily and shared by all visitors. They hold nothing of anybody."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.generate import Studio

LOADING, READY, FAILED, COLD = "loading", "ready", "failed", "cold"


class Engine:
    """Studios by (backbone, method). One lock, so that two visitors who arrive at once load a model once.

    ``backbone`` is a name or a folder.
    """

    def __init__(self, backbone: str = "tiny"):
        self.backbone = backbone
        self._studios: dict[tuple[str, str], Studio] = {}
        self._lock = threading.Lock()
        self.work = threading.Lock()  # held for one step at a time, never across a yield: LoRA is switched inside the shared model
        self.state, self.reason = COLD, ""
        self.settled = threading.Event()

    def methods(self) -> list[str]:
        """Names of the methods that this backbone can do, Slot-ID first."""
        from slotid.backbone.registry import backbone_fields
        from slotid.identity.registry import methods_for

        return sorted(methods_for(backbone_fields(self.backbone)), key=lambda name: (name != "slots", name == "none", name))

    def backbones(self) -> list[str]:
        """Names of the backbones this page offers."""
        return [self.backbone]

    def studio(self, method: str = "slots", backbone: str | None = None) -> Studio:
        """The opened studio; the first call loads it (seconds)."""
        key = (backbone or self.backbone, method)
        with self._lock:
            if key not in self._studios:
                from slotid.generate import open_studio

                self._studios[key] = open_studio(backbone=key[0], method=key[1])
            return self._studios[key]

    def preload(self) -> None:
        """Opens the default studio and the face finder in a thread of their own; ``state`` says how far it is."""
        self.state = LOADING

        def load() -> None:
            try:
                import slotid.face.track  # noqa: F401

                self.studio()
                self.state = READY
            except SlotIDError as error:
                self.state, self.reason = FAILED, str(error)
            except Exception as error:  # told on the page and in the log, where a thread's traceback would be lost
                import logging

                logging.getLogger("slotid").exception("the models could not be opened")
                self.state, self.reason = FAILED, f"{type(error).__name__}: {error}"
            finally:
                self.settled.set()

        threading.Thread(target=load, name="slotid-preload", daemon=True).start()

    def spec(self) -> Any:
        """The backbone's numbers (lengths, steps, guidance) without loading it; None when they cannot be read yet."""
        from slotid.backbone.registry import backbone_spec

        try:
            return backbone_spec(self.backbone)
        except SlotIDError:
            return None

    def status_html(self) -> str:
        """One line on whether the models are there."""
        words = {
            COLD: "Models open with the first clip.",
            LOADING: "Opening the models… you can already choose a clip.",
            READY: "Models are ready.",
            FAILED: f"The models could not be opened: {self.reason}",
        }
        from slotid.show.paint import escape

        return f'<div class="engine {self.state}" role="status"><span class="dot"></span><span>{escape(words[self.state])}</span></div>'


class Stopper:
    """A visitor's Stop: set by the button, seen by the running film at its next step."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def stop(self) -> None:
        self._flag.set()

    @property
    def asked(self) -> bool:
        """Whether Stop was pressed."""
        return self._flag.is_set()

    def __deepcopy__(self, memo: dict) -> Stopper:
        return Stopper()  # a session's state starts as a copy: each visitor has a Stop of their own


def on_gpu(function):
    """Borrow an accelerator for this function on a ZeroGPU Space; elsewhere leave it as it is."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return function
    import spaces

    return spaces.GPU(duration=60)(function)
