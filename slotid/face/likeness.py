"""How alike two faces are, frame by frame, without any network that conditions, trains or refines.

Three things that a person keeps from film to film, measured on the MediaPipe mesh and on the picture's colours:
the shape of the head turned to the front, from points that expressions hardly move (Procrustes distance, Gower 1975); the
colour of the skin; and how hair and brows differ from the skin. Colours are CIELAB, and mostly chroma and *differences*, because the light
is the scene's and not the person's. It is a guide for the eye, not an identification: siblings and look-alikes score high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotid.face.pose import frontal, head_pose
from slotid.types import Clip, FaceTrack, SlotIDError

# Bone and cartilage: eye corners, bridge, tip, wings and base of the nose, forehead, temples, cheekbones, jaw angles.
STEADY = [
    *(33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 64, 294, 48, 278, 129, 358, 164),
    *(10, 67, 297, 54, 284, 21, 251, 127, 356, 234, 454, 93, 323, 50, 280, 117, 346, 123, 352, 132, 361, 58, 288),
]
CHEEKS = [50, 280, 205, 425, 117, 346, 101, 330, 36, 266, 4, 5]
BROWS = [70, 63, 105, 66, 107, 300, 293, 334, 296, 336]
DEPTH = 0.5  # the mesh's depth is guessed from one view: it counts half
TURNED = 40.0  # degrees of yaw or pitch beyond which shape is no longer asked
STEADY_SECONDS = 0.5  # shape is averaged over this time: a mesh trembles, a skull does not
PIXELS = 64

# Set on 40 people of the head world (training seeds), each in two films of other scenes, lamps, backgrounds and acts, at 128 px: a likeness
# of one half is where "same" and "another" person are equally probable. Over all pairs it ranks a same-person film above another
# person's in 88 of 100 comparisons (coloured lamps are what spoils the rest); on the two halves of one real clip it is above 0.95.
SHAPE, SKIN, HAIR = 0.018, 20.0, 14.0  # a distance of this much counts 1
MOST = 4.0  # no single feature counts more than this: a red lamp changes the skin, not the person
HALF, STEEP = 0.8, 2.5  # mean count at which the likeness is one half, and how fast it falls there


@dataclass(frozen=True)
class Features:
    """What is compared; one row per frame, NaN where it cannot be told."""

    shape: np.ndarray  # (T, N, 3) frontal mesh points over the distance of the outer eye corners
    skin: np.ndarray  # (T, 3) CIELAB of cheeks and nose
    hair: np.ndarray  # (T, 6) CIELAB of the band above the forehead and of the brows, each minus the skin's


def features(track: FaceTrack) -> Features:
    """Read from the crops and the mesh of a track."""
    import cv2

    points = np.asarray(track.landmarks, np.float64)
    yaw, pitch, _ = head_pose(points)
    usable = track.seen & (np.abs(yaw) < TURNED) & (np.abs(pitch) < TURNED)
    shape = frontal(points)[:, STEADY]
    shape[~usable] = np.nan
    shape[..., 2] *= DEPTH
    shape = _steady(shape, track.seconds)
    skin, hair = np.full((len(points), 3), np.nan), np.full((len(points), 6), np.nan)
    for k in np.flatnonzero(track.seen):
        picture = cv2.resize(track.crops[k], (PIXELS, PIXELS), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
        box = track.boxes[k]
        flat = (points[k, :, :2] - box[:2]) / (box[2:] - box[:2]) * PIXELS
        skin[k] = np.median(_at(lab, flat[CHEEKS]), 0)
        hair[k, :3] = np.median(_at(lab, _band(flat)), 0) - skin[k]
        hair[k, 3:] = np.median(_at(lab, flat[BROWS]), 0) - skin[k]
    return Features(shape, skin, hair)


def distances(reference: Features, film: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T,) each: shape in eye distances, skin and hair in CIELAB units, of every film frame from the reference's median."""
    with np.errstate(all="ignore"):
        mean_shape = _nanmedian(reference.shape)
        shape = np.array([_procrustes(mean_shape, s) for s in film.shape])
        weights = np.array([0.3, 1.0, 1.0])  # lightness is mostly the lamp's
        skin = np.linalg.norm((film.skin - _nanmedian(reference.skin)) * weights, axis=1)
        gap = (film.hair - _nanmedian(reference.hair)) * np.array([0.6, 1, 1, 0.3, 0.5, 0.5])
        hair = np.linalg.norm(gap, axis=1)
    return shape, skin, hair


def likeness(reference: FaceTrack, film: FaceTrack) -> np.ndarray:
    """(T,) likeness of each film frame to the person of the reference: 0 nobody alike, 1 the very same; NaN where no face is seen."""
    if not reference.seen.any():
        raise SlotIDError("The reference has no frame in which the face is seen; give a clip with a visible face.")
    shape, skin, hair = distances(features(reference), features(film))
    counts = np.stack([(shape / SHAPE) ** 2, (skin / SKIN) ** 2, (hair / HAIR) ** 2])
    counts = counts / (1 + counts / MOST)
    known = np.isfinite(counts)
    mean = np.where(known, counts, 0).sum(0) / np.maximum(1, known.sum(0))
    value = 1 / (1 + (mean / HALF) ** STEEP)
    return np.where(film.seen & known.any(0), value, np.nan)


def _band(flat: np.ndarray) -> np.ndarray:
    """Points above the forehead, 0.08 to 0.22 of the face's height along its own upward direction: hair, or a bald head's skin."""
    up = flat[10] - flat[152]
    top = flat[[109, 10, 338, 67, 297]]
    return np.concatenate([top + share * up for share in (0.08, 0.12, 0.17, 0.22)])


def _at(lab: np.ndarray, points: np.ndarray) -> np.ndarray:
    at = np.clip(np.round(points - 0.5), 0, PIXELS - 1).astype(int)
    return lab[at[:, 1], at[:, 0]]


def _steady(values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Median over STEADY_SECONDS around each frame, where it is known itself."""
    out = np.full_like(values, np.nan)
    known = np.isfinite(values[:, 0, 0])
    for k in np.flatnonzero(known):
        near = known & (np.abs(seconds - seconds[k]) <= STEADY_SECONDS / 2)
        out[k] = np.median(values[near], 0)
    return out


def _nanmedian(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values.reshape(len(values), -1)).all(1)]
    return np.median(known, 0) if len(known) else np.full(values.shape[1:], np.nan)


def _procrustes(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square distance of two point sets in a's units after the best shift, turn and scale of b."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.nan
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * sign).sum() / (b**2).sum()
    return float(np.sqrt(((a - scale * b @ (u * sign) @ vt) ** 2).sum(1).mean()))


def film_likeness(reference: FaceTrack, film: Clip) -> np.ndarray:
    """(T,) likeness of every frame of a film that is not tracked yet; all NaN where no face is found in it."""
    from slotid.face.track import track_face

    try:
        track = track_face(film, least=1)
    except SlotIDError:
        return np.full(len(film.frames), np.nan)
    return likeness(reference, track)
