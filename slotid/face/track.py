"""A clip becomes one face through time.

Detection runs about eight times a second on small frames; the mesh runs on every frame, inside a window that follows the chosen
person, so its cost does not grow with the picture and small faces get as many pixels as large ones.
"""

from __future__ import annotations

import numpy as np

from slotid.face.align import crop, smooth_boxes
from slotid.face.detect import OVAL, Detector, Found, Mesh, five_points
from slotid.face.hidden import hidden_frames
from slotid.face.people import Person, choose, find_shots, gather, link, look_of
from slotid.face.quality import measure
from slotid.types import Clip, FaceTrack, SlotIDError

TRACK_SIDE = 960  # a good ``max_side`` for read_clip before tracking: crops stay sharp, decoding and tracking stay fast
LOOK_SIDE = 480  # longest side of the frames that are searched for faces
LOOKS_PER_SECOND = 8.0
REACH = 0.6  # seconds that a detection vouches for the frames around it
WINDOW = 2.6  # side of the mesh's window over the width of the detector's box
WINDOW_PIXELS = 256
LEAST = 5  # frames


def track_face(clip: Clip, pick: int | tuple[float, float] | None = None, crop_size: int = 128, least: int = LEAST) -> FaceTrack:
    """Follow one person through a clip, over gaps and cuts.

    Args:
        clip: at least 64 pixels on each side; read it with ``read_clip(path, max_side=TRACK_SIDE)`` for speed.
        pick: whom. None: the largest, most central, most persistent face. An integer: an index into ``others`` of a track made
            with None. (x, y): the face at that point, in pixels of this clip, in any frame.
        crop_size: side of the crops in pixels.
        least: frames in which the face must be seen, otherwise an error.

    Returns:
        FaceTrack over all T frames of the clip. Frames where the face is hidden, lost, out of the picture or belongs to somebody
        else are not ``seen``: landmarks and quality are NaN there, and the box is interpolated. ``others`` are the median face boxes of all
        persons found, this one first. All pixels are those of ``clip``.

    Raises:
        SlotIDError: no face; the face in fewer than ``least`` frames; nobody at ``pick``.
    """
    frames, seconds = clip.frames, np.asarray(clip.seconds, np.float64)
    name = clip.source or "the clip"
    found, looks, thumbs = _look_for_faces(frames, seconds)
    nobody = (
        f"No face was found in {name} ({len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}); "
        "give a clip in which one face is well lit, not hidden, and wider than a twentieth of the picture."
    )
    if not any(found.values()):
        raise SlotIDError(nobody)
    shots = find_shots(thumbs)
    persons = gather(link(found, looks, seconds, shots), seconds, frames.shape[1:3], len(found))
    if not persons:  # a sighting in a single frame is nobody
        raise SlotIDError(nobody)
    persons = choose(persons, pick)
    landmarks = _follow(frames, seconds, shots, persons[0])
    seen = np.isfinite(landmarks[:, 0, 0])
    if seen.any():
        landmarks[hidden_frames(frames, landmarks)] = np.nan
        seen = np.isfinite(landmarks[:, 0, 0])
    if not seen.any():
        raise SlotIDError(nobody)
    if seen.sum() < least:
        raise SlotIDError(
            f"The face is seen in only {int(seen.sum())} of {len(frames)} frames of {name}, but {least} are needed; "
            "give a longer clip in which the face is larger, better lit, or turned to the camera."
        )
    boxes = smooth_boxes(five_points(landmarks), seconds, seen, shots)
    return FaceTrack(
        crops=crop(frames, boxes, crop_size),
        boxes=boxes,
        landmarks=landmarks,
        seen=seen,
        seconds=seconds,
        quality=measure(frames, landmarks),
        notices=clip.notices + _notices(seen, shots, persons, pick),
        others=np.stack([np.median(p.sightings()[1], 0) for p in persons]).astype(np.float32),
    )


def _look_for_faces(frames: np.ndarray, seconds: np.ndarray) -> tuple[dict[int, list[Found]], dict[int, list[np.ndarray]], np.ndarray]:
    """Faces and their looks in some frames {frame: [...]}, boxes in source pixels; and small frames for finding cuts."""
    import cv2

    height, width = frames.shape[1:3]
    scale = min(1.0, LOOK_SIDE / max(height, width))
    small_size = max(1, round(width * scale)), max(1, round(height * scale))
    rate = 1 / np.median(np.diff(seconds)) if len(seconds) > 1 else 1.0
    every = max(1, int(round(rate / LOOKS_PER_SECOND))) if len(frames) > 16 else 1
    thumbs = np.empty((len(frames), 24, 24, 3), np.uint8)
    found, looks = {}, {}
    detector = Detector()
    try:
        for k, frame in enumerate(frames):
            # Cuts need every frame, at a size where plain decimation will do.
            thumbs[k] = cv2.resize(frame[:: max(1, height // 96), :: max(1, width // 96)], (24, 24), interpolation=cv2.INTER_AREA)
            if k % every and k != len(frames) - 1:
                continue
            small = cv2.resize(frame, small_size, interpolation=cv2.INTER_AREA) if scale < 1 else frame
            found[k] = [Found(f.box / scale, f.score) for f in detector(small)]
            looks[k] = _looks(small, found[k], scale)
        if not any(found.values()) and max(height, width) > 320:
            # Far away: the detector sees 192 pixels a side, so look at parts of the picture, twice a second.
            step = max(1, int(round(rate / 2)))
            for k in range(0, len(frames), step):
                found[k] = _in_tiles(detector, frames[k])
                looks[k] = _looks(frames[k], found[k], 1.0)
    finally:
        detector.close()
    return found, looks, thumbs


def _looks(picture: np.ndarray, faces: list[Found], scale: float) -> list[np.ndarray]:
    import cv2

    if not faces:
        return []
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    return [look_of(lab, f.box * scale) for f in faces]


def _in_tiles(detector: Detector, frame: np.ndarray) -> list[Found]:
    height, width = frame.shape[:2]
    side = max(192, min(height, width) // 2)
    faces: list[Found] = []
    for top in _starts(height, side):
        for left in _starts(width, side):
            for face in detector(frame[top : top + side, left : left + side]):
                moved = Found(face.box + np.array([left, top, left, top]), face.score)
                if all(np.abs(moved.box - other.box).max() > 0.5 * (other.box[2] - other.box[0]) for other in faces):
                    faces.append(moved)
    return faces


def _starts(length: int, side: int) -> list[int]:
    count = 1 if length <= side else int(np.ceil((length - side) / (side * 0.6))) + 1
    return [round(v) for v in np.linspace(0, max(0, length - side), count)]


def _follow(frames: np.ndarray, seconds: np.ndarray, shots: np.ndarray, person: Person) -> np.ndarray:
    """(T, 478, 3) float32 mesh in source pixels; NaN where the person is not to be seen."""
    landmarks = np.full((len(frames), 478, 3), np.nan, np.float32)
    windows = _windows(seconds, shots, person)
    mesh = Mesh()
    try:
        last, last_shot = None, None
        for k, frame in enumerate(frames):
            expected = windows[k]
            if not np.isfinite(expected[0]):
                # No detection near: go on from the mesh itself, as faces that turn away are lost by the detector first.
                near = last is not None and shots[last] == shots[k] and seconds[k] - seconds[last] <= REACH / 2
                if not near:
                    continue
                expected = _window_of(landmarks[last])
            fresh = shots[k] != last_shot or last is None or seconds[k] - seconds[last] > REACH
            points = _mesh_in(mesh, frame, expected, twice=fresh)
            last_shot = shots[k]
            if points is not None and _plausible(points, expected, frame.shape):
                landmarks[k], last = points, k
    finally:
        mesh.close()
    return landmarks


def _mesh_in(mesh: Mesh, frame: np.ndarray, window: np.ndarray, twice: bool) -> np.ndarray | None:
    """``twice``: the network still remembers another place; the first look lets go of it, the second finds the face."""
    x, y, side = window
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    picture = crop(frame[None], box, WINDOW_PIXELS)[0]
    points = mesh(picture)
    if twice:
        points = mesh(picture)
    if points is None:
        return None
    scale = side / WINDOW_PIXELS
    return (points * scale + np.array([x - side / 2, y - side / 2, 0], np.float32)).astype(np.float32)


def _windows(seconds: np.ndarray, shots: np.ndarray, person: Person) -> np.ndarray:
    """(T, 3) centre x y and side of the mesh's window; NaN further than REACH from any detection."""
    sighted, boxes = person.sightings()
    size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    values = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, WINDOW * size], 1)
    windows = np.full((len(seconds), 3), np.nan)
    for shot in np.unique(shots[sighted]):
        here = shots[sighted] == shot
        times = seconds[sighted[here]]
        inside = np.flatnonzero(shots == shot)
        gap = np.abs(seconds[inside][:, None] - times[None]).min(1)
        near = inside[gap <= REACH]
        windows[near] = np.stack([np.interp(seconds[near], times, values[here, c]) for c in range(3)], 1)
    return windows


def _window_of(points: np.ndarray) -> np.ndarray:
    low, high = points[OVAL, :2].min(0), points[OVAL, :2].max(0)
    return np.array([*((low + high) / 2), 2.3 * (high - low).max()])


def _plausible(points: np.ndarray, window: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Is this the face that the window was made for, and mostly inside the picture?"""
    low, high = points[OVAL, :2].min(0), points[OVAL, :2].max(0)
    side = window[2] / WINDOW
    at_place = np.linalg.norm((low + high) / 2 - window[:2]) < 0.7 * side
    right_size = 0.5 < (high - low).max() / side < 2.2
    x, y = points[:468, 0], points[:468, 1]
    inside = ((x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])).mean()
    return bool(at_place and right_size and inside > 0.75)


def _notices(seen: np.ndarray, shots: np.ndarray, persons: list[Person], pick: object) -> tuple[str, ...]:
    notices = []
    if len(persons) > 1:
        which = "the largest, most central and most lasting one was taken" if pick is None else "the picked one was taken"
        notices.append(f"{len(persons)} people found; {which}")
    if not seen.all():
        notices.append(f"the face is hidden or lost in {int((~seen).sum())} of {len(seen)} frames")
    if shots[-1] > 0:
        notices.append(f"{int(shots[-1])} cuts found; the person was followed across them by looks")
    return tuple(notices)
