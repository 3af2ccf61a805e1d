"""The head kit: USC ICT's FaceKit packed in one file, and how it is packed.

ICT-FaceKit (Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; code and model MIT) is a bust with
100 shape offsets and 53 expressions. ``pack`` turns its OBJ files into one npz; ``load_kit`` reads that. Centimetres; x right of
the picture (the person's left), y up, z towards the viewer.

Keys: neutral (V, 3) float32; identity (100, V, 3) float16; expr (E, V, 3) float16 with expr_names (E,); faces (F, 3) int32 with
face_material (F,) int16 into materials (M,); uv (U, 2) float32 with faces_uv (F, 3) int32; landmarks68 (68,) int32 vertex numbers.
A kit of another mesh says with parts (N, 3) int32 which vertices are what (first, last + 1, part as in ``rig``); without it, FaceKit's.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from slotid.types import SlotIDError

DEFAULT_KIT = Path.home() / ".cache" / "slotid" / "ict_facekit.npz"
HOW_TO_GET = (
    "clone https://github.com/ICT-VGL/ICT-FaceKit and run `python -m slotid world pack --facekit ICT-FaceKit/FaceXModel --out kit.npz`, "
    "then give kit.npz as --kit or in the environment variable SLOTID_HEADKIT"
)
KEYS = ("neutral", "identity", "expr", "expr_names", "faces", "face_material", "materials", "uv", "faces_uv", "landmarks68")
NEUTRAL = "generic_neutral_mesh"

# Multi-PIE 68 landmarks as vertex numbers of the neutral mesh (the kit's own vertex_indices.json under "landmarks" overrides them).
LANDMARKS68 = (
    [1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443]
    + [268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360]
    + [1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732]
    + [5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966]
)


@dataclass(frozen=True, eq=False)
class Kit:
    """The packed face model. V vertices, F triangles, E expressions."""

    neutral: np.ndarray  # (V, 3) float32 cm
    identity: np.ndarray  # (100, V, 3) float32 offsets for coefficients of unit variance
    expr: np.ndarray  # (E, V, 3) float32 offsets at weight 1
    expr_names: tuple[str, ...]
    faces: np.ndarray  # (F, 3) int32
    face_material: np.ndarray  # (F,) int16
    materials: tuple[str, ...]
    uv: np.ndarray  # (U, 2) float32
    faces_uv: np.ndarray  # (F, 3) int32
    landmarks68: np.ndarray  # (68,) int32
    parts: np.ndarray | None = None  # (N, 3) int32 first vertex, last + 1, part; None: ICT-FaceKit's own ranges

    def triangles(self, material: str) -> np.ndarray:
        """(N,) numbers of the triangles of one material; empty when the kit has none of that name."""
        if material not in self.materials:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.face_material == self.materials.index(material))


def kit_path(path: str | os.PathLike | None = None) -> Path:
    """Where the kit is looked for: the argument, else SLOTID_HEADKIT, else the cache folder."""
    return Path(path or os.environ.get("SLOTID_HEADKIT") or DEFAULT_KIT)


def load_kit(path: str | os.PathLike | None = None) -> Kit:
    """Read the packed kit, once per process. Raises SlotIDError, saying how to get it, when it is missing or not a kit."""
    where = kit_path(path)
    if not where.is_file():
        raise SlotIDError(f"The head kit was looked for at {where}, where there is no file; to get it, {HOW_TO_GET}.")
    return _load(str(where.resolve()), where.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load(path: str, _mtime: int) -> Kit:
    try:
        with np.load(path, allow_pickle=False) as data:
            got = {k: data[k] for k in (*KEYS, "parts") if k in data.files}
    except (ValueError, OSError, KeyError, AttributeError) as error:
        raise SlotIDError(f"{path} is not a head kit (numpy says: {error}); to get one, {HOW_TO_GET}.") from error
    missing = [k for k in KEYS if k not in got]
    if missing:
        raise SlotIDError(f"{path} is not a whole head kit: it lacks {', '.join(missing)}; to pack one, {HOW_TO_GET}.")
    parts = got.get("parts")
    if parts is not None and (
        parts.ndim != 2 or parts.shape[1] != 3 or not 0 <= parts[:, 2].min(initial=0) <= parts[:, 2].max(initial=0) <= 6
    ):
        raise SlotIDError(f"{path} has parts of shape {parts.shape}; give rows of first vertex, last + 1 and a part from 0 to 6, or none.")
    return Kit(
        neutral=got["neutral"].astype(np.float32),
        identity=got["identity"].astype(np.float32),
        expr=got["expr"].astype(np.float32),
        expr_names=tuple(str(n) for n in got["expr_names"]),
        faces=got["faces"].astype(np.int32),
        face_material=got["face_material"].astype(np.int16),
        materials=tuple(str(m) for m in got["materials"]),
        uv=got["uv"].astype(np.float32),
        faces_uv=got["faces_uv"].astype(np.int32),
        landmarks68=got["landmarks68"].astype(np.int32),
        parts=None if parts is None else parts.astype(np.int32),
    )


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, list[tuple[str, np.ndarray, np.ndarray]]]:
    """Vertices (V, 3), texture coordinates (U, 2) and per material its triangles as vertex and uv numbers; fans for polygons."""
    points, coords, parts, material = [], [], {}, "none"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            points.append([float(x) for x in rest.split()[:3]])
        elif word == "vt":
            coords.append([float(x) for x in rest.split()[:2]])
        elif word == "usemtl":
            material = rest.strip()
        elif word == "f":
            corners = [(c.split("/") + [""])[:2] for c in rest.split()]
            v = [int(c[0]) - 1 for c in corners]
            t = [int(c[1]) - 1 if c[1] else 0 for c in corners]
            rows = parts.setdefault(material, ([], []))
            for k in range(1, len(v) - 1):
                rows[0].append([v[0], v[k], v[k + 1]])
                rows[1].append([t[0], t[k], t[k + 1]])
    faces = [(m, np.array(f, np.int32), np.array(u, np.int32)) for m, (f, u) in sorted(parts.items())]
    return np.array(points, np.float32).reshape(-1, 3), np.array(coords or [[0, 0]], np.float32), faces


def _points_only(path: Path, count: int) -> np.ndarray:
    rows = [line[2:].split()[:3] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.startswith("v ")]
    points = np.array(rows, np.float32).reshape(-1, 3)
    if len(points) != count:
        raise SlotIDError(f"{path} has {len(points)} vertices where the neutral mesh has {count}; check out ICT-FaceKit again.")
    return points


def pack(facekit_dir: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Pack ICT-FaceKit's ``FaceXModel`` folder of OBJ files into one npz.

    Takes ``generic_neutral_mesh.obj``, ``identity000.obj``..., every other OBJ as an expression, and the landmark numbers of
    ``vertex_indices.json`` where it has them. Files whose names end in _L or _R are one-sided already; the others are kept whole.
    Raises SlotIDError for a folder that does not hold the model.
    """
    folder, out = Path(facekit_dir), Path(out)
    if not (folder / f"{NEUTRAL}.obj").is_file() and (folder / "FaceXModel" / f"{NEUTRAL}.obj").is_file():
        folder = folder / "FaceXModel"
    if not (folder / f"{NEUTRAL}.obj").is_file():
        raise SlotIDError(f"{folder} has no {NEUTRAL}.obj; give the FaceXModel folder of ICT-FaceKit as --facekit.")
    neutral, uv, parts = _read_obj(folder / f"{NEUTRAL}.obj")
    if not parts or not len(neutral):
        raise SlotIDError(f"{folder / NEUTRAL}.obj has no triangles; check out ICT-FaceKit again (its OBJ files are stored whole).")
    identity_files = sorted(folder.glob("identity[0-9]*.obj"))
    expression_files = sorted(p for p in folder.glob("*.obj") if p.stem != NEUTRAL and not p.stem.startswith("identity"))
    if not identity_files or not expression_files:
        raise SlotIDError(
            f"{folder} holds {len(identity_files)} identity and {len(expression_files)} expression files; at least one of each is needed."
        )
    offsets = {p.stem: _points_only(p, len(neutral)) - neutral for p in identity_files + expression_files}
    arrays = {
        "neutral": neutral,
        "identity": np.stack([offsets[p.stem] for p in identity_files]).astype(np.float16),
        "expr": np.stack([offsets[p.stem] for p in expression_files]).astype(np.float16),
        "expr_names": np.array([p.stem for p in expression_files]),
        "faces": np.concatenate([f for _, f, _ in parts]),
        "face_material": np.concatenate([np.full(len(f), k, np.int16) for k, (_, f, _) in enumerate(parts)]),
        "materials": np.array([m for m, _, _ in parts]),
        "uv": uv,
        "faces_uv": np.concatenate([u for _, _, u in parts]),
        "landmarks68": _landmarks(folder, len(neutral)),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    os.replace(partial, out)  # a half-written kit is never found under its name
    return out


def _landmarks(folder: Path, count: int) -> np.ndarray:
    """Landmark numbers from vertex_indices.json (any list of 68 numbers in it), else those of the full model."""
    marks = LANDMARKS68
    listing = folder / "vertex_indices.json"
    if listing.is_file():
        try:
            found = [v for v in json.loads(listing.read_text(encoding="utf-8")).values() if isinstance(v, list) and len(v) == 68]
        except (ValueError, AttributeError) as error:
            raise SlotIDError(f"{listing} is not JSON with lists of vertex numbers ({error}); check out ICT-FaceKit again.") from error
        marks = found[0] if found else marks
    marks = np.array(marks, np.int32)
    if marks.min() < 0 or marks.max() >= count:
        raise SlotIDError(f"The landmarks name vertex {int(marks.max())} of a mesh of {count}; put 68 numbers into {listing}.")
    return marks
