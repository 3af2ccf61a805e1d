"""Real clips of test people: rendered once, kept on the shelf, tracked and read once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from slotid.clip import read_clip
from slotid.evaluate import controls, subjects
from slotid.evaluate.judges import Judges
from slotid.evaluate.metrics import known_by
from slotid.evaluate.reading import Reading, load_table, save_table
from slotid.evaluate.score import Target
from slotid.evaluate.shelf import Shelf
from slotid.evaluate.subjects import Wish
from slotid.types import Clip, FaceTrack, SlotIDError
from slotid.world.kit import Kit

CUT = "crops by the true points"  # kept without the judges, who may be replaced


class Footage:
    """Everything real that an evaluation needs. ``gallery``: test people among whom a film's person is looked for."""

    def __init__(self, kit: Kit, shelf: Shelf, judges: Judges, gallery: int, seed: int):
        self.kit, self.shelf, self.judges, self.seed = kit, shelf, judges, seed
        self.names = kit.expr_names
        self.gallery = range(subjects.TEST, subjects.TEST + gallery)
        self.tracked = lru_cache(maxsize=8)(self._tracked)  # films are made person by person
        self.portrait = lru_cache(maxsize=None)(self._portrait)

    def _rendered(self, take) -> Clip:
        from slotid.world.take import film

        return Clip(film(take, self.kit)[0], take.motion.seconds)

    def _path(self, who: int, index: int) -> Path:
        """Of a clip by the number of its take, rendered once."""
        path = self.shelf.path("clips", who, index)
        self.shelf.film(path, lambda: (self._rendered(subjects.reference_take(who, index, self.names)), {"rendered": True}))
        return path

    def clip_of(self, who: int, index: int) -> Clip:
        """A real clip of a person."""
        return read_clip(self._path(who, index))

    def reference(self, who: int) -> Clip:
        """What a method is given."""
        return self.clip_of(who, subjects.REFERENCE)

    def _tracked(self, who: int, index: int) -> FaceTrack:
        path = self._path(who, index)
        track = self.shelf.track(path, read_clip(path))
        if track is None:
            raise SlotIDError(f"no face was found in the rendered clip {path}; render with the head kit that the judges know.")
        return track

    def templates(self, who: int) -> list[Reading]:
        """Real clips of the person that no method is given: whom the films should show."""
        return [self.shelf.reading(self._path(who, index), self.judges) for index in subjects.TEMPLATES]

    def _portrait(self, who: int) -> np.ndarray:
        """(D,) unit: a person's place in the gallery, from two moments of three more scenes each."""
        from slotid.face.align import crop, smooth_boxes
        from slotid.world.take import film

        path = self.shelf.path("portraits", who, 0).with_suffix(".npz")
        table = load_table(path, CUT)
        if table is None:
            crops = []
            for index in subjects.PORTRAITS:
                take = subjects.reference_take(who, index, self.names)
                frames, points = film(take, self.kit)
                crops.append(crop(frames, smooth_boxes(points, take.motion.seconds, np.ones(len(frames), bool)), 128))
            table = {"crops": np.stack(crops)}  # (scenes, moments, 128, 128, 3)
            save_table(path, {"mark": np.array(CUT), **table})
        return known_by(np.stack([self.judges.looks(scene).mean(axis=0) for scene in table["crops"]]))

    def target(self, who: int) -> Target:
        """Whom a film of this person should show, and who else it might show."""
        templates = self.templates(who)
        others = [person for person in self.gallery if person != who][: max(1, len(self.gallery) - 1)]
        return Target(
            who, known_by(np.stack([one.template for one in templates])), known_by(np.stack([one.habits for one in templates])),
            self.portrait(who), np.stack([self.portrait(person) for person in others]),
        )  # fmt: skip

    def ruler(self, name: str, wish: Wish, seed: int) -> Clip:
        """The film of a ruler control."""
        if name == "ceiling":
            return self._rendered(wish.take)
        if name == "floor":
            other = subjects.impostor_of(wish.person, len(self.gallery), self.seed)
            return self._rendered(subjects.as_somebody_else(wish.take, other, self.names))
        real = read_clip(self.shelf.path("ceiling", wish.person, wish.number))
        return controls.RULER_FILMS[name](real, self.reference(wish.person), seed)
