"""Who is who: detections become tracklets within a shot, tracklets become persons across gaps and cuts, and one person is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from slotid.face.detect import Found
from slotid.types import SlotIDError

LINK_SECONDS = 0.6  # a tracklet lives on for this long without a detection
REJOIN_SECONDS = 2.0  # within a shot, a face that comes back at its place within this time is the same person...
REJOIN_LOOK = 32.0  # ... unless it looks this different (CIELAB distance)
SAME_LOOK = 13.0  # across cuts and longer gaps only looks can tell: mean CIELAB distance over the cells of the head


@dataclass
class Tracklet:
    """One face followed without a break in one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)  # (4,) each
    scores: list[float] = field(default_factory=list)
    looks: list[np.ndarray] = field(default_factory=list)  # (16, 3) CIELAB each

    @property
    def look(self) -> np.ndarray:
        return np.median(self.looks, 0)


@dataclass
class Person:
    tracklets: list[Tracklet]
    rank: float = 0.0  # size, place and persistence together

    def sightings(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) frame numbers in order, (N, 4) boxes."""
        frames = np.concatenate([t.frames for t in self.tracklets])
        boxes = np.concatenate([t.boxes for t in self.tracklets])
        order = np.argsort(frames)
        return frames[order], boxes[order]


def find_shots(thumbs: np.ndarray) -> np.ndarray:
    """(T, h, w, 3) uint8 small frames -> (T,) shot numbers. A cut changes most of the picture at once, and its colours too."""
    shots = np.zeros(len(thumbs), int)
    if len(thumbs) < 2:
        return shots
    values = thumbs.astype(np.float32)
    change = np.abs(np.diff(values, axis=0)).mean((1, 2, 3))
    histogram = np.stack([np.histogramdd(v.reshape(-1, 3), bins=(6, 6, 6), range=[(0, 256)] * 3)[0].ravel() for v in values])
    histogram /= histogram.sum(1, keepdims=True)
    colours = np.abs(np.diff(histogram, axis=0)).sum(1) / 2  # 0 the same, 1 nothing in common
    usual = np.array([np.median(change[max(0, k - 6) : k + 7]) for k in range(len(change))])
    cut = (change > 12) & (change > 4 * usual + 4) & (colours > 0.25)
    shots[1:] = np.cumsum(cut)
    return shots


def look_of(picture_lab: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(16, 3) mean CIELAB of a 4 x 4 grid over the head: the face box grown by half, so hair, face and collar are in it."""
    import cv2

    from slotid.face.align import crop

    centre, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * 1.6
    square = np.concatenate([centre - side / 2, centre + side / 2])
    small = crop(picture_lab[None], square[None], 16)[0]
    return cv2.resize(small, (4, 4), interpolation=cv2.INTER_AREA).reshape(16, 3).astype(np.float32) * np.array(
        [100 / 255, 1, 1], np.float32
    )


def link(found: dict[int, list[Found]], looks: dict[int, list[np.ndarray]], seconds: np.ndarray, shots: np.ndarray) -> list[Tracklet]:
    """Greedy linking of detections into tracklets, nearest first, never across a cut."""
    done: list[Tracklet] = []
    alive: list[Tracklet] = []
    for frame in sorted(found):
        still = []
        for track in alive:
            ended = track.shot != shots[frame] or seconds[frame] - seconds[track.frames[-1]] > LINK_SECONDS
            (done if ended else still).append(track)
        alive = still
        offers = []
        for t, track in enumerate(alive):
            for f, face in enumerate(found[frame]):
                distance = _apart(track.boxes[-1], face.box)
                if distance < 0.8:
                    offers.append((distance + 0.02 * _unlike(track.looks[-1], looks[frame][f]), t, f))
        taken_t, taken_f = set(), set()
        for _, t, f in sorted(offers):
            if t not in taken_t and f not in taken_f:
                taken_t.add(t)
                taken_f.add(f)
                _extend(alive[t], frame, found[frame][f], looks[frame][f])
        for f, face in enumerate(found[frame]):
            if f not in taken_f:
                alive.append(Tracklet(int(shots[frame])))
                _extend(alive[-1], frame, face, looks[frame][f])
    return done + alive


def gather(tracklets: list[Tracklet], seconds: np.ndarray, size: tuple[int, int], looked_at: int) -> list[Person]:
    """Join tracklets into persons by place and looks; best person first.

    ``size`` is the picture's (height, width), ``looked_at`` the number of frames that were searched for faces.
    """
    persons: list[Person] = []
    for track in sorted(tracklets, key=lambda t: -sum(t.scores)):
        best, best_distance = None, np.inf
        for person in persons:
            distance = min(_joins(track, other, seconds) for other in person.tracklets)
            if any(set(track.frames) & set(other.frames) for other in person.tracklets):
                continue
            if distance < best_distance:
                best, best_distance = person, distance
        if best is not None and best_distance < 1:
            best.tracklets.append(track)
        else:
            persons.append(Person([track]))
    height, width = size
    for person in persons:
        for track in person.tracklets:
            for box, score in zip(track.boxes, track.scores, strict=True):
                large = np.sqrt(max(0.0, (box[2] - box[0]) * (box[3] - box[1])) / (height * width))
                middle = np.hypot((box[0] + box[2]) / 2 / width - 0.5, (box[1] + box[3]) / 2 / height - 0.5) / np.hypot(0.5, 0.5)
                person.rank += score * large * (1 - 0.5 * middle) / looked_at
    persons.sort(key=lambda p: -p.rank)
    # A face seen once in a long clip and small beside the chosen one is a false alarm or a passer-by.
    return [p for p in persons if p.rank > 0.05 * persons[0].rank and (sum(len(t.frames) for t in p.tracklets) > 1 or looked_at < 4)]


def choose(persons: list[Person], pick: int | tuple[float, float] | None) -> list[Person]:
    """The persons with the picked one first. ``pick`` None: the best; int: that one; (x, y): the one whose box holds the point."""
    if pick is None:
        return persons
    if isinstance(pick, (int, np.integer)) and not isinstance(pick, bool):
        if not 0 <= pick < len(persons):
            raise SlotIDError(f"Person {pick} was picked but {len(persons)} were found; give 0 to {len(persons) - 1}.")
        index = int(pick)
    else:
        x, y = (float(v) for v in pick)
        distances = []
        for person in persons:
            boxes = person.sightings()[1]
            outside = np.maximum(np.maximum(boxes[:, 0] - x, x - boxes[:, 2]), np.maximum(boxes[:, 1] - y, y - boxes[:, 3]))
            distances.append((outside / (boxes[:, 2] - boxes[:, 0])).min())
        index = int(np.argmin(distances))
        if distances[index] > 0.5:
            places = "; ".join(f"({x:.0f}, {y:.0f})" for x, y in (_centre(p) for p in persons))
            raise SlotIDError(f"There is no face at ({x:.0f}, {y:.0f}); faces were found at {places}: pick one of these.")
    return [persons[index], *persons[:index], *persons[index + 1 :]]


def _centre(person: Person) -> np.ndarray:
    box = np.median(person.sightings()[1], 0)
    return (box[:2] + box[2:]) / 2


def _extend(track: Tracklet, frame: int, face: Found, look: np.ndarray) -> None:
    track.frames.append(frame)
    track.boxes.append(face.box)
    track.scores.append(face.score)
    track.looks.append(look)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the centres and difference of the sizes, in face widths; 0 is the same box."""
    side = ((a[2] - a[0]) + (b[2] - b[0])) / 2
    return float(np.linalg.norm((a[:2] + a[2:] - b[:2] - b[2:]) / 2) / side + abs(np.log((b[2] - b[0]) / (a[2] - a[0]))))


def _unlike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


def _joins(track: Tracklet, other: Tracklet, seconds: np.ndarray) -> float:
    """Below 1: the same person, and the smaller the surer."""
    look = _unlike(track.look, other.look)
    first, second = (track, other) if track.frames[0] < other.frames[0] else (other, track)
    gap = seconds[second.frames[0]] - seconds[first.frames[-1]]
    if first.shot == second.shot and 0 < gap <= REJOIN_SECONDS:
        distance = _apart(first.boxes[-1], second.boxes[0])
        if distance < 1.0 and look < REJOIN_LOOK:
            return 0.5 * distance + 0.5 * look / REJOIN_LOOK
    return look / SAME_LOOK
