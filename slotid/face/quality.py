"""How good each frame of a face is, and what a person should know about a reference clip before spending a film on it."""

from __future__ import annotations

import numpy as np

from slotid.face.align import crop
from slotid.face.detect import LEFT_EYE, OVAL, RIGHT_EYE
from slotid.face.pose import head_pose
from slotid.types import FaceQuality, FaceTrack

CRISP = 220.0  # variance of the Laplacian at which sharpness is one half: see ``_sharpness``
SHARP_PIXELS = 96


def measure(frames: np.ndarray, landmarks: np.ndarray) -> FaceQuality:
    """frames (T, H, W, 3) uint8, landmarks (T, 478, 3) pixels, NaN where unseen -> FaceQuality, NaN there too."""
    import cv2

    known = np.flatnonzero(np.isfinite(landmarks[:, 0, 0]))
    points = np.asarray(landmarks, np.float64)
    yaw, pitch, roll = head_pose(points)
    sharpness, light = np.full(len(points), np.nan), np.full(len(points), np.nan)
    for k in known:
        flat = landmarks[k, :, :2]
        low, high = flat[OVAL].min(0), flat[OVAL].max(0)
        side, centre = float((high - low).max()), (low + high) / 2
        box = np.concatenate([centre - side / 2, centre + side / 2])
        picture = cv2.cvtColor(crop(frames[k : k + 1], box[None], SHARP_PIXELS)[0], cv2.COLOR_RGB2GRAY)
        mask = np.zeros_like(picture)
        cv2.fillConvexPoly(mask, np.round((flat[OVAL] - box[:2]) / side * SHARP_PIXELS).astype(np.int32), 1)
        inside = mask.astype(bool)
        if inside.sum() < 16:
            continue
        light[k] = picture[inside].mean() / 255
        sharpness[k] = _sharpness(picture, inside)
    eyes_apart = _between(points, 33, 263)
    width = _between(points, 61, 291) / eyes_apart
    return FaceQuality(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        sharpness=sharpness,
        light=light,
        mouth=_between(points, 13, 14) / _between(points, 78, 308),
        eyes=(_open(points, LEFT_EYE) + _open(points, RIGHT_EYE)) / 2,
        smile=width - (np.nanmedian(width) if len(known) else 0.0),
        size=_between(points, 10, 152),
    )


def _sharpness(picture: np.ndarray, inside: np.ndarray) -> float:
    """0 blurred to 1 crisp: variance of the Laplacian (Pech-Pacheco et al. 2000) of the face at a fixed size and contrast."""
    import cv2

    laplacian = cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F)
    contrast = 45.0 / max(8.0, float(picture[inside].std()))
    value = float(laplacian[inside].var()) * contrast**2
    return value / (value + CRISP)


def _between(points: np.ndarray, a: int, b: int) -> np.ndarray:
    return np.linalg.norm(points[:, a] - points[:, b], axis=-1)


def _open(points: np.ndarray, eye: list[int]) -> np.ndarray:
    outer, inner, upper, lower = eye
    return _between(points, upper, lower) / _between(points, outer, inner)


def reference_report(track: FaceTrack) -> list[tuple[str, str, str, str]]:
    """What is weak about a reference, told before generating: the known failures of the method (too little change of pose or
    expression; a face too small, dark or hidden).

    Returns:
        (name, value with unit, "good" or "weak", advice) per line; advice is "" where it is good.
    """
    q, seen = track.quality, track.seen
    steps = np.diff(track.seconds)
    usual = float(np.median(steps)) if len(steps) else 0.0
    seen_seconds = float(np.minimum(np.append(steps, usual), 0.5)[seen].sum())
    poses = [_range(q.yaw[seen]), _range(q.pitch[seen]), _range(q.roll[seen])]
    mouth, smile, eyes = _range(q.mouth[seen]), _range(q.smile[seen]), _range(q.eyes[seen])
    size, sharp, light = (float(np.nanmedian(v[seen])) for v in (q.size, q.sharpness, q.light))
    hidden = 1 - seen.mean()
    expressive = max(mouth / 0.25, smile / 0.12)

    def line(name: str, value: str, good: bool, advice: str) -> tuple[str, str, str, str]:
        return name, value, "good" if good else "weak", "" if good else advice

    return [
        line("face seen", f"{seen_seconds:.1f} s", seen_seconds >= 2.0, "Give at least 2 s in which the face is seen; 4 to 10 s are best."),
        line("hidden or lost", f"{100 * hidden:.0f} % of frames", hidden <= 0.25, "Keep hands, hair and phones away from the face."),
        line(
            "head turns",
            f"{poses[0]:.0f}° sideways, {poses[1]:.0f}° up and down, {poses[2]:.0f}° tilt",
            max(poses[0], 1.5 * poses[1], 1.5 * poses[2]) >= 15,
            "Turn the head slowly to both sides: what is never seen has to be invented.",
        ),
        line(
            "expressions",
            f"mouth opens by {mouth:.2f}, smile widens by {smile:.2f}, eyes by {eyes:.2f}",
            expressive >= 1,
            "Talk and smile: from a still face no way of moving can be learnt.",
        ),
        line("sharpness", f"{sharp:.2f} of 1", sharp >= 0.35, "Hold the camera still, clean the lens, or use more light."),
        line("light", f"{light:.2f} of 1", 0.18 <= light <= 0.88, "Brighten the face." if light < 0.5 else "Use less light on the face."),
        line("face size", f"{size:.0f} px high", size >= 64, "Come nearer: the face should be at least 64 pixels high."),
    ]


def _range(values: np.ndarray) -> float:
    """Spread between the 5th and the 95th percentile: one wild frame is not a range."""
    values = values[np.isfinite(values)]
    return float(np.percentile(values, 95) - np.percentile(values, 5)) if len(values) else 0.0
