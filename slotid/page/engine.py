"""The models behind the page, opened lazily and shared by all visitors. They hold nothing of anybody."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from slotid.backbone.zerogpu import borrowed
from slotid.page.borrow import borrow_film, borrow_remember
from slotid.page.line import Line
from slotid.page.strangers import Strangers
from slotid.types import SlotIDError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slotid.generate import Studio
    from slotid.types import FaceTrack, IdentityCode, Request, Result, Step

LOADING, READY, FAILED, COLD = "loading", "ready", "failed", "cold"


class Engine:
    """Studios by (backbone, method). One lock, so that two visitors who arrive at once load a model once.

    ``backbone`` is a name or a folder, ``adapter`` and ``memory`` as for ``open_studio``; ``strangers`` are whom films are held against.
    ``line`` orders the work: LoRA is switched inside the shared model, so one works at a time (on a borrowed accelerator each has a
    process of its own, and the lender orders them).
    """

    def __init__(
        self, backbone: str = "tiny", strangers: Strangers | None = None, adapter: str | None = None, memory: str = "auto"
    ):  # fmt: skip
        self.backbone, self.adapter, self.memory = backbone, adapter, memory
        self.strangers = strangers or Strangers({})
        self._studios: dict[tuple[str, str], Studio] = {}
        self._lock = threading.Lock()
        self.line = Line(64 if borrowed() else 1)
        self._pace, self._beside = 0.03, 5.0  # seconds per step and frame, and for all the rest; guesses until the first film was made
        self.state, self.reason = COLD, ""
        self.settled = threading.Event()
        self.read_here = self.remember  # within a film, which has its card already
        self.film = borrow_film(self.film, self.card_seconds)
        self.remember = borrow_remember(self.remember)

    def film(self, request: Request, method: str, backbone: str | None) -> Iterator[Step | Result]:
        """``generate`` on the opened studio."""
        from slotid.generate import generate

        yield from generate(self.studio(method, backbone), request)

    def remember(self, face: FaceTrack) -> IdentityCode:
        """The code of a face by Slot-ID, whose routing the page shows."""
        studio = self.studio("slots", self.reader())
        return studio.method.remember(face, studio.backbone.to_latent)

    def reader(self) -> str:
        """The backbone whose Slot-ID reads faces: this page's own, or the embedded one where that has no trained slots."""
        return self.backbone if "slots" in self.methods() else "tiny"

    def crop_pixels(self) -> int:
        """Side of the face crops that serves every method on offer."""
        from slotid.identity.registry import method_class

        names = {name for backbone in self.backbones() for name in self.methods(backbone)}
        return max(method_class(name).crop_pixels for name in names | {"slots"})

    def methods(self, backbone: str | None = None) -> list[str]:
        """Names of the methods that this backbone can do and that have their weights here, Slot-ID first, nobody last."""
        from slotid.backbone.registry import backbone_fields, backbone_folder
        from slotid.identity.registry import method_class, methods_for

        backbone = backbone or self.backbone
        try:
            home = backbone_folder(backbone) / "identity"
        except SlotIDError:
            return ["slots", "none"]
        able = methods_for(backbone_fields(backbone))
        given = self._adapters_method() if backbone == self.backbone else None
        here = [name for name in able if not method_class(name).trained or name == given or (home / name / "config.json").is_file()]
        return sorted(here, key=lambda name: (name != "slots", name == "none", name))

    def _adapters_method(self) -> str | None:
        from slotid.backbone.hub import locate_adapter, read_json

        return None if self.adapter is None else read_json(locate_adapter(self.adapter) / "config.json").get("method")

    def method_choices(self, backbone: str | None = None) -> list[tuple[str, str]]:
        """(name with what the method is, name) for a person who chooses."""
        from slotid.identity.registry import method_class

        return [(f"{name}: {method_class(name).says}", name) for name in self.methods(backbone)]

    def backbones(self) -> list[str]:
        """Names of the backbones that can be opened here, this page's own first. Large ones need a card; on a borrowed one there is only
        what was opened before the page."""
        from slotid.backbone.registry import backbones_here

        if borrowed():
            return [self.backbone]
        found = backbones_here()
        if len(found) > 1:
            import torch

            found = found if torch.cuda.is_available() else found[:1]
        return list(dict.fromkeys([self.backbone, *found]))

    def expected(self, steps: int, seconds: float | None, films: int = 1) -> float:
        """Seconds that so many films are thought to take, from the pace of the last one."""
        spec = self.spec()
        frames = spec.legal_frames(seconds) if spec else 25
        return films * (self._beside + self._pace * steps * frames)

    def learn_pace(self, result: Result) -> None:
        """Takes the pace of a finished film for the estimates of the next."""
        walk = result.timings.get("denoise", 0.0)
        self._pace, self._beside = walk / (result.request.steps * len(result.clip.frames)), sum(result.timings.values()) - walk

    def studio(self, method: str = "slots", backbone: str | None = None) -> Studio:
        """The opened studio; the first call loads it (seconds)."""
        key = (backbone or self.backbone, method)
        with self._lock:
            if key not in self._studios:
                from slotid.generate import open_studio
                from slotid.identity.registry import method_class

                own, trained = key[0] == self.backbone, method_class(method).trained
                adapter = self.adapter if own and trained else None
                # A backbone holds the LoRA of one method: adopting another's would replace it under the first one's feet.
                fits = (studio.backbone for (name, _), studio in self._studios.items() if name == key[0])
                open_one = next((backbone for backbone in fits if not (trained and backbone.adopted)), None)
                self._studios[key] = open_studio(*key, adapter=adapter, memory=self.memory if own else "auto", share=open_one)
                if hasattr(self._studios[key].method, "routing"):
                    self._studios[key].method.routing = self.read_here
            return self._studios[key]

    def opened(self, method: str = "slots", backbone: str | None = None) -> bool:
        """Whether this studio is loaded already."""
        return (backbone or self.backbone, method) in self._studios

    def open_all(self) -> None:
        """Every method of this page's own backbone, now, and placed for the lender of cards: on a Space models have to be there before
        the page is launched."""
        from slotid.backbone.zerogpu import place_for_space

        for backbone, methods in {self.reader(): ["slots"], self.backbone: self.methods()}.items():
            for method in methods:
                place_for_space(self.studio(method, backbone))
        self.state = READY
        self.settled.set()

    def card_seconds(self, request: Request, method: str, backbone: str | None) -> int:
        """Seconds of a borrowed card that this wish needs; arguments of ``film``."""
        from slotid.backbone.zerogpu import film_seconds

        studio = self.studio(method, backbone)
        spec = studio.backbone.spec
        guidance = (request.text_guidance or spec.text_guidance, request.identity_guidance or spec.identity_guidance)
        return film_seconds(spec, request.steps, request.seconds, len(studio.method.streams(request, *guidance)))

    def preload(self) -> None:
        """Opens the default studio in a thread of its own, once; ``state`` says how far it is. Called when the first visitor's page is
        drawn, not before: loading would take the cores that drawing needs."""
        with self._lock:
            if self.state != COLD:
                return
            self.state = LOADING

        def load() -> None:
            try:
                import slotid.face.track  # noqa: F401

                self.studio("slots", self.reader())
                self.studio(self.methods()[0])
                self.state = READY
                self.settled.set()
                self.strangers.tracks()
            except SlotIDError as error:
                self.state, self.reason = FAILED, str(error)
            except Exception as error:  # told on the page and in the log, where a thread's traceback would be lost
                import logging

                logging.getLogger("slotid").exception("the models could not be opened")
                self.state, self.reason = FAILED, f"{type(error).__name__}: {error}"
            finally:
                self.settled.set()

        threading.Thread(target=load, name="slotid-preload", daemon=True).start()

    def spec(self, backbone: str | None = None) -> Any:
        """The backbone's numbers (lengths, steps, guidance) without loading it; None when they cannot be read yet."""
        from slotid.backbone.registry import backbone_spec

        try:
            return backbone_spec(backbone or self.backbone)
        except SlotIDError:
            return None

    def _placed(self) -> str:
        own = [studio.backbone.placement for (name, _), studio in self._studios.items() if name == self.backbone]
        return f" ({own[0].words()})" if own and own[0] is not None else ""

    def status_html(self) -> str:
        """One line on whether the models are there."""
        words = {
            COLD: "Models are not opened yet.",
            LOADING: "Opening the models…",
            READY: "Models are ready" + self._placed(),
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
