"""The evaluation itself: which films are needed, made and read one by one, each kept at once; then every value."""

from __future__ import annotations

import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from slotid.clip import read_clip
from slotid.evaluate import controls, subjects
from slotid.evaluate.cost import PeakMemory, parameters
from slotid.evaluate.judges import Judges
from slotid.evaluate.reading import Reading, load_table, save_table
from slotid.evaluate.score import Target, score
from slotid.evaluate.shelf import Shelf
from slotid.evaluate.subjects import Wish
from slotid.types import Clip, FaceTrack, Request, Result, SlotIDError

NO_IDENTITY = "no_identity"


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
    control_people: int | None = None  # people for the reference controls; None: a quarter, 2 at least
    kit: str | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (("people", self.people, 2, 1000), ("films", self.films, 1, 50), ("gallery", self.gallery, 2, 5000)):
            if not low <= value <= high:
                raise SlotIDError(f"--{name} {value} is out of range; give {low} to {high}.")
        if self.control_people is not None and not 0 <= self.control_people <= self.people:
            raise SlotIDError(f"--control-people {self.control_people} is out of range; give 0 to --people ({self.people}).")
        if not 0 <= self.seed < 1000:
            raise SlotIDError(f"--seed {self.seed} is out of range; give 0 to 999.")

    @property
    def controlled(self) -> int:
        """How many people the reference controls are measured on."""
        return min(self.people, max(2, self.people // 4)) if self.control_people is None else self.control_people


@dataclass(frozen=True)
class Film:
    """One film that was judged."""

    source: str  # a method, a ruler, or METHOD/REFERENCE_CONTROL
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
    notices: list[str] = field(default_factory=list)


class Study:
    """``run`` makes, reads and scores every film; interrupted, it goes on where it was."""

    def __init__(self, settings: Settings, judges: Judges, out: str | Path, open_studio: Callable[..., Any] | None = None):
        from slotid.world.kit import load_kit

        self.settings, self.judges, self.shelf = settings, judges, Shelf(Path(out))
        self.kit = load_kit(settings.kit)
        self.names = self.kit.expr_names
        if open_studio is None:
            from slotid.generate import open_studio
        self.open_studio = open_studio
        self.people = [subjects.TEST + k for k in range(settings.people)]
        self.wishes = [subjects.wish_of(who, k, settings.seed, self.names) for who in self.people for k in range(settings.films)]
        self.notes = {
            "seed": settings.seed,
            "steps": settings.steps,
            "backbone": settings.backbone,
            "kit": zlib.crc32(self.kit.neutral.tobytes()),
        }
        self.shelf.agree(self.notes)
        self.tracked = lru_cache(maxsize=64)(self._tracked)

    # --- real clips ---

    def _rendered(self, take) -> Clip:
        from slotid.world.take import film

        return Clip(film(take, self.kit)[0], take.motion.seconds)

    def clip_of(self, who: int, index: int, frames: int) -> Clip:
        """A clip of a person by the number of its take, rendered once."""
        path = self.shelf.path("clips", who, index)
        self.shelf.film(path, lambda: (self._rendered(subjects.reference_take(who, index, frames, self.names)), {"rendered": True}))
        return read_clip(path)

    def reference(self, who: int) -> Clip:
        """What a method is given."""
        return self.clip_of(who, subjects.REFERENCE, subjects.REFERENCE_FRAMES)

    def _tracked(self, who: int, index: int) -> FaceTrack:
        from slotid.face.track import track_face

        return track_face(self.clip_of(who, index, subjects.REFERENCE_FRAMES))

    def template(self, who: int) -> Reading:
        """A real clip of the person that no method is given: whom the films should show."""
        self.clip_of(who, subjects.TEMPLATE, subjects.FRAMES)
        return self.shelf.reading(self.shelf.path("clips", who, subjects.TEMPLATE), self.judges)

    def portraits(self, tell: Progress) -> dict[int, np.ndarray]:
        """Mean looks of the gallery's people and of the subjects: three moments of yet another scene each; kept in portraits.npz."""
        from slotid.face.align import crop, smooth_boxes
        from slotid.world.take import film

        people = sorted({*self.people, *range(subjects.TEST, subjects.TEST + self.settings.gallery)})
        path = self.shelf.folder / "portraits.npz"
        table = load_table(path, self.judges.fingerprint)
        known = dict(zip(table["people"].tolist(), table["looks"], strict=True)) if table else {}
        for number, who in enumerate(people):
            if who in known:
                continue
            tell.show("portraits", number, len(people))
            take = subjects.reference_take(who, subjects.PORTRAIT, subjects.PORTRAIT_FRAMES, self.names)
            frames, points = film(take, self.kit)
            boxes = smooth_boxes(points, take.motion.seconds, np.ones(len(frames), bool))
            mean = self.judges.looks(crop(frames, boxes, 128)).mean(axis=0)
            known[who] = mean / max(float(np.linalg.norm(mean)), 1e-9)
            if number % 10 == 9 or who == people[-1]:
                kept = sorted(known)
                table = {"people": np.array(kept), "looks": np.stack([known[person] for person in kept])}
                save_table(path, {"mark": np.array(self.judges.fingerprint), **table})
        return {who: known[who] for who in people}

    def ruler(self, name: str, wish: Wish) -> Clip:
        """The film of a ruler control."""
        if name == "real_other_clip":
            return self._rendered(wish.take)
        if name == "random_person":
            other = subjects.impostor_of(wish.person, self.settings.gallery, self.settings.seed)
            return self._rendered(subjects.as_somebody_else(wish.take, other, self.names))
        real = read_clip(self.shelf.path("real_other_clip", wish.person, wish.number))
        return controls.RULER_FILMS[name](real, self.reference(wish.person), self._seed(wish))

    def _seed(self, wish: Wish) -> int:
        return int(np.random.SeedSequence([self.settings.seed, wish.person, wish.number]).generate_state(1)[0])

    # --- generated films ---

    def generated(self, studio, wish: Wish, reference: FaceTrack | None) -> tuple[Clip, dict[str, Any]]:
        """One film by a method, and its note: settings, seconds per stage, memory."""
        from slotid.generate import generate

        request = Request(
            wish.prompt, reference, 1.0 if reference is not None else 0.0, steps=self.settings.steps, seed=self._seed(wish),
            preview_every=0, likeness=False,
        )  # fmt: skip
        with PeakMemory() as memory:
            result = [item for item in generate(studio, request) if isinstance(item, Result)][-1]
        timings = {name: round(float(value), 3) for name, value in result.timings.items()}
        return result.clip, {**result.settings, "generated": True, "timings": timings, "peak_mb": round(memory.megabytes)}

    def _control_reference(self, name: str, who: int, seed: int) -> FaceTrack:
        index = {"neutral_reference": subjects.NEUTRAL, "expressive_reference": subjects.EXPRESSIVE}.get(name, subjects.REFERENCE)
        return controls.spoilt_reference(name, self.tracked(who, index), seed)

    def _method_jobs(self, method: str, studio) -> Iterator[tuple[str, Wish, Callable[[], tuple[Clip, dict[str, Any]]]]]:
        identity = method != "none"
        for wish in self.wishes:
            yield method, wish, lambda w=wish: self.generated(studio, w, self.tracked(w.person, subjects.REFERENCE) if identity else None)
        few = [wish for wish in self.wishes if wish.number == 0][: self.settings.controlled]
        if not identity:
            return
        for wish in few:
            yield NO_IDENTITY, wish, lambda w=wish: self.generated(studio, w, None)
            for name in controls.REFERENCE_CONTROLS:
                if name != "references_all":  # that is the method itself: its films are taken
                    yield (
                        f"{method}/{name}",
                        wish,
                        lambda w=wish, n=name: self.generated(studio, w, self._control_reference(n, w.person, self._seed(w))),
                    )

    # --- all of it ---

    def run(self) -> Findings:
        """Makes what is missing, reads it, scores it. Raises SlotIDError for an unknown method or backbone before any work."""
        tell, found = Progress(), Findings()
        studios = {}
        for method in self.settings.methods:
            studios[method] = self.open_studio(backbone=self.settings.backbone, method=method)
            found.sizes[method] = parameters(studios[method])
            self._same_weights(method, studios[method])
        ruler_jobs = [
            (name, wish, lambda n=name, w=wish: (self.ruler(n, w), {"control": n})) for wish in self.wishes for name in controls.RULERS
        ]
        method_jobs = [job for method, studio in studios.items() for job in self._method_jobs(method, studio)]
        # no identity is the same film whichever method's studio makes it
        jobs = list({(job[0], job[1].person, job[1].number): job for job in ruler_jobs + method_jobs}.values())
        tell.expect([_kind(job[0]) for job in jobs])
        portraits = self.portraits(tell)
        targets = {who: self._target(who, portraits) for who in self.people}
        for source, wish, make in jobs:
            path = self.shelf.path(source, wish.person, wish.number)
            with tell.timed(_kind(source)):
                note = self.shelf.film(path, make)
                reading = self.shelf.reading(path, self.judges)
            found.films.append(Film(source, wish, path, reading, score(reading, targets[wish.person], wish.asked, self.judges), note))
        tell.done()
        self._all_frames(found)
        return found

    def _all_frames(self, found: Findings) -> None:
        """The control "references_all" is the method's own films of the controlled people."""
        first = {wish.person for wish in self.wishes if wish.number == 0 and wish.person - subjects.TEST < self.settings.controlled}
        own = [f for f in found.films if f.source in self.settings.methods and f.source != "none"]
        found.films += [
            Film(f"{f.source}/references_all", f.wish, f.path, f.reading, f.values, f.note)
            for f in own
            if f.wish.number == 0 and f.wish.person in first
        ]

    def _target(self, who: int, portraits: dict[int, np.ndarray]) -> Target:
        template = self.template(who)
        gallery = [person for person in sorted(portraits) if person != who][: self.settings.gallery - 1]
        return Target(who, template.template, template.habits, portraits[who], np.stack([portraits[person] for person in gallery]))

    def _same_weights(self, method: str, studio) -> None:
        from torch import nn

        from slotid.identity.weights import fingerprint

        marks = {f"weights of {method}": fingerprint(studio.method)} if isinstance(studio.method, nn.Module) else {}
        net = getattr(studio.backbone, "transformer", None)
        if isinstance(net, nn.Module):
            marks[f"backbone of {method}"] = fingerprint(net)
        self.shelf.agree(marks)


def _kind(source: str) -> str:
    return "control films" if source in controls.RULERS else "generated films"


class Progress:
    """One line on stderr with what is left, learnt from how long each kind of film took."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = defaultdict(int)
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.live = sys.stderr.isatty()
        self.last = 0.0

    def expect(self, kinds: list[str]) -> None:
        """What is to come."""
        for kind in kinds:
            self.waiting[kind] += 1

    def show(self, what: str, done: int, of: int) -> None:
        """``what`` is at ``done`` of ``of``; at most every 5 s where stderr is no terminal."""
        if not self.live and time.monotonic() - self.last < 5:
            return
        self.last = time.monotonic()
        line = f"{what} {done}/{of}{self.left()}"
        print(f"\r{line:<78}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def left(self) -> str:
        """ ", 2:31 left", or nothing while unknown."""
        if not any(self.taken.values()):
            return ""
        usual = float(np.mean([second for seconds in self.taken.values() for second in seconds]))
        rest = sum(count * (float(np.mean(self.taken[kind])) if self.taken[kind] else usual) for kind, count in self.waiting.items())
        return f", {int(rest + 0.999) // 60}:{int(rest + 0.999) % 60:02d} left"

    def timed(self, kind: str) -> _Timed:
        """Context around one film."""
        return _Timed(self, kind)

    def done(self) -> None:
        """Ends the line."""
        if self.live:
            print(file=sys.stderr)


class _Timed:
    def __init__(self, progress: Progress, kind: str):
        self.progress, self.kind = progress, kind

    def __enter__(self) -> None:
        self.begun = time.monotonic()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            p = self.progress
            p.taken[self.kind].append(time.monotonic() - self.begun)
            p.waiting[self.kind] -= 1
            p.show(self.kind, len(p.taken[self.kind]), len(p.taken[self.kind]) + p.waiting[self.kind])
