"""MediaPipe's two networks behind two small classes: faces in a picture, and the mesh of one face. CPU only, no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from slotid.face.quiet import quiet

# Numbers of mesh points (MediaPipe face mesh with irises, 478 points). "Left" is the person's left, at the right in the picture.
LEFT_EYE = [362, 263, 386, 374]
RIGHT_EYE = [33, 133, 159, 145]
NOSE_TIP = 1
MOUTH_LEFT, MOUTH_RIGHT = 291, 61
OVAL = [
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
]


@dataclass(frozen=True)
class Found:
    """One face in one picture."""

    box: np.ndarray  # (4,) x0 y0 x1 y1 pixels: brows to chin, ear to ear
    score: float  # 0 to 1


class _Network:
    """One MediaPipe graph, made on its first picture. Its threads chatter from then until the first face: all that runs quietly."""

    def __init__(self, module: str, kind: str, answer: str, how: dict[str, Any]) -> None:
        self.module, self.kind, self.answer, self.how = module, kind, answer, how
        self.graph, self.warm = None, False

    def __call__(self, picture: np.ndarray) -> Any:
        picture = np.ascontiguousarray(picture)
        if self.warm:
            return getattr(self.graph.process(picture), self.answer)
        with quiet():
            if self.graph is None:
                import mediapipe as mp

                self.graph = getattr(getattr(mp.solutions, self.module), self.kind)(**self.how)
            result = getattr(self.graph.process(picture), self.answer)
        self.warm = bool(result)
        return result

    def close(self) -> None:
        if self.graph is not None:
            self.graph.close()


class Detector:
    """All faces in a picture: BlazeFace full range first (far and several), short range where that finds nothing (close-ups)."""

    def __init__(self, confidence: float = 0.5) -> None:
        far, near = ({"model_selection": k, "min_detection_confidence": confidence} for k in (1, 0))
        self.ranges = [_Network("face_detection", "FaceDetection", "detections", far)]
        self.ranges.append(_Network("face_detection", "FaceDetection", "detections", near))

    def __call__(self, picture: np.ndarray) -> list[Found]:
        """picture (H, W, 3) uint8 RGB -> faces, best first."""
        height, width = picture.shape[:2]
        for network in self.ranges:
            detections = network(picture)
            if detections:
                found = []
                for one in detections:
                    b = one.location_data.relative_bounding_box
                    box = np.array([b.xmin * width, b.ymin * height, (b.xmin + b.width) * width, (b.ymin + b.height) * height])
                    found.append(Found(box, float(one.score[0])))
                return sorted(found, key=lambda f: -f.score)
        return []

    def close(self) -> None:
        for network in self.ranges:
            network.close()


class Mesh:
    """The 478 points of the one face in a picture; follows it from call to call, so feed consecutive frames."""

    def __init__(self) -> None:
        how = {"static_image_mode": False, "max_num_faces": 1, "refine_landmarks": True}
        self.network = _Network("face_mesh", "FaceMesh", "multi_face_landmarks", how)

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        """picture (H, W, 3) uint8 RGB -> (478, 3) pixels; z in pixels too, smaller is nearer; None where no face is sure."""
        faces = self.network(picture)
        if not faces:
            return None
        height, width = picture.shape[:2]
        points = np.array([(p.x, p.y, p.z) for p in faces[0].landmark], np.float32)
        return points * np.array([width, height, width], np.float32)

    def close(self) -> None:
        self.network.close()


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(..., 478, 3) mesh -> (..., 5, 2): left eye centre, right eye centre, nose tip, mouth left, mouth right; see ``align``."""
    flat = landmarks[..., :2]
    eyes = [flat[..., LEFT_EYE, :].mean(-2), flat[..., RIGHT_EYE, :].mean(-2)]
    return np.stack([*eyes, flat[..., NOSE_TIP, :], flat[..., MOUTH_LEFT, :], flat[..., MOUTH_RIGHT, :]], -2)
