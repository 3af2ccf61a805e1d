"""What moves in a face, as curves over time: a tracked film becomes (T, C) numbers that know little of how the face looks.

The mesh is turned to the front and scaled by the distance of the eyes, so place, size and most of the pose are gone; what is left of the
person's shape is a constant, which ``centred`` takes away. The habit judge sees centred curves only: a still picture shows it nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotid.face.pose import frontal, head_pose
from slotid.types import FaceTrack, SlotIDError

RATE = 12.0  # curves per second that the judges read
_PAIRS = {  # name: points on the person's right and left
    "corner": (61, 291),
    "upper": (39, 269),
    "lower": (181, 405),
    "cheek": (50, 280),
    "brow_in": (55, 285),
    "brow_mid": (105, 334),
    "brow_out": (70, 300),
    "nostril": (64, 294),
}
_LIDS = {"right": (159, 145), "left": (386, 374)}
_IRIS = {"right": (468, 33, 133), "left": (473, 263, 362)}

CHANNELS: tuple[str, ...] = (
    "mouth_open",
    "mouth_width",
    "mouth_side",
    "chin_y",
    "chin_x",
    "upper_y",
    "lower_y",
    "upper_z",
    "lower_z",
    *(f"{name}_{what}" for name in _PAIRS for what in ("height", "lopsided")),
    "lids_open",
    "lids_lopsided",
    "lids_low",
    "gaze_x",
    "gaze_y",
    "yaw",
    "pitch",
    "roll",
)
DEGREES = 10.0  # of head pose that count 1


@dataclass(frozen=True)
class Curves:
    """One film at RATE curves a second. Unseen moments are interpolated and marked."""

    values: np.ndarray  # (T, C) float32, C = len(CHANNELS): eye distances; poses in units of DEGREES
    seen: np.ndarray  # (T,) bool


def channels_of(landmarks: np.ndarray) -> np.ndarray:
    """(T, 478, 3) mesh in pixels to (T, C) values; NaN rows stay NaN."""
    points = frontal(landmarks)

    def y(k: int) -> np.ndarray:
        return points[:, k, 1]

    apart = np.linalg.norm(points[:, 61] - points[:, 291], axis=1)
    columns = [np.linalg.norm(points[:, 13] - points[:, 14], axis=1), apart, (points[:, 61, 0] + points[:, 291, 0]) / 2]
    columns += [y(152), points[:, 152, 0], y(0), y(17), points[:, 0, 2], points[:, 17, 2]]
    for right, left in _PAIRS.values():
        columns += [(y(right) + y(left)) / 2, y(left) - y(right)]
    open_right, open_left = (y(low) - y(up) for up, low in _LIDS.values())
    columns += [(open_right + open_left) / 2, open_left - open_right, (y(145) + y(374)) / 2]
    gaze = [points[:, iris, :2] - (points[:, a, :2] + points[:, b, :2]) / 2 for iris, a, b in _IRIS.values()]
    columns += [(gaze[0][:, 0] + gaze[1][:, 0]) / 2, (gaze[0][:, 1] + gaze[1][:, 1]) / 2]
    columns += [angle / DEGREES for angle in head_pose(landmarks)]
    return np.stack(columns, axis=1)


def read_curves(track: FaceTrack | None, least: int = 3) -> Curves | None:
    """The curves of a tracked film; None where no face was tracked, or seen in fewer than ``least`` frames."""
    if track is None or int(track.seen.sum()) < least:
        return None
    return on_time(channels_of(np.asarray(track.landmarks, np.float64)), track.seconds, track.seen)


def on_time(values: np.ndarray, seconds: np.ndarray, seen: np.ndarray, rate: float = RATE) -> Curves:
    """values (T, C) at true ``seconds`` (T,), believed where ``seen``, to Curves at a constant rate.

    Raises SlotIDError when nothing was seen.
    """
    seen = np.asarray(seen, bool) & np.isfinite(values).all(axis=1)
    if not seen.any():
        raise SlotIDError("no frame of the film shows the face, so it has no curves; give a film with a visible face.")
    seconds = np.asarray(seconds, np.float64) - float(seconds[0])
    times = np.arange(int(np.floor(seconds[-1] * rate + 1e-6)) + 1) / rate
    out = np.stack([np.interp(times, seconds[seen], column[seen]) for column in np.asarray(values, np.float64).T], axis=1)
    nearest = np.abs(times[:, None] - seconds[None]).argmin(axis=1)
    return Curves(out.astype(np.float32), seen[nearest])


def centred(curves: Curves) -> Curves:
    """The same with every channel's median over the seen moments taken away: the resting face is gone."""
    middle = np.median(curves.values[curves.seen], axis=0) if curves.seen.any() else np.zeros(curves.values.shape[1])
    return Curves((curves.values - middle).astype(np.float32), curves.seen)
