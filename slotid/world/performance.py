"""A person plays a script: habits and one or two acts become curves of expression, head and gaze.

The clip is short, so an act begins within its first 0.6 s. Blinks, sway, resting tilt and brows are never absent: they are the person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slotid.types import SlotIDError
from slotid.world.acts import ACT_PLAYERS, Stage
from slotid.world.habits import Habits

ACTS = tuple(ACT_PLAYERS)
HEAD_ACTS = frozenset({"look_left", "look_right", "look_up", "look_down", "nod", "shake_head", "tilt", "turn_half", "turn_profile"})

# ICT-FaceKit's expressions, the order of the default kit
EXPRESSIONS = tuple(
    "PupilDilate_L PupilDilate_R browDown_L browDown_R browInnerUp_L browInnerUp_R browOuterUp_L browOuterUp_R cheekPuff_L cheekPuff_R "
    "cheekRaiser_L cheekRaiser_R cheekSquint_L cheekSquint_R eyeBlink_L eyeBlink_R eyeLookDown_L eyeLookDown_R eyeLookIn_L eyeLookIn_R "
    "eyeLookOut_L eyeLookOut_R eyeLookUp_L eyeLookUp_R eyeSquint_L eyeSquint_R eyeWide_L eyeWide_R jawForward jawLeft jawOpen jawRight "
    "mouthClose mouthDimple_L mouthDimple_R mouthFrown_L mouthFrown_R mouthFunnel mouthLeft mouthLowerDown_L mouthLowerDown_R "
    "mouthPress_L mouthPress_R mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmile_L "
    "mouthSmile_R mouthStretch_L mouthStretch_R mouthUpperUp_L mouthUpperUp_R noseSneer_L noseSneer_R".split()
)

# How often an act is drawn. Those that show a person's habits come more often.
_WEIGHTS = {
    "stay_neutral": 1.5,
    "smile": 4.0,
    "laugh": 2.0,
    "talk": 4.0,
    "frown": 1.0,
    "be_surprised": 1.5,
    "raise_brows": 1.0,
    "wink": 0.8,
    "close_eyes": 0.8,
    "look_left": 0.8,
    "look_right": 0.8,
    "look_up": 0.8,
    "look_down": 0.8,
    "nod": 1.2,
    "shake_head": 1.2,
    "tilt": 1.0,
    "turn_half": 1.2,
    "turn_profile": 0.8,
}


@dataclass(frozen=True)
class Motion:
    """What the renderer follows. Left is the person's own left, which is right in the picture."""

    expressions: np.ndarray  # (T, E) float32 0..1, in the order of expr_names
    head: np.ndarray  # (T, 3) float32 degrees: yaw (+ to the picture's right), pitch (+ up), roll (+ clockwise in the picture)
    gaze: np.ndarray  # (T, 2) float32 degrees relative to the head: yaw, pitch, signed as the head's
    seconds: np.ndarray  # (T,) float64, first is 0


@dataclass(frozen=True)
class Script:
    """One act, or two: one after the other, or ``together`` (then at least one of them is of the head or the gaze)."""

    acts: tuple[str, ...]
    together: bool = False

    def __post_init__(self) -> None:
        unknown = [act for act in self.acts if act not in ACT_PLAYERS]
        if unknown or not 1 <= len(self.acts) <= 2:
            raise SlotIDError(f"script {self.acts} needs one or two acts out of: {', '.join(ACTS)}.")
        if self.together and (len(self.acts) != 2 or not HEAD_ACTS & set(self.acts)):
            raise SlotIDError(f"acts {self.acts} cannot go together; one of two must be of the head: {', '.join(sorted(HEAD_ACTS))}.")

    @property
    def fact(self) -> str:
        """The script as one value for captions and judges: "smile", "talk,smile" (in turn) or "smile+nod" (at once)."""
        return ("+" if self.together else ",").join(self.acts)


def acts_of(fact: str) -> tuple[str, ...]:
    """The names of acts in a fact, in turn or together; unchecked, an empty fact has one empty name."""
    return tuple(fact.replace("+", ",").split(","))


def script_from_fact(fact: str) -> Script:
    """The inverse of ``Script.fact``."""
    return Script(acts_of(fact), together="+" in fact)


def sample_script(seed: int) -> Script:
    """Mostly one act (70 %), else two in turn (18 %) or two at once (12 %); random stream [seed, 4, 1]."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 4, 1]))
    weights = np.array([_WEIGHTS[act] for act in ACTS])
    first = str(rng.choice(ACTS, p=weights / weights.sum()))
    kind = rng.random()
    if kind < 0.70 or first == "stay_neutral":
        return Script((first,))
    face = [act for act in ACTS if act not in HEAD_ACTS and act not in ("stay_neutral", "close_eyes", "wink")]
    head = ["nod", "shake_head", "tilt", "turn_half", "look_left", "look_right"]
    if kind > 0.88:
        face_act, head_act = str(rng.choice([act for act in face if act != "frown"])), str(rng.choice(head))
        return Script((face_act, head_act), together=True)
    others = [act for act in (*face, "nod", "shake_head", "tilt", "turn_half") if act != first and {act, first} != {"smile", "laugh"}]
    return Script((first, str(rng.choice(others))))


def reference_script(seed: int) -> Script:
    """Two acts that show much of a person, as somebody does who introduces himself to a camera; about 4 s do them justice."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 4, 2]))
    pairs = [("talk", "smile"), ("smile", "talk"), ("talk", "laugh"), ("talk", "turn_half"), ("smile", "turn_half")]
    return Script(pairs[int(rng.choice(len(pairs), p=[0.4, 0.25, 0.15, 0.1, 0.1]))])


def perform(habits: Habits, script: Script, seed: int, frames: int, fps: float, expr_names: tuple[str, ...] = EXPRESSIONS) -> Motion:
    """``habits`` act ``script`` for ``frames`` at ``fps``; the same seed gives the same curves (random stream [seed, 4]).

    ``expr_names`` is the kit's order; an expression the kit lacks is left out. Raises SlotIDError when frames < 2 or fps <= 0.
    """
    if frames < 2 or not fps > 0:
        raise SlotIDError(
            f"a performance of {frames} frames at {fps} frames a second cannot be played; give at least 2 frames and fps above 0."
        )
    # two streams, so that blinks and sway are the same whatever is played
    rng, always = (np.random.default_rng(np.random.SeedSequence([seed, 4, *more])) for more in ((), (0, 1)))
    length = frames / fps
    stage = Stage(np.arange(frames) / fps, length, habits, rng, always)
    start = rng.uniform(min(0.12, 0.1 * length), min(0.45, 0.2 * length + 0.05))
    if len(script.acts) == 1:
        ACT_PLAYERS[script.acts[0]](stage, start, length)
    elif script.together:
        for act in script.acts:
            ACT_PLAYERS[act](stage, start, length)
    else:
        turn = start + (length - start) * rng.uniform(0.44, 0.54)
        ACT_PLAYERS[script.acts[0]](stage, start * 0.7, turn)
        ACT_PLAYERS[script.acts[1]](stage, turn, length)
    curves, head, gaze = stage.finish()
    zero = np.zeros(frames)
    expressions = np.stack([np.clip(curves.get(name, zero), 0, 1) for name in expr_names], axis=1)
    return Motion(expressions.astype(np.float32), head.astype(np.float32), gaze.astype(np.float32), stage.t)
