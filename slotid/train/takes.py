"""From a folder of clips to training takes: one person tracked, the film at the backbone's size, its caption, and who is who.

Links say which takes show the same person in another place: high likeness of the face, low likeness of the background (Avatar V,
arXiv 2606.13872). Where a side file names the person, its word is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slotid.backbone.backbone import Spec
from slotid.types import Clip, FaceTrack, SlotIDError

FILMS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".mpg")
REFERENCE_FRAMES = 24  # face crops kept of each take, evenly in time
FACE_LEAST, BACKGROUND_MOST = 0.6, 0.6


@dataclass(frozen=True)
class Take:
    """What is kept of one clip before it is encoded."""

    name: str
    caption: str
    person: str | None  # from the side file; None: by likeness
    film: np.ndarray  # (T, H, W, 3) uint8 at the backbone's size and rate
    crops: np.ndarray  # (R, C, C, 3) uint8 face crops
    seconds: np.ndarray  # (R,) float32
    seen: np.ndarray  # (R,) bool
    anchor: int  # row of the best still look
    focus: tuple[float, float, float]  # face centre x, y and half width in the film, as shares of its width, height and width
    face: np.ndarray  # (D,) float32 signature of the face: squared distances count
    background: np.ndarray  # (E,) float32 signature of the place


def find_clips(folder: str | Path) -> list[Path]:
    """All films below a folder, sorted.

    Raises:
        SlotIDError: no such folder, or no film in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SlotIDError(f"There is no folder {folder}; give --data the folder of the training clips.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in FILMS)
    if not found:
        raise SlotIDError(f"{folder} holds no film ({', '.join(FILMS)}); give --data the folder of the training clips.")
    return found


def side_file(clip: Path) -> tuple[str, str | None]:
    """(caption, person or None) from NAME.json ({"caption": ..., "person": ...}) or NAME.txt beside the clip.

    Raises:
        SlotIDError: none of both, or no caption in it.
    """
    told, text = clip.with_suffix(".json"), clip.with_suffix(".txt")
    person = None
    if told.is_file():
        try:
            found = json.loads(told.read_text(encoding="utf-8"))
            caption, person = str(found["caption"]).strip(), found.get("person")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SlotIDError(f"{told} has no caption; expected a JSON object with 'caption' and, if known, 'person'.") from error
    elif text.is_file():
        caption = text.read_text(encoding="utf-8").strip()
    else:
        raise SlotIDError(f"{clip.name} has no caption; write one sentence into {text.name} beside it.")
    if not caption:
        raise SlotIDError(f"The caption of {clip.name} is empty; write what is to be seen, without saying who it is.")
    return caption, None if person is None else str(person)


def read_take(path: Path, spec: Spec, frames: int, crop: int) -> Take:
    """One clip from disk: read, tracked, cut.

    Raises:
        SlotIDError: unreadable, no face, no caption, or too short.
    """
    from slotid.clip import read_clip, resample
    from slotid.face.track import track_face

    caption, person = side_file(path)
    clip = resample(read_clip(path, max_side=max(spec.size) * 2), spec.fps)
    return cut_take(path.stem, caption, person, clip, track_face(clip, crop_size=crop), spec, frames)


def cut_take(name: str, caption: str, person: str | None, clip: Clip, track: FaceTrack, spec: Spec, frames: int) -> Take:
    """The take of a tracked clip at the backbone's rate: its first ``frames`` frames in which the face stays, cut to the spec's size
    around the face."""
    from slotid.identity.features import pick_frames
    from slotid.identity.reading import choose_anchor

    if len(clip.frames) < frames:
        raise SlotIDError(
            f"{name} has {len(clip.frames)} frames at {spec.fps:g} per second; {frames} are needed. Leave it out or ask for fewer."
        )
    start = _where_seen(track.seen, frames)
    part = slice(start, start + frames)
    centre = np.median((track.boxes[part, :2] + track.boxes[part, 2:]) / 2, axis=0)
    half = float(np.median(track.boxes[part, 2] - track.boxes[part, 0])) / 2
    film, focus = _cut(clip.frames[part], centre, half, spec.size)
    rows = sorted(pick_frames(track.seconds, track.seen, REFERENCE_FRAMES))
    best = choose_anchor(track)
    if best not in rows:
        rows[int(np.argmin([abs(track.seconds[r] - track.seconds[best]) for r in rows]))] = best
        rows.sort()
    return Take(
        name, caption, person, film, track.crops[rows], track.seconds[rows].astype(np.float32), track.seen[rows], rows.index(best), focus,
        face_signature(track), place_signature(clip, track),
    )  # fmt: skip


def _where_seen(seen: np.ndarray, frames: int) -> int:
    """Start of the run of ``frames`` in which the face is seen most; the first of equals."""
    counts = np.convolve(seen.astype(int), np.ones(frames, int), "valid")
    return int(np.argmax(counts))


def _cut(frames: np.ndarray, centre: np.ndarray, half: float, size: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float, float]]:
    import cv2

    height, width = size
    _, h, w, _ = frames.shape
    scale = max(height / h, width / w)
    cut_w, cut_h = min(w, round(width / scale)), min(h, round(height / scale))
    left = int(np.clip(round(centre[0] - cut_w / 2), 0, w - cut_w))
    top = int(np.clip(round(centre[1] - cut_h / 2), 0, h - cut_h))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    film = np.stack([cv2.resize(frame[top : top + cut_h, left : left + cut_w], (width, height), interpolation=how) for frame in frames])
    return film, (float(centre[0] - left) / cut_w, float(centre[1] - top) / cut_h, half / cut_w)


def face_signature(track: FaceTrack) -> np.ndarray:
    """(D,) the median face in units of a clear difference: steady points turned to the front, skin, hair. Not found parts are 0."""
    from slotid.face import likeness

    found = likeness.features(track)
    shape = _middle(found.shape)
    shape = shape - shape.mean(axis=0)
    # Procrustes distances are root mean squares over the points: scaled so, plain squared differences add up to the same
    points = shape.ravel() / (likeness.SHAPE * np.sqrt(len(shape)))
    colours = [_middle(found.skin) * [0.3, 1, 1] / likeness.SKIN, _middle(found.hair) / likeness.HAIR]
    return np.concatenate([points, *colours]).astype(np.float32)


def _middle(values: np.ndarray) -> np.ndarray:
    """Median over the frames in which all is known; zeros where there is none (a head that is always turned away has no shape)."""
    known = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return np.median(values[known], axis=0) if known.any() else np.zeros(values.shape[1:])


def place_signature(clip: Clip, track: FaceTrack, side: int = 8) -> np.ndarray:
    """(side * side * 4,) colours of the median picture with the head taken out, and what is known of it: 1 outside of the head, 0
    inside."""
    import cv2

    step = max(1, len(clip.frames) // 12)
    small = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in clip.frames[::step]])
    picture = np.median(small, axis=0) / 255
    h, w = clip.frames.shape[1:3]
    x0, y0, x1, y1 = np.median(track.boxes, axis=0) * [side / w, side / h, side / w, side / h]
    y, x = np.mgrid[:side, :side] + 0.5
    outside = ~((x > x0) & (x < x1) & (y > y0) & (y < y1))
    return np.concatenate([picture.reshape(-1, 3) * outside.reshape(-1, 1), outside.reshape(-1, 1)], axis=1).ravel().astype(np.float32)


def face_alike(a: np.ndarray, b: np.ndarray) -> float:
    """0 to 1; one half where same and another person are equally probable, by the calibration of ``face.likeness``."""
    from slotid.face import likeness

    mean = float(np.square(a - b).sum()) / 3
    return 1 / (1 + (mean / likeness.HALF) ** likeness.STEEP)


def place_alike(a: np.ndarray, b: np.ndarray) -> float:
    """0 to 1 (the very same picture), over what is background in both."""
    a, b = a.reshape(-1, 4), b.reshape(-1, 4)
    both = (a[:, 3] > 0) & (b[:, 3] > 0)
    if not both.any():
        return 0.0
    return float(np.exp(-np.abs(a[both, :3] - b[both, :3]).mean() / 0.12))


def link(persons: list[str | None], faces: np.ndarray, places: np.ndarray, face_least: float = FACE_LEAST,
         place_most: float = BACKGROUND_MOST) -> list[list[int]]:  # fmt: skip
    """For every take the takes of the same person in another place.

    Where both persons are named, the names decide who; otherwise the likeness of the faces. The place must differ in every case: a
    reference from the same shot teaches to copy the background.

    Raises:
        SlotIDError: no take has a partner.
    """
    partners: list[list[int]] = [[] for _ in persons]
    for i in range(len(persons)):
        for j in range(i + 1, len(persons)):
            named = persons[i] is not None and persons[j] is not None
            same = persons[i] == persons[j] if named else face_alike(faces[i], faces[j]) >= face_least
            if same and place_alike(places[i], places[j]) <= place_most:
                partners[i].append(j)
                partners[j].append(i)
    if not any(partners):
        raise SlotIDError(
            f"Among {len(persons)} takes no person was found in two different places; add clips, or name the persons in the side files "
            "({'caption': ..., 'person': ...})."
        )
    return partners


def read_takes(paths: list[Path], spec: Spec, frames: int, crop: int) -> Iterator[Take | tuple[Path, str]]:
    """Takes one by one; a clip that cannot be used is given as (path, reason), so that one bad file does not end a night's work."""
    for path in paths:
        try:
            take = read_take(path, spec, frames, crop)
            yield replace(take, name=str(path))
        except SlotIDError as error:
            yield path, str(error)
