"""ArcFace through the optional package insightface, and ConsisID's protocol of measuring identity with it.

Any object with ``faces(picture)`` is a recogniser; tests use a small one of the same interface. Nothing is downloaded: the weights have
to be where insightface keeps them (``~/.insightface/models/NAME``), and its own licence for them applies.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from slotid.types import Clip, SlotIDError

FRAMES = 16  # ConsisID looks at so many, evenly spread
PACK = "buffalo_l"
HOME = Path("~/.insightface").expanduser()


@dataclass(frozen=True)
class Face:
    """One face in one picture."""

    box: np.ndarray  # (4,) x0 y0 x1 y1 pixels
    vector: np.ndarray  # (D,) of any length


class Recogniser(Protocol):
    """Finds the faces of a picture and tells who they are by a vector."""

    def faces(self, picture: np.ndarray) -> list[Face]:
        """picture (H, W, 3) uint8 RGB -> faces in any order."""
        ...


def arcface_missing() -> str | None:
    """None when ArcFace can be used, else what is missing."""
    if importlib.util.find_spec("insightface") is None:
        return "the optional package insightface is not installed"
    if not (HOME / "models" / PACK).is_dir():
        return f"the weights {PACK} are not in {HOME / 'models'}"
    return None


class ArcFace:
    """insightface's detector and ArcFace (Deng et al. 2019) as a Recogniser. Raises SlotIDError when package or weights are missing."""

    def __init__(self) -> None:
        missing = arcface_missing()
        if missing:
            raise SlotIDError(
                f"ArcFace similarity needs insightface and its weights, but {missing}; leave it out, or install them yourself."
            )
        from insightface.app import FaceAnalysis

        self.app = FaceAnalysis(name=PACK, root=str(HOME), allowed_modules=["detection", "recognition"])
        self.app.prepare(ctx_id=-1)

    def faces(self, picture: np.ndarray) -> list[Face]:
        """See Recogniser."""
        found = self.app.get(np.ascontiguousarray(picture[:, :, ::-1]))  # it wants BGR
        return [Face(np.asarray(face.bbox, np.float64), np.asarray(face.embedding, np.float64)) for face in found]


def largest(faces: list[Face]) -> Face | None:
    """The face with the largest box; None without faces."""
    return max(faces, key=lambda f: float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])), default=None)


def spread_frames(count: int, wanted: int = FRAMES) -> np.ndarray:
    """Indices of up to ``wanted`` evenly spread frames, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(int))


def reference_vector(recogniser: Recogniser, reference: Clip) -> np.ndarray:
    """(D,) unit: mean of the unit vectors of the largest face in FRAMES frames. Raises SlotIDError when no frame has a face."""
    found = [largest(recogniser.faces(reference.frames[k])) for k in spread_frames(len(reference.frames))]
    vectors = [face.vector / max(float(np.linalg.norm(face.vector)), 1e-12) for face in found if face is not None]
    if not vectors:
        raise SlotIDError(f"no face was recognised in {reference.source or 'the reference'}; give a clip with one clear face.")
    mean = np.mean(vectors, axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def consisid_similarity(recogniser: Recogniser, reference: np.ndarray, film: Clip) -> dict[str, float]:
    """ConsisID's face similarity (arXiv 2411.17440): FRAMES frames, the largest face, cosine with ``reference`` (D,) clipped at 0.

    Returns:
        "similarity": mean over the frames with a face (0 when there is none); "similarity_faceless_0": mean over all frames, those
        without a face as 0; "detection_rate".
    """
    reference = np.asarray(reference, np.float64) / max(float(np.linalg.norm(reference)), 1e-12)
    values = []
    for k in spread_frames(len(film.frames)):
        face = largest(recogniser.faces(film.frames[k]))
        if face is None:
            values.append(np.nan)
            continue
        values.append(max(0.0, float(reference @ face.vector / max(float(np.linalg.norm(face.vector)), 1e-12))))
    known = np.array(values)[np.isfinite(values)]
    return {
        "similarity": float(known.mean()) if len(known) else 0.0,
        "similarity_faceless_0": float(known.sum() / len(values)),
        "detection_rate": len(known) / len(values),
    }
