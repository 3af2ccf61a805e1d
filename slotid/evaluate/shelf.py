"""Films and what the judges saw in them, on disk, so that a stopped evaluation goes on where it was.

``films/SOURCE/PERSON_NUMBER.mp4`` with a ``.json`` (how it was made), a ``.track.npz`` (its face) and a ``.npz`` (the
reading) beside it. Every film is judged as it
came back from its file, generated or real, so that one codec is in all numbers.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slotid.clip import read_clip, write_clip
from slotid.evaluate.judges import Judges
from slotid.evaluate.reading import (
    Reading,
    load_reading,
    load_table,
    read_film,
    retrack,
    save_reading,
    save_table,
    track_or_none,
)
from slotid.types import Clip, FaceTrack, SlotIDError

TRACKED = "mesh of MediaPipe 0.10.14"


@dataclass(frozen=True)
class Shelf:
    """The folder of one evaluation."""

    folder: Path

    def path(self, source: str, person: int, number: int) -> Path:
        """Of a film; its folder exists afterwards."""
        path = self.folder / "films" / source.replace(" ", "_") / f"{person}_{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def film(self, path: Path, make: Callable[[], tuple[Clip, dict[str, Any]]]) -> dict[str, Any]:
        """Makes the film unless it is there; returns its note (``make``'s dictionary and the seconds that it took)."""
        note = path.with_suffix(".json")
        if path.exists() and note.exists():
            return json.loads(note.read_text())
        begun = time.perf_counter()
        clip, about = make()
        about = {**about, "made_in": round(time.perf_counter() - begun, 3)}
        write_clip(path, clip, about if about.get("generated") else None)
        _write(note, json.dumps(about, indent=1))
        return about

    def reading(self, path: Path, judges: Judges) -> Reading:
        """What the judges saw in the film at ``path``."""
        kept = path.with_suffix(".npz")
        reading = load_reading(kept, judges.fingerprint)
        if reading is None:
            clip = read_clip(path)
            save_reading(kept, read_film(clip, judges, self.track(path, clip)), judges.fingerprint)
            reading = load_reading(kept, judges.fingerprint)
        return reading

    def track(self, path: Path, clip: Clip) -> FaceTrack | None:
        """The film's face, found once: better judges come along more often than better films, and tracking is most of the work."""
        kept = path.with_suffix(".track.npz")
        table = load_table(kept, TRACKED)
        if table is not None:
            return retrack(clip, **table) if len(table["landmarks"]) else None
        track = track_or_none(clip)
        nothing = np.zeros((0, 4), np.float32)
        table = {"landmarks": nothing, "boxes": nothing} if track is None else {"landmarks": track.landmarks, "boxes": track.boxes}
        save_table(kept, {"mark": np.array(TRACKED), **table})
        return track

    def agree(self, settings: dict[str, Any]) -> None:
        """Keeps what all films of this folder have in common; SlotIDError when an earlier run differed in a value both name."""
        note = self.folder / "run.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(note.read_text()) if note.exists() else {}
        other = [f"{name} was {known[name]!r}, now {value!r}" for name, value in settings.items() if name in known and known[name] != value]
        if other:
            raise SlotIDError(
                f"{self.folder} holds an evaluation made otherwise ({'; '.join(other)}); give another --out or the same settings."
            )
        _write(note, json.dumps({**known, **settings}, indent=1))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + f".{os.getpid()}.part")
    temporary.write_text(text)
    os.replace(temporary, path)
