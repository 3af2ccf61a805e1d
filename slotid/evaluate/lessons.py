"""What the judges learn from: real films of people that no generator trains on, rendered once, read once, kept on disk.

Two kinds. *Films* are tracked with MediaPipe as a visitor's film would be: three a person (an act that shows habits, any act, and the
two acts of somebody who introduces himself). *Stills* are four moments of three takes, cut by the true points: many people, cheaply.
People from HELD_OUT on are never trained on: they grade and calibrate, and have two more introductions, because a person is known to
the judges by several clips.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slotid.evaluate.curves import CHANNELS, read_curves
from slotid.evaluate.metrics import flicker, jitter
from slotid.types import Clip, SlotIDError
from slotid.world.performance import acts_of
from slotid.world.splits import SPLITS

HELD_OUT = SPLITS["judges"].start + 90_000
FRAMES, FPS, SIZE = 33, 12.0, 128  # as the films that are judged
MOMENTS, MOMENT_FPS = 4, 1.5
SMALL = 64
GROUP = 2  # people per shard: small, so that little is lost when time is up
FILM, ANY, INTRODUCTION = 0, 1, 2  # numbers of a person's takes
MORE_INTRODUCTIONS = (3, 4)  # of held-out people
_HABIT_SCRIPTS = (("talk",), ("smile",), ("laugh",))


@dataclass(frozen=True)
class Lessons:
    """N clips. Pictures are small, because the judges see small ones."""

    people: np.ndarray  # (N,) int64
    index: np.ndarray  # (N,) take
    acts: list[str]  # facts of the takes
    facts: list[dict[str, str]]
    vectors: np.ndarray  # (N, D) float32, world.person.person_vector
    faces: np.ndarray  # (N, 4, 64, 64, 3) uint8 crops
    frames: np.ndarray  # (N, 4, 64, 64, 3) uint8 whole frames
    curves: np.ndarray  # (N, T, C) float32; zeros for stills
    seen: np.ndarray  # (N, T) bool; all False for stills
    motion: np.ndarray  # (N, T, X) float32 the true performance, see ``truth_of``; zeros for stills
    unrest: np.ndarray  # (N, 2) jitter and flicker; NaN for stills

    def of(self, rows: np.ndarray) -> Lessons:
        """Some of the clips."""
        rows = np.asarray(rows)
        return Lessons(
            self.people[rows], self.index[rows], [self.acts[r] for r in rows], [self.facts[r] for r in rows], self.vectors[rows],
            self.faces[rows], self.frames[rows], self.curves[rows], self.seen[rows], self.motion[rows], self.unrest[rows],
        )  # fmt: skip

    def centred(self) -> np.ndarray:
        """Curves (N, T, C) with every clip's median over its seen frames taken away: as the judges read them."""
        values = self.curves.copy()
        for k in range(len(values)):
            values[k] -= np.median(values[k][self.seen[k]], axis=0) if self.seen[k].any() else 0
        return values

    def split(self) -> tuple[Lessons, Lessons]:
        """(to train on, held out)."""
        held = self.people >= HELD_OUT
        return self.of(np.flatnonzero(~held)), self.of(np.flatnonzero(held))


def truth_of(expressions: np.ndarray, head: np.ndarray, gaze: np.ndarray) -> np.ndarray:
    """Expressions (T, 57), head (T, 3) and gaze (T, 2) degrees to (T, 64): what measured curves are, nearly, a linear function of."""
    head, gaze = np.asarray(head, np.float64) / 10, np.asarray(gaze, np.float64) / 10
    return np.concatenate([expressions, head, gaze, head[:, :2] ** 2], axis=1).astype(np.float32)


def act_targets(facts: list[str], acts: tuple[str, ...]) -> np.ndarray:
    """(N, A) float32: an act's share of a clip's script."""
    out = np.zeros((len(facts), len(acts)), np.float32)
    for row, fact in enumerate(facts):
        played = acts_of(fact)
        for act in played:
            out[row, acts.index(act)] += 1 / len(played)
    return out


def scene_labels(facts: list[dict[str, str]], names: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """{fact: (N,) index of its value}; clothing is told as colour and garment."""
    split = [{**f, **dict(zip(("colour", "garment"), f["clothing"].split("_", 1), strict=True))} for f in facts]
    return {name: np.array([values.index(f[name]) for f in split]) for name, values in names.items()}


def _takes(seed: int, stills: bool, names: tuple[str, ...]) -> Iterator:
    from slotid.world.performance import ACTS, Script
    from slotid.world.take import direct

    frames, fps = (MOMENTS, MOMENT_FPS) if stills else (FRAMES, FPS)
    yield direct(seed, FILM, frames, fps, script=Script(_HABIT_SCRIPTS[seed % 3]), expr_names=names)
    # every act in turn, so that even a few people show all of what a face can do
    yield direct(seed, ANY, frames, fps, script=Script((ACTS[seed * 5 % len(ACTS)],)), expr_names=names)
    yield direct(seed, INTRODUCTION, frames, fps, reference=True, defects=0.3, expr_names=names)
    for index in MORE_INTRODUCTIONS if seed >= HELD_OUT and not stills else ():
        yield direct(seed, index, frames, fps, reference=True, defects=0.0, expr_names=names)


def render(folder: Path, seeds: range, stills: bool, kit: str | None, until: float, tell: Callable[[str], None]) -> bool:
    """Renders shards of ``seeds`` that are not there yet, until the clock ``until`` (time.monotonic); True when all are there."""
    from slotid.world.kit import load_kit
    from slotid.world.shards import pack_shard
    from slotid.world.take import film

    model = load_kit(kit)
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(seeds.start, seeds.stop, GROUP):
        group = range(start, min(start + GROUP, seeds.stop))
        path = folder / f"shard_{group.start:07d}_{group.stop:07d}.zip"
        if path.exists():
            continue
        if time.monotonic() > until:
            return False
        pack_shard(path, ((take, *film(take, model, SIZE)) for seed in group for take in _takes(seed, stills, model.expr_names)))
        tell(f"rendered {'stills' if stills else 'films'} of people {group.start} to {group.stop - 1}")
    return True


def read(folder: Path, stills: bool, tell: Callable[[str], None]) -> Lessons:
    """All rendered clips as the judges see them. What was read before is taken from ``folder``/lessons.safetensors.

    Raises SlotIDError when nothing is rendered there.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from slotid.world.shards import read_shards

    records = read_shards(folder)
    cache, known = folder / "lessons.safetensors", {}
    if cache.exists():
        stored = {name: value.numpy() for name, value in load_file(cache).items()}
        known = {(int(p), int(i)): row for row, (p, i) in enumerate(stored["key"])}
    rows, fresh, saved = {}, 0, time.monotonic()

    def keep() -> None:
        done = [key for key in ((r.person, r.index) for r in records) if key in rows]
        table = {name: torch.from_numpy(np.stack([rows[key][name] for key in done])) for name in rows[done[0]]}
        save_file({**table, "key": torch.tensor(done)}, str(cache) + ".part")
        Path(str(cache) + ".part").replace(cache)

    for record in records:
        key = (record.person, record.index)
        if key in known:
            rows[key] = {name: stored[name][known[key]] for name in stored if name != "key"}
            continue
        rows[key] = _read_one(record, stills)
        fresh += 1
        if time.monotonic() - saved > 60:
            keep()
            saved = time.monotonic()
            tell(f"read {len(rows)} of {len(records)} clips")
    if fresh:
        keep()
    table = {name: np.stack([rows[r.person, r.index][name] for r in records]) for name in rows[records[0].person, records[0].index]}
    return Lessons(
        people=np.array([r.person for r in records]),
        index=np.array([r.index for r in records]),
        acts=[r.facts["act"] for r in records],
        facts=[r.facts for r in records],
        vectors=np.stack([r.vector for r in records]).astype(np.float32),
        **table,
    )


def _read_one(record, stills: bool) -> dict[str, np.ndarray]:
    import cv2

    from slotid.face.align import crop, smooth_boxes
    from slotid.face.track import track_face

    frames, count = record.frames(), FRAMES
    picked = np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)
    curves, seen = np.zeros((count, len(CHANNELS)), np.float32), np.zeros(count, bool)
    motion = np.zeros((count, 64), np.float32)
    unrest = np.full(2, np.nan)
    boxes = smooth_boxes(record.points5, record.seconds, np.ones(len(frames), bool))
    if not stills:
        motion = truth_of(record.expressions, record.head, record.gaze)
        unrest[1] = flicker(frames)
        try:
            track = track_face(Clip(frames, record.seconds), least=3)
        except SlotIDError:  # a film in which MediaPipe finds nobody stays in: with no frame seen
            track = None
        found = read_curves(track)
        if found is not None:
            curves, seen, boxes = found.values, found.seen, track.boxes
            unrest[0] = jitter(track.landmarks, track.seconds)
    small = np.stack([cv2.resize(frame, (SMALL, SMALL), interpolation=cv2.INTER_AREA) for frame in frames[picked]])
    faces = crop(frames[picked], boxes[picked], SMALL)
    return {"faces": faces, "frames": small, "curves": curves, "seen": seen, "motion": motion, "unrest": unrest.astype(np.float32)}


def note(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)
