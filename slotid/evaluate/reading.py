"""What the judges see in one film: read once, kept on disk, scored as often as wanted."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from slotid.evaluate.curves import read_curves
from slotid.evaluate.judges import Judges
from slotid.evaluate.metrics import flicker, jitter, spread, strangeness
from slotid.types import Clip, FaceTrack, SlotIDError

MOST_FEATURES = 8  # frames per film whose features are kept
SCENE_FRAMES = 6


@dataclass(frozen=True)
class Reading:
    """One film as the judges see it; everything that a score needs."""

    seconds: np.ndarray  # (T,)
    seen: np.ndarray  # (T,) bool
    looks: np.ndarray  # (T, D) unit vectors; zeros where unseen
    habits: np.ndarray  # (H,) within the unit ball
    acts: np.ndarray  # (A,) probabilities; zeros without a face
    scene: np.ndarray  # (F,) text: the likeliest value of each fact, in the judge's order
    features: np.ndarray  # (K, D') frame features of up to MOST_FEATURES frames
    strange: float
    jitter: float  # NaN without a face
    flicker: float
    pose_range: float  # degrees of yaw and pitch, 5th to 95th percentile, added
    expression_range: float  # mouth opening over mouth width + smile widening, likewise

    @property
    def template(self) -> np.ndarray:
        """(D,) unit vector: the mean look of the seen frames; zeros without one."""
        mean = self.looks[self.seen].sum(axis=0) if self.seen.any() else np.zeros(self.looks.shape[1])
        return mean / max(float(np.linalg.norm(mean)), 1e-9)


def track_or_none(clip: Clip) -> FaceTrack | None:
    """The film's face, None where there is none: to a judge that is a finding, not an error."""
    from slotid.face.track import track_face

    try:
        return track_face(clip, least=1)
    except (SlotIDError, IndexError):  # the second: a "face" sighted in one frame only, as in noise, leaves the tracker with nobody
        return None


def retrack(clip: Clip, landmarks: np.ndarray, boxes: np.ndarray) -> FaceTrack:
    """The track of a film whose mesh (T, 478, 3) and boxes (T, 4) are known."""
    from slotid.face.align import crop
    from slotid.face.quality import measure

    seen = np.isfinite(landmarks[:, 0, 0])
    seconds = np.asarray(clip.seconds, np.float64)
    return FaceTrack(crop(clip.frames, boxes, 128), boxes, landmarks, seen, seconds, measure(clip.frames, landmarks))


def read_film(clip: Clip, judges: Judges, track: FaceTrack | None) -> Reading:
    """Shows a film to the judges. ``track``: its face; None where there is none."""
    count = len(clip.frames)
    seen = track.seen if track is not None else np.zeros(count, bool)
    # A film without a face is compared with real faces all the same: by its middle.
    crops = track.crops if track is not None else _middle(clip.frames)
    looks = judges.looks(crops) * seen[:, None]
    picked = np.unique(np.linspace(0, count - 1, min(count, MOST_FEATURES)).round().astype(int))
    features = judges.features(clip.frames[picked], crops[picked])
    curves = read_curves(track)
    acts = judges.acts(curves)
    spaced = np.unique(np.linspace(0, count - 1, min(count, SCENE_FRAMES)).round().astype(int))
    scene = judges.scene(clip.frames[spaced])
    q = track.quality if track is not None else None
    return Reading(
        seconds=np.asarray(clip.seconds, np.float64),
        seen=np.asarray(seen, bool),
        looks=looks.astype(np.float32),
        habits=judges.habits(curves),
        acts=np.array([acts.get(name, 0.0) for name in judges.acts_names], np.float32),
        scene=np.array([scene[name] for name in judges.scene_names]),
        features=features.astype(np.float32),
        strange=strangeness(features, judges.real_mean, judges.real_cov),
        jitter=jitter(track.landmarks, track.seconds) if track is not None else float("nan"),
        flicker=flicker(clip.frames),
        pose_range=spread(q.yaw, seen) + spread(q.pitch, seen) if q is not None else 0.0,
        expression_range=spread(q.mouth, seen) + spread(q.smile, seen) if q is not None else 0.0,
    )


def _middle(frames: np.ndarray) -> np.ndarray:
    side = min(frames.shape[1:3])
    top, left = (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2
    return frames[:, top : top + side, left : left + side]


def save_reading(path: Path, reading: Reading, mark: str) -> None:
    """Writes an npz, whole or not at all. ``mark`` names the judges that read it."""
    save_table(path, {"mark": np.array(mark), **{field.name: getattr(reading, field.name) for field in fields(Reading)}})


def save_table(path: Path, table: dict[str, np.ndarray]) -> None:
    """Named arrays as an npz that appears whole."""
    buffer = io.BytesIO()
    np.savez(buffer, **table)
    temporary = path.with_name(path.name + f".{os.getpid()}.part")
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, path)


def load_table(path: Path, mark: str) -> dict[str, np.ndarray] | None:
    """The arrays of ``save_table``, when their "mark" is this one; None when there are none, others', or damaged ones."""
    try:
        with np.load(path, allow_pickle=False) as table:
            values = {name: table[name] for name in table.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return values if str(values.pop("mark", "")) == mark else None


def load_reading(path: Path, mark: str) -> Reading | None:
    """The reading that these judges made; None when there is none, or other judges made it, or it is damaged."""
    values = load_table(path, mark)
    if values is None or set(values) != {field.name for field in fields(Reading)}:
        return None
    return Reading(**{name: float(value) if value.ndim == 0 else value for name, value in values.items()})
