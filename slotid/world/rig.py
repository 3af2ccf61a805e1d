"""The kit made ready to draw: only the parts that show, expressions as sparse lists, and how much of the head's turn each point takes.

Computed once per kit. Vertex ranges are the model's own (see its README) unless the kit brings others; missing ones are missing parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from slotid.world.kit import Kit

FACE, HEAD, SOCKET, GUMS, TEETH, EYE_L, EYE_R, CLOTH, FRAME = range(9)  # what a triangle is
_RANGES = ((0, 9409, FACE), (9409, 11248, HEAD), (11248, 13294, SOCKET), (14062, 17039, GUMS), (17039, 21451, TEETH))
_RANGES += ((21451, 22221, EYE_L), (23021, 23791, EYE_R))  # irises, lash cards and transparent helpers are left out
PIVOT = np.array([0.0, -2.5, -1.5], np.float32)  # where the head turns on the neck, cm
_STILL, _FULL = -14.0, -4.0  # height along the neck where the head's turn starts and is complete
_LEAN = 0.45  # the neck leans: a chin at z = 10 is as much head as a nape 4.5 cm higher


def head_share(points: np.ndarray) -> np.ndarray:
    """(N,) float32 share 0..1 of the head's turn that points at rest (N, 3) take; smooth from the shoulders to the skull."""
    h = points[:, 1] + _LEAN * np.clip(points[:, 2], -8, 11)
    t = np.clip((h - _STILL) / (_FULL - _STILL), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Rig:
    """V kept vertices, F kept triangles."""

    neutral: np.ndarray  # (V, 3) float32
    identity: np.ndarray  # (100, V * 3) float32
    part: np.ndarray  # (V,) int8
    faces: np.ndarray  # (F, 3) int32
    face_part: np.ndarray  # (F,) int8
    uv: np.ndarray  # (F, 3, 2) float32 per corner, inside its own tile
    start: np.ndarray  # (E + 1,) int64: expressions as sparse lists
    index: np.ndarray  # (N,) int32
    offset: np.ndarray  # (N, 3) float32
    share: np.ndarray  # (V,) float32 head_share
    landmarks: np.ndarray  # (68,) int32
    expr_names: tuple[str, ...]
    eyes: tuple[np.ndarray, np.ndarray]  # vertex numbers of the left (person's) and right eyeball
    eye_axes: np.ndarray  # (2, 3) where the pupils are, from the eyeball's centre, at rest

    def vertices(self, shape: np.ndarray) -> np.ndarray:
        """(V, 3) float32 the neutral face of the person with these shape coefficients."""
        k = min(len(shape), len(self.identity))
        return self.neutral + (np.asarray(shape[:k], np.float32) @ self.identity[:k]).reshape(-1, 3)

    def weights(self, expressions: np.ndarray) -> np.ndarray:
        """(E,) float32 weights clipped to 0..1; sensible where a caller overshoots."""
        return np.clip(np.asarray(expressions, np.float32), 0, 1)


def eye_centre(points: np.ndarray) -> np.ndarray:
    """(3,) centre of an eyeball from its vertices (N, 3): sides and back, because the cornea bulges in front."""
    low, high = points.min(0), points.max(0)
    radius = (high[0] - low[0] + high[1] - low[1]) / 4
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + radius], np.float32)


@lru_cache(maxsize=2)
def rig_of(kit: Kit) -> Rig:
    """The rig of a kit, made once."""
    count = len(kit.neutral)
    part = np.full(count, -1, np.int8)
    for low, high, code in _RANGES if kit.parts is None else kit.parts:
        part[low : min(high, count)] = code
    highest = kit.faces.max(1)
    ok = (part[kit.faces] >= 0).all(1)
    face_part = np.where(ok, part[highest], -1)  # a triangle between two parts belongs to the later one: lips to mouth
    face_part[ok & (face_part == HEAD) & (part[kit.faces] == FACE).all(1)] = FACE
    used = np.zeros(count, bool)
    used[kit.faces[ok]] = True
    used[kit.landmarks68] = True
    kept = np.flatnonzero(used)
    new = np.full(count, -1, np.int64)
    new[kept] = np.arange(len(kept))
    uv = kit.uv[kit.faces_uv[ok]]
    uv = uv - np.floor(uv.mean(1, keepdims=True) * [1, 0])  # tiles 1, 2, 3... of the model's texture layout, each back to 0..1
    start, index, offset = [0], [], []
    for e in kit.expr:
        moved = e[kept]
        on = np.flatnonzero(np.abs(moved).max(1) > 2e-3)
        on = on[~np.isin(part[kept][on], (EYE_L, EYE_R))]  # eyeballs turn with the gaze instead
        index.append(on.astype(np.int32))
        offset.append(moved[on])
        start.append(start[-1] + len(on))
    eyes = tuple(np.flatnonzero(part[kept] == code).astype(np.int32) for code in (EYE_L, EYE_R))
    axes = np.tile(np.array([0, 0, 1], np.float32), (2, 1))
    for k, e in enumerate(eyes):
        if len(e) >= 50:
            d = kit.neutral[kept][e] - eye_centre(kit.neutral[kept][e])
            r = np.linalg.norm(d, axis=1)
            cornea = d[r > np.quantile(r, 0.97)].mean(0)
            axes[k] = cornea / np.linalg.norm(cornea)
    neutral = kit.neutral[kept]
    share = head_share(neutral)
    share[part[kept] > HEAD] = 1.0  # teeth, tongue and eyes are skull
    return Rig(
        neutral=neutral,
        identity=np.ascontiguousarray(kit.identity[:, kept].reshape(len(kit.identity), -1)),
        part=part[kept],
        faces=new[kit.faces[ok]].astype(np.int32),
        face_part=face_part[ok].astype(np.int8),
        uv=np.ascontiguousarray(uv, np.float32),
        start=np.array(start, np.int64),
        index=np.concatenate(index) if index else np.zeros(0, np.int32),
        offset=np.concatenate(offset).astype(np.float32) if offset else np.zeros((0, 3), np.float32),
        share=share,
        landmarks=new[kit.landmarks68].astype(np.int32),
        expr_names=kit.expr_names,
        eyes=eyes,
        eye_axes=axes.astype(np.float32),
    )
