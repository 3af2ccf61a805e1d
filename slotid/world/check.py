"""Is a rendered face a face? How often MediaPipe's mesh finds it, by how far the head is turned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from slotid.face.quiet import quiet
from slotid.types import SlotIDError
from slotid.world.performance import Script, sample_script
from slotid.world.splits import SPLITS
from slotid.world.take import direct, take_seed

YAWS = (0, 15, 30, 45, 52.5, 67.5, 90)  # the last but one holds 60 degrees


def detection_by_yaw(
    clips: int, every: int = 4, size: int = 128, kit: str | None = None, report: Callable[[str], None] | None = None
) -> list[dict[str, float | int | None]]:
    """Detection rate of MediaPipe FaceMesh (still pictures, refined) on the first take of ``clips`` test people.

    Every fourth person turns the head, in rotation to half profile, to 60 degrees (a half turn carried on, because no act stops
    there) and to profile, so that large angles are there in number; all else is as drawn, the camera is clean.
    Returns rows: from, to (degrees of true head yaw), frames, found (share, None without frames).
    """
    if clips < 1 or every < 1:
        raise SlotIDError(f"{clips} clips, every {every}th frame cannot be checked; give numbers of at least 1.")
    from mediapipe.python.solutions.face_mesh import FaceMesh

    from slotid.world.kit import load_kit
    from slotid.world.render import Renderer

    model, yaws, found = load_kit(kit), [], []
    seeds = SPLITS["test"][:clips]
    with quiet():
        mesh = FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.5)
        mesh.process(np.zeros((64, 64, 3), np.uint8))  # its threads chatter at the first picture, and again at the first face
    with mesh:
        for number, seed in enumerate(seeds):
            turn = ("turn_half", "sixty", "turn_profile")[number // 4 % 3] if number % 4 == 0 else None
            script = Script(("turn_half" if turn == "sixty" else turn,)) if turn else sample_script(take_seed(seed, 0))
            take = direct(seed, 0, script=script, expr_names=model.expr_names)
            motion = take.motion
            if turn == "sixty":
                head = motion.head * np.array([60 / np.abs(motion.head[:, 0]).max(), 1, 1], np.float32)
                motion = replace(motion, head=head)
            renderer = Renderer(model, take.person.looks, take.scene, size)
            for index in range(0, len(motion.head), every):
                picture = np.ascontiguousarray(renderer.render(motion, index))
                yaws.append(abs(float(motion.head[index, 0])))
                with nullcontext() if any(found) else quiet():
                    found.append(mesh.process(picture).multi_face_landmarks is not None)
            if report and (number + 1) % 25 == 0:
                near = np.array(found)[np.array(yaws) < 45]
                report(f"{number + 1} of {clips} clips, {near.mean():.2%} of {len(near)} frames within 45 degrees found")
    yaws, found = np.array(yaws), np.array(found)
    rows = []
    for low, high in [(0, 45), *zip(YAWS[:-1], YAWS[1:], strict=True)]:
        inside = (yaws >= low) & (yaws < high)
        share = float(found[inside].mean()) if inside.any() else None
        rows.append({"from": low, "to": high, "frames": int(inside.sum()), "found": share})
    return rows
