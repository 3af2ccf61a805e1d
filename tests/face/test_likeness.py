"""Known answers on written-down faces: what must change the measure, and what must not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from slotid.face.detect import LEFT_EYE, RIGHT_EYE
from slotid.face.likeness import distances, features, likeness
from slotid.face.pose import frontal, head_pose
from slotid.face.quality import measure, reference_report
from slotid.types import FaceTrack, SlotIDError

SIZE = 128


def head(seed: int = 0, wide: float = 1.0, nose: float = 1.0) -> np.ndarray:
    """(478, 3) a schematic face about 1 high: mirror-symmetric where the pose needs it, arbitrary elsewhere."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.4, 0.4, (478, 3)) * [1, 1.2, 0.2]
    level = {
        (33, 263): (-0.3, -0.15),
        (133, 362): (-0.1, -0.15),
        (127, 356): (-0.45, -0.1),
        (234, 454): (-0.45, 0.0),
        (70, 300): (-0.3, -0.28),
    }
    level |= {(105, 334): (-0.2, -0.3), (50, 280): (-0.25, 0.1), (61, 291): (-0.15, 0.3), (78, 308): (-0.12, 0.3)}
    for (a, b), (x, y) in level.items():
        points[a], points[b] = (x * wide, y, 0.05), (-x * wide, y, 0.05)
    for k, y in {10: -0.55, 151: -0.45, 164: 0.2, 152: 0.55, 13: 0.3, 14: 0.3}.items():
        points[k] = (0, y, 0)
    for outer, inner, upper, lower in (RIGHT_EYE, LEFT_EYE):
        middle = (points[outer] + points[inner]) / 2
        points[upper], points[lower] = middle + [0, -0.03, 0], middle + [0, 0.03, 0]
    for k in (1, 2, 4, 5, 98, 327, 64, 294, 48, 278, 129, 358):
        points[k, 1] = 0.05 + (points[k, 1] - 0.05) * nose
    return points


def turned(points: np.ndarray, yaw: float = 0, pitch: float = 0, roll: float = 0, scale: float = 60.0, at=(64.0, 64.0)) -> np.ndarray:
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return points @ (about_y @ about_x @ about_z).T * scale + [*at, 0]


def track(points: np.ndarray, skin=(200, 160, 140), hair=(60, 40, 30), seen: np.ndarray | None = None) -> FaceTrack:
    """A track whose crops are painted: skin, a hair band above the forehead, brows like the hair."""
    frames = len(points)
    seen = np.ones(frames, bool) if seen is None else seen
    crops = np.empty((frames, SIZE, SIZE, 3), np.uint8)
    for k in range(frames):
        crops[k] = skin
        up = points[k, 10, :2] - points[k, 152, :2]
        for point in (109, 10, 338, 67, 297):
            for share in np.linspace(0.04, 0.26, 12):
                cv2.circle(crops[k], (points[k, point, :2] + share * up).astype(int).tolist(), 3, hair, -1)
        for point in (70, 63, 105, 66, 107, 300, 293, 334, 296, 336):
            cv2.circle(crops[k], points[k, point, :2].astype(int).tolist(), 2, hair, -1)
    marks = np.where(seen[:, None, None], points, np.nan).astype(np.float32)
    boxes = np.tile(np.array([0, 0, SIZE, SIZE], np.float32), (frames, 1))
    return FaceTrack(crops, boxes, marks, seen, np.arange(frames) / 12, measure(crops, marks))


def still(points: np.ndarray, frames: int = 8) -> np.ndarray:
    return np.repeat(turned(points)[None], frames, 0)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (25, 0, 0), (-25, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 30), (15, -10, -12)]
)
def test_pose_is_read_with_the_right_signs(yaw, pitch, roll):
    got = head_pose(turned(head(), yaw, pitch, roll)[None])
    np.testing.assert_allclose([v[0] for v in got], [yaw, pitch, roll], atol=2.5)


def test_nose_says_which_way_the_signs_go():
    tip = head()
    tip[1] = (0, 0.05, -0.3)  # in front of the face: towards the viewer
    flat = turned(tip)
    assert turned(tip, yaw=20)[1, 0] > flat[1, 0] + 3  # positive yaw: the nose moves to the picture's right
    assert turned(tip, pitch=20)[1, 1] < flat[1, 1] - 3  # positive pitch: up
    rolled = turned(tip, roll=20)
    assert rolled[10, 0] > flat[10, 0] + 3  # positive roll: the forehead goes right, clockwise


def test_frontal_undoes_pose_place_and_size():
    one = frontal(turned(head()))
    other = frontal(turned(head(), 25, -15, 20, scale=23.0, at=(300.0, -40.0)))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_same_face_in_other_pose_size_and_place_is_the_same():
    reference = track(still(head()))
    moving = np.stack(
        [turned(head(), yaw, pitch, roll) for yaw, pitch, roll in zip(range(-20, 20, 5), range(-8, 8, 2), range(-8, 8, 2), strict=True)]
    )
    shape, _, _ = distances(features(reference), features(track(moving)))
    assert np.nanmax(shape) < 1e-3
    assert np.nanmin(likeness(reference, track(still(head())))) > 0.999


def test_each_feature_lowers_it_and_light_hardly_does():
    reference = track(still(head()))
    base = dict(points=still(head()))
    others = {
        "shape": track(still(head(wide=1.15, nose=1.3))),
        "skin": track(**base, skin=(110, 75, 60), hair=(60, 40, 30)),
        "hair": track(**base, hair=(220, 190, 120)),
        "all": track(still(head(seed=5, wide=1.15)), skin=(110, 75, 60), hair=(15, 12, 10)),
    }
    value = {name: float(np.nanmedian(likeness(reference, other))) for name, other in others.items()}
    assert all(v < 0.95 for v in value.values()) and value["all"] < 0.5 and value["all"] == min(value.values())
    bright = track(still(head()))
    darker = replace(bright, crops=(bright.crops * 0.8).astype(np.uint8))
    assert np.nanmedian(likeness(reference, darker)) > 0.9


def test_unseen_frames_are_nan_and_an_unseen_reference_is_refused():
    reference, seen = track(still(head())), np.array([1, 1, 0, 1, 0, 0, 1, 1], bool)
    value = likeness(reference, track(still(head()), seen=seen))
    assert (np.isfinite(value) == seen).all()
    with pytest.raises(SlotIDError, match="reference has no frame"):
        likeness(track(still(head()), seen=np.zeros(8, bool)), reference)


def test_the_report_on_a_still_and_on_a_lively_reference():
    stiff = {name: verdict for name, _, verdict, _ in reference_report(track(still(head(), 40)))}
    assert stiff["head turns"] == "weak" and stiff["expressions"] == "weak" and stiff["face seen"] == "good"
    lively = []
    for k in range(40):
        face = head()
        face[14, 1] += 0.06 * (1 + np.sin(k))  # the mouth opens
        lively.append(turned(face, yaw=20 * np.sin(k / 6)))
    report = {name: verdict for name, _, verdict, _ in reference_report(track(np.stack(lively)))}
    assert report["head turns"] == "good" and report["expressions"] == "good"
    short = {name: verdict for name, _, verdict, _ in reference_report(track(still(head(), 8)))}
    assert short["face seen"] == "weak"
    gone = np.arange(40) % 2 == 0
    assert {name: verdict for name, _, verdict, _ in reference_report(track(still(head(), 40), seen=gone))}["hidden or lost"] == "weak"
