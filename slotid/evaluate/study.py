"""The evaluation itself: which films are needed, made and read person by person, each kept at once; then every value."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slotid.evaluate import controls, subjects
from slotid.evaluate.cost import parameters
from slotid.evaluate.footage import Footage
from slotid.evaluate.judges import Judges
from slotid.evaluate.progress import Progress
from slotid.evaluate.reading import Reading
from slotid.evaluate.routing import summary
from slotid.evaluate.score import score
from slotid.evaluate.shelf import Shelf
from slotid.evaluate.subjects import Wish
from slotid.evaluate.workshop import MUTED, STEPS, STRENGTH, Workshop
from slotid.types import Clip, SlotIDError

NO_IDENTITY = "no_identity"
MAIN_METHOD = "slots"
IN_VAE = "real films through the VAE"


@dataclass(frozen=True)
class Settings:
    """What an evaluation is asked for."""

    methods: tuple[str, ...]  # () for real renders alone
    people: int = 8
    films: int = 1  # a person
    seed: int = 0
    steps: int | None = None  # None: the backbone's own
    backbone: str = "tiny"
    gallery: int = 100  # test people among whom a film's person is looked for
    control_people: int | None = None  # people for the reference controls and sweeps; None: a quarter, 2 at least
    kit: str | None = None
    strengths: tuple[float, ...] = ()  # sweep of the strength of the identity
    muted: bool = False  # sweep of the slots, each muted in turn
    step_counts: tuple[int, ...] = ()  # sweep of the steps of the walk
    order_people: int | None = None  # people for controls.ORDER_CONTROLS, of which habits need more; None: as many as for the others
    part: tuple[int, int] | None = None  # (k, n): only the films of every n-th person, from the k-th (1-based); no report

    def __post_init__(self) -> None:
        for name, value, low, high in (("people", self.people, 2, 1000), ("films", self.films, 1, 50), ("gallery", self.gallery, 2, 5000)):
            if not low <= value <= high:
                raise SlotIDError(f"--{name} {value} is out of range; give {low} to {high}.")
        for name, value in (("control", self.control_people), ("order", self.order_people)):
            if value is not None and not 0 <= value <= self.people:
                raise SlotIDError(f"--{name}-people {value} is out of range; give 0 to --people ({self.people}).")
        if not 0 <= self.seed < 1000:
            raise SlotIDError(f"--seed {self.seed} is out of range; give 0 to 999.")
        if any(not 0 <= value <= 2 for value in self.strengths):
            raise SlotIDError(f"--strengths {self.strengths} are out of range; give 0 to 2.")
        if any(not 1 <= value <= 100 for value in self.step_counts):
            raise SlotIDError(f"--step-counts {self.step_counts} are out of range; give 1 to 100.")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1] <= 64:
            raise SlotIDError(f"--part {self.part[0]}/{self.part[1]} is out of range; give for example 1/2 and, beside it, 2/2.")

    @property
    def controlled(self) -> int:
        """How many people all controls and sweeps are measured on; ceiling and floor are made for everybody, as is all without a method."""
        if self.control_people is not None:
            return self.control_people
        return min(self.people, max(2, self.people // 4)) if self.methods else self.people

    @property
    def ordered(self) -> int:
        """How many people the controls of order are measured on."""
        return self.controlled if self.order_people is None else self.order_people

    @property
    def main(self) -> str | None:
        """The method whose reference is spoilt and whose dials are turned: Slot-ID, else the last one that knows a person."""
        knowing = [name for name in self.methods if name != "none"]
        return MAIN_METHOD if MAIN_METHOD in knowing else knowing[-1] if knowing else None


@dataclass(frozen=True)
class Film:
    """One film that was judged."""

    source: str  # a method, a ruler, a reference control, or a sweep's name and value
    wish: Wish
    path: Path
    reading: Reading
    values: dict[str, float | None]
    note: dict[str, Any]


@dataclass
class Findings:
    """All films, and what each method is and costs."""

    films: list[Film] = field(default_factory=list)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)  # method to parameters
    sweeps: dict[str, list[str]] = field(default_factory=dict)  # name of a sweep to its values; its films' source is both together
    routing: dict[str, dict[str, Any]] = field(default_factory=dict)  # method to statistics of its slots
    vae: dict[int, dict[str, float]] = field(default_factory=dict)  # person to what his real film loses in the VAE


Job = tuple[str, Wish, Callable[[], tuple[Clip, dict[str, Any]]]]  # source, what is asked for, the making of it


class Study:
    """``run`` makes, reads and scores every film; interrupted, it goes on where it was; parts may run side by side."""

    def __init__(self, settings: Settings, judges: Judges, out: str | Path, open_studio: Callable[..., Any] | None = None):
        from slotid.world.kit import load_kit

        self.settings, self.judges, self.shelf = settings, judges, Shelf(Path(out))
        kit = load_kit(settings.kit)
        if open_studio is None:
            from slotid.generate import open_studio
        self.open_studio = open_studio
        self.footage = Footage(kit, self.shelf, judges, settings.gallery, settings.seed)
        self.people = [subjects.TEST + k for k in range(settings.people)]
        notes = {"seed": settings.seed, "steps": settings.steps, "backbone": settings.backbone, "kit": zlib.crc32(kit.neutral.tobytes())}
        self.shelf.agree(notes)
        self.marks: dict[str, str] = {}

    def seed_of(self, wish: Wish) -> int:
        """The seed of a film: the same for every method and control, so that differences are not luck."""
        return int(np.random.SeedSequence([self.settings.seed, wish.person, wish.number]).generate_state(1)[0])

    # --- which films ---

    def _controlled(self, wish: Wish) -> bool:
        return self._first(wish, self.settings.controlled)

    @staticmethod
    def _first(wish: Wish, people: int) -> bool:
        return wish.number == 0 and wish.person - subjects.TEST < people

    def ruler_jobs(self, wish: Wish) -> Iterator[Job]:
        """Films whose score is known. Each needs the ceiling's to be there."""
        for name in controls.RULERS if self._controlled(wish) else controls.ALWAYS:
            yield name, wish, lambda n=name: (self.footage.ruler(n, wish, self.seed_of(wish)), {"control": n})

    def method_jobs(self, workshop: Workshop, wish: Wish) -> Iterator[Job]:
        """Films by every method; for people of the controls also from spoilt references and with dials turned."""
        s, main = self.settings, self.settings.main
        for method in s.methods:
            yield method, wish, partial(workshop.film, method, wish)
        if main is None:
            return
        for name in controls.REFERENCE_CONTROLS:
            if self._first(wish, s.ordered if name in controls.ORDER_CONTROLS else s.controlled):
                yield name, wish, partial(workshop.film, main, wish, name)
        if not self._controlled(wish):
            return
        if "none" not in s.methods:
            yield NO_IDENTITY, wish, partial(workshop.film, main, wish, NO_IDENTITY)
        for value in s.strengths:
            if value != 1:
                yield f"{STRENGTH} {value:g}", wish, partial(workshop.film, main, wish, strength=value)
        for slot in range(workshop.slots(main)) if s.muted else ():
            yield f"{MUTED} {slot}", wish, partial(workshop.film, main, wish, muted=slot)
        for count in s.step_counts:
            if count != self._own_steps(workshop):
                yield f"{STEPS} {count}", wish, partial(workshop.film, main, wish, steps=count)

    def _own_steps(self, workshop: Workshop) -> int | None:
        return self.settings.steps or getattr(workshop.studios[self.settings.main].backbone.spec, "steps", None)

    # --- all of it ---

    def run(self) -> Findings | None:
        """Makes what is missing, reads it, scores it; None where only a part was made.

        Raises SlotIDError for an unknown method or backbone before any work.
        """
        s, tell, found = self.settings, Progress(), Findings()
        studios = {}
        for method in s.methods:
            studios[method] = self.open_studio(backbone=s.backbone, method=method)
            found.sizes[method] = parameters(studios[method])
            self._same_weights(method, studios[method])
        workshop = Workshop(self.footage, studios, s.steps, self.seed_of)
        first, every = s.part or (1, 1)
        mine = self.people[first - 1 :: every]
        jobs = {}
        for who in mine:
            wishes = [subjects.wish_of(who, k, s.seed, self.footage.names) for k in range(s.films)]
            jobs[who] = [job for wish in wishes for job in (*self.ruler_jobs(wish), *self.method_jobs(workshop, wish))]
        tell.expect([_kind(job[0]) for own in jobs.values() for job in own])
        gallery = sorted({*self.people, *self.footage.gallery})[first - 1 :: every]
        tell.expect(["portraits"] * len(gallery) + ["people known"] * len(mine) + [IN_VAE] * (len(mine) if studios else 0))
        for who in gallery:
            with tell.timed("portraits"):
                self.footage.portrait(who)
        statistics: dict[str, dict[int, Any]] = {method: {} for method in s.methods}
        for who in mine:
            with tell.timed("people known"):
                self.footage.templates(who)
            target = self.footage.target(who) if s.part is None else None  # the gallery may be another part's
            for source, wish, make in jobs[who]:
                path = self.shelf.path(source, wish.person, wish.number)
                with tell.timed(_kind(source)):
                    note = self.shelf.film(path, make)
                    reading = self.shelf.reading(path, self.judges)
                if target is not None:
                    found.films.append(Film(source, wish, path, reading, score(reading, target, wish.asked, self.judges), note))
            for method in s.methods:
                if workshop.slots(method):
                    statistics[method][who] = workshop.routing(method, who, self.marks[method])
            if studios:
                with tell.timed(IN_VAE):
                    lost = workshop.reconstruction(who)
                if lost:
                    found.vae[who] = lost
        tell.done()
        if s.part is not None:
            return None
        self._same_films(found, workshop)
        for method, rows in statistics.items():
            known = {who: row for who, row in rows.items() if row is not None}
            if known:
                names = getattr(studios[method].method.config, "slot_names", ())
                found.routing[method] = summary(list(known.values()), list(known), names, s.seed)
        return found

    def _same_films(self, found: Findings, workshop: Workshop) -> None:
        """The method's own films of the controlled people stand for all frames, strength 1 and its own number of steps."""
        s, main = self.settings, self.settings.main
        if main is None or not s.controlled:
            return
        as_is = [controls.ALL_FRAMES]
        if s.strengths:
            as_is.append(f"{STRENGTH} 1")
            found.sweeps[STRENGTH] = [f"{value:g}" for value in sorted({*s.strengths, 1.0})]
        if s.muted and workshop.slots(main):
            as_is.append(f"{MUTED} none")
            found.sweeps[MUTED] = ["none", *(str(k) for k in range(workshop.slots(main)))]
        if s.step_counts:
            own = self._own_steps(workshop)
            as_is.append(f"{STEPS} {own}")
            found.sweeps[STEPS] = [str(count) for count in sorted({*s.step_counts, own})]
        own = [f for f in found.films if f.source == main and self._controlled(f.wish)]
        found.films += [Film(name, f.wish, f.path, f.reading, f.values, f.note) for name in as_is for f in own]

    def _same_weights(self, method: str, studio) -> None:
        from torch import nn

        from slotid.identity.weights import fingerprint

        marks = {f"weights of {method}": fingerprint(studio.method)} if isinstance(studio.method, nn.Module) else {}
        self.marks[method] = next(iter(marks.values()), "")
        for name, part in (("backbone", "transformer"), ("refiner", "refiner")):
            net = getattr(studio.backbone, part, None)
            if isinstance(net, nn.Module):
                marks[f"{name} of {method}"] = fingerprint(net)
        self.shelf.agree(marks)


def _kind(source: str) -> str:
    return "control films" if source in controls.RULERS else "generated films"
