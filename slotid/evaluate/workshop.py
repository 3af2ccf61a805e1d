"""Generated films of an evaluation: a method's own, those from spoilt references, and those with a dial turned."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from slotid.clip import read_clip
from slotid.evaluate import controls, subjects
from slotid.evaluate.cost import PeakMemory
from slotid.evaluate.footage import Footage
from slotid.evaluate.reading import load_table, save_table
from slotid.evaluate.reconstruction import reconstruction
from slotid.evaluate.routing import slot_statistics
from slotid.evaluate.subjects import Wish
from slotid.types import Clip, IdentityCode, Request, Result

STRENGTH, MUTED, STEPS = "strength", "muted", "steps"  # of sweeps; the source of a film is the name and the value


class Workshop:
    """Studios by method, and the codes of the people whose films are being made."""

    def __init__(self, footage: Footage, studios: dict[str, Any], steps: int | None, seed_of: Callable[[Wish], int]):
        self.footage, self.studios, self.steps, self.seed_of = footage, studios, steps, seed_of
        self.code = lru_cache(maxsize=32)(self._code)  # films are made person by person

    def _code(self, method: str, who: int, control: str, seed: int) -> tuple[IdentityCode, float]:
        """What the method remembers of a person's reference, spoilt as ``control`` says, and the seconds it took."""
        index = {"neutral": subjects.NEUTRAL, "expressive": subjects.EXPRESSIVE}.get(control, subjects.REFERENCE)
        track = controls.spoilt_reference(control, self.footage.tracked(who, index), seed)
        studio, begun = self.studios[method], time.perf_counter()
        return studio.method.remember(track, studio.backbone.to_latent), time.perf_counter() - begun

    def slots(self, method: str) -> int:
        """How many slots a method has; 0 for one without."""
        return int(getattr(getattr(self.studios[method].method, "config", None), "slots", 0))

    def film(
        self, method: str, wish: Wish, control: str = controls.ALL_FRAMES, strength: float = 1.0, muted: int | None = None, steps: int = 0
    ) -> tuple[Clip, dict[str, Any]]:
        """One film and its note: settings, seconds per stage, memory. ``control``: what the reference is; "no_identity" gives none."""
        from slotid.generate import generate

        code, read_in = None, 0.0
        if method != "none" and control != "no_identity":
            spoilt = self.seed_of(wish) if control == "shuffled" else 0  # the others do not depend on it: one code serves all films
            code, read_in = self.code(method, wish.person, control, spoilt)
        gain = None if muted is None else tuple(float(k != muted) for k in range(self.slots(method)))
        request = Request(
            wish.prompt, code, strength if code is not None else 0.0, steps=steps or self.steps, seed=self.seed_of(wish),
            slot_gain=gain, preview_every=0, likeness=False,
        )  # fmt: skip
        with PeakMemory() as memory:
            result = [item for item in generate(self.studios[method], request) if isinstance(item, Result)][-1]
        timings = {name: round(float(value), 3) for name, value in result.timings.items() if name != "remember"}
        timings |= {"remember": round(read_in, 3)} if code is not None else {}
        return result.clip, {**result.settings, "generated": True, "timings": timings, "peak_mb": round(memory.megabytes)}

    def routing(self, method: str, who: int, mark: str) -> dict[str, Any] | None:
        """``slot_statistics`` of the person's whole reference, kept on the shelf; None for a method that shows no plans."""
        path = self.footage.shelf.path(f"routing.{method}", who, 0).with_suffix(".npz")
        table = load_table(path, mark)
        if table is None:
            shown = self.code(method, who, controls.ALL_FRAMES, 0)[0].shown
            if "plans" not in shown:
                return None
            table = slot_statistics(shown)
            save_table(path, {"mark": np.array(mark), **table})
        return table

    @cached_property
    def _vae_mark(self) -> str:
        """Of the VAE, which all studios share; empty where the backbone has none."""
        from torch import nn

        from slotid.identity.weights import fingerprint

        vae = getattr(next(iter(self.studios.values())).backbone, "vae", None)
        return fingerprint(vae) if isinstance(vae, nn.Module) else ""

    def reconstruction(self, who: int) -> dict[str, float]:
        """``reconstruction`` of the person's first real film, kept on the shelf; empty where the VAE cannot read it or there is none."""
        if not self._vae_mark:
            return {}
        shelf = self.footage.shelf
        path = shelf.path("reconstruction", who, 0).with_suffix(".npz")
        table = load_table(path, self._vae_mark)
        if table is None:
            backbone = next(iter(self.studios.values())).backbone
            lost = reconstruction(backbone, read_clip(shelf.path(controls.RULERS[0], who, 0)).frames) or {}
            table = {name: np.array(value) for name, value in lost.items()}
            save_table(path, {"mark": np.array(self._vae_mark), **table})
        return {name: float(value) for name, value in table.items()}
