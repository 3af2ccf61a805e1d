"""Real faces: are two halves of one clip more alike than halves of two people's clips, by the identity codes and by the judges?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slotid.clip import read_clip
from slotid.evaluate import metrics
from slotid.evaluate.controls import pick_frames
from slotid.evaluate.cost import machine
from slotid.evaluate.recogniser import Recogniser, consisid_similarity, reference_vector
from slotid.evaluate.reconstruction import reconstruction
from slotid.types import Clip, FaceTrack, Request, Result, SlotIDError

SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".gif", ".webp", ".m4v")
LEAST_SEEN = 5  # frames with a face in each half
STIRS = 0.015  # eye distances (poses: 0.15 degrees): a channel of landmarks that moves less says nothing about a reading of it
READ = {  # of ``movement.MOVES`` those that landmarks show: by which of their curves, and which way it goes
    "mouth opening": ("mouth_open", 1),
    "lids closing": ("lids_open", -1),
    "smile": ("corner_height", -1),
    "brows raised": ("brow_mid_height", -1),
    "nod": ("pitch", 1),
}
PROMPT = "a person smiles at the camera, in soft daylight"


def clips_in(folder: str | Path) -> list[Path]:
    """The films of a folder, by name. Raises SlotIDError when there are fewer than 2 (nobody could be mistaken for anybody)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise SlotIDError(f"--real {folder} is no folder; give a folder with one clip for each person.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if len(files) < 2:
        raise SlotIDError(f"{folder} holds {len(files)} clips; give at least 2, each of another person ({', '.join(SUFFIXES)}).")
    return files


def halves(track: FaceTrack) -> tuple[FaceTrack, FaceTrack]:
    """The first and the second half of the time in which the face is seen. Raises SlotIDError when one shows too little of it."""
    seen = np.flatnonzero(track.seen)
    middle = int(seen[len(seen) // 2]) if len(seen) else 0
    parts = pick_frames(track, np.arange(middle)), pick_frames(track, np.arange(middle, len(track.seconds)))
    if min(int(part.seen.sum()) for part in parts) < LEAST_SEEN:
        raise SlotIDError(f"the face is seen in {len(seen)} frames; {2 * LEAST_SEEN} are needed to compare two halves.")
    return parts


def code_vector(code) -> np.ndarray:
    """(D,) all numbers of an identity code in one row, in the order of their names."""
    return np.concatenate([np.asarray(code.tensors[name].detach().float().cpu()).ravel() for name in sorted(code.tensors)])


def agreement(track: FaceTrack, movement: Any, most: int = 96) -> dict[str, float | None]:
    """Correlation of what a method's ``movement`` reads of a clip's seen frames with MediaPipe's landmarks, which it has never met, by
    READ's names; None where the landmarks hardly move. ``most``: frames compared, evenly spread."""
    import torch

    from slotid.evaluate.curves import CHANNELS, channels_of
    from slotid.identity.movement import CROP, MOVES
    from slotid.identity.reading import crops_to_video

    seen = np.flatnonzero(track.seen)
    rows = seen[np.linspace(0, len(seen) - 1, min(most, len(seen))).round().astype(int)]
    crops = crops_to_video(track.crops[rows], CROP)[None, :, :, 0].to(next(movement.parameters()))
    with torch.no_grad():
        curves = movement.curves(crops, torch.ones(1, len(rows), dtype=torch.bool, device=crops.device))[0].float().cpu().numpy()
    landmarks, found = channels_of(np.asarray(track.landmarks[rows], np.float64)), {}
    for what, (channel, way) in READ.items():
        one, other = way * landmarks[:, CHANNELS.index(channel)], curves[:, list(MOVES[what])].mean(1)
        found[what] = float(np.corrcoef(one, other)[0, 1]) if min(one.std() / STIRS, other.std() / 1e-6) > 1 else None
    return found


def verification(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """first, second (P, D): the two halves of P people's clips. Cosines after the mean over all halves is taken away (with two people
    it is left, since the mean of two says which is which); same-person pairs are rows, different-person pairs all others.
    """
    both = np.concatenate([first, second]).astype(np.float64)
    both = both - both.mean(axis=0) if len(first) > 2 else both
    both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-12)
    similarity = both[: len(first)] @ both[len(first) :].T
    own = np.eye(len(first), dtype=bool)
    same, different = similarity[own], similarity[~own]
    nearest = [bool(line[k] > np.delete(line, k).max()) for rows in (similarity, similarity.T) for k, line in enumerate(rows)]
    return {
        "auc": metrics.auc(same, different),
        "equal_error_rate": metrics.equal_error_rate(same, different),
        "same": float(same.mean()),
        "different": float(different.mean()),
        "nearest_is_own": float(np.mean(nearest)),
        "same_values": same.tolist(),
        "pairs": {"same": int(own.sum()), "different": int((~own).sum())},
    }


def evaluate_real(
    folder: str | Path,
    studio: Any,
    judges: Any | None = None,
    recogniser: Recogniser | None = None,
    tell: Callable[[str], None] = lambda text: None,
    steps: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Reads both halves of every clip in ``folder``.

    Args:
        studio: its method makes the codes (one with weights; "none" has no code).
        judges: adds their own similarity of the halves; None leaves it out.
        recogniser: adds ConsisID's face similarity of one generated film per clip; None leaves it out.

    Returns:
        {"clips": [...], "codes": verification, "looks"/"habits": verification, "detection_rate", "skipped": {name: why}, ...}.
    """
    from slotid.evaluate.curves import read_curves
    from slotid.face.track import TRACK_SIDE, track_face

    rows, skipped = [], {}
    for path in clips_in(folder):
        tell(f"reading {path.name}")
        try:
            clip = read_clip(path, max_side=TRACK_SIDE)
            track = track_face(clip)
            parts = halves(track)
        except SlotIDError as error:
            skipped[path.name] = str(error)
            continue
        row: dict[str, Any] = {"clip": path.name, "detection_rate": metrics.detection_rate(track.seen)}
        vectors = {"codes": [code_vector(studio.method.remember(part, studio.backbone.to_latent)) for part in parts]}
        if judges is not None:
            vectors["looks"] = [judges.looks(part.crops[part.seen]).mean(axis=0) for part in parts]
            vectors["habits"] = [judges.habits(read_curves(part)) for part in parts]
        lost = reconstruction(studio.backbone, track.crops[track.seen])
        row |= {"psnr": lost["psnr"]} if lost else {}
        if getattr(studio.method, "movement", None) is not None:
            row["read"] = agreement(track, studio.method.movement)
        if recogniser is not None:
            row["arcface"] = _arcface(recogniser, clip, track, studio, steps, seed)
        rows.append((row, vectors))
    if len(rows) < 2:
        raise SlotIDError(f"only {len(rows)} clips of {folder} could be read ({'; '.join(skipped.values())}); give at least 2 clear ones.")
    report = {
        "machine": machine(),
        "method": studio.method.name,
        "clips": [row for row, _ in rows],
        "detection_rate": float(np.mean([row["detection_rate"] for row, _ in rows])),
        "skipped": skipped,
    }
    for name in rows[0][1]:
        report[name] = verification(*(np.stack([vectors[name][side] for _, vectors in rows]) for side in (0, 1)))
    return report


def _arcface(recogniser: Recogniser, clip: Clip, track: FaceTrack, studio: Any, steps: int | None, seed: int) -> dict[str, float]:
    from slotid.generate import generate

    request = Request(PROMPT, track, steps=steps, seed=seed, preview_every=0, likeness=False)
    result = [item for item in generate(studio, request) if isinstance(item, Result)][-1]
    return consisid_similarity(recogniser, reference_vector(recogniser, clip), result.clip)


def real_markdown(report: dict[str, Any]) -> str:
    """The report for a reader."""
    lines = [f"# Real clips, method {report['method']}", "", f"`{report.get('command', '')}`", ""]
    lines += [
        f"{len(report['clips'])} clips, each split into halves; the face is found in {report['detection_rate']:.1%} of the frames.",
        "",
        "| by | AUC | equal error rate | nearest half is the own one | same person | different people |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in ("codes", "looks", "habits"):
        if name in report:
            v = report[name]
            rest = f"{v['same']:.3f} | {v['different']:.3f}"
            lines.append(f"| {name} | {v['auc']:.3f} | {v['equal_error_rate']:.3f} | {v['nearest_is_own']:.0%} | {rest} |")
    arcface = [row["arcface"]["similarity"] for row in report["clips"] if "arcface" in row]
    lines += [
        "",
        f"ArcFace similarity of generated films: {np.mean(arcface):.3f}." if arcface else f"ArcFace: {report.get('arcface_missing')}.",
    ]
    if lost := {row["clip"]: row["psnr"] for row in report["clips"] if "psnr" in row}:
        each = ", ".join(f"{name} {value:.1f}" for name, value in lost.items())
        lines += ["", f"Aligned face crops through the VAE and back: {np.mean(list(lost.values())):.1f} dB ({each})."]
    if told := [row for row in report["clips"] if "read" in row]:
        lines += [
            "",
            "What the frame reader, taught by rendered heads alone, tells of real frames against MediaPipe's landmarks (correlation):",
        ]
        lines += ["", "| clip | " + " | ".join(READ) + " |", "| --- |" + " --- |" * len(READ)]
        for row in told:
            lines.append(f"| {row['clip']} | " + " | ".join("still" if v is None else f"{v:.2f}" for v in row["read"].values()) + " |")
    lines += ["", *(f"- not read: {name}: {why}" for name, why in report["skipped"].items())]
    return "\n".join(lines)
