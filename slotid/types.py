"""The nouns. Frozen, shaped, without behaviour; change one with ``dataclasses.replace``.

T is frames, S slots, A anchor tokens, B batch. Pictures are uint8 RGB, height before width. Seconds are true presentation times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # annotations only: `import slotid` must not pay for torch
    import numpy as np
    from torch import Tensor


class SlotIDError(Exception):
    """An error a person can act on: what was given, what was expected, what to do. Printed as one line, without a traceback."""


@dataclass(frozen=True)
class Clip:
    """Frames with their true times. ``notices`` says what was changed on the way in (cut to 20 s, resampled...)."""

    frames: np.ndarray  # (T, H, W, 3) uint8 RGB, upright
    seconds: np.ndarray  # (T,) float64, increasing, first is 0
    source: str | None = None  # the file's name, None when made in memory
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaceQuality:
    """One value per frame; NaN where the face is not seen."""

    yaw: np.ndarray  # (T,) degrees, positive to the person's left (picture's right)
    pitch: np.ndarray  # (T,) degrees, positive up
    roll: np.ndarray  # (T,) degrees, positive clockwise in the picture
    sharpness: np.ndarray  # (T,) 0 blurred to 1 crisp
    light: np.ndarray  # (T,) 0 black to 1 white, mean luma of the face
    mouth: np.ndarray  # (T,) mouth opening over mouth width, 0 closed
    eyes: np.ndarray  # (T,) eye opening over eye width, mean of both
    smile: np.ndarray  # (T,) mouth width over distance of the eyes, minus the clip's median
    size: np.ndarray  # (T,) face height in source pixels


@dataclass(frozen=True)
class FaceTrack:
    """One person through time. Crops follow the head slowly and never rotate, so that its own motion stays in them."""

    crops: np.ndarray  # (T, C, C, 3) uint8; a frame without the face repeats the nearest crop's place
    boxes: np.ndarray  # (T, 4) float32 x0 y0 x1 y1 of the crop in source pixels, may reach outside the picture
    landmarks: np.ndarray  # (T, 478, 3) float32 MediaPipe mesh in source pixels; NaN where unseen
    seen: np.ndarray  # (T,) bool
    seconds: np.ndarray  # (T,) float64
    quality: FaceQuality
    notices: tuple[str, ...] = ()
    others: np.ndarray | None = None  # (P, 4) boxes of all persons found, this one first; None when not asked


@dataclass(frozen=True)
class IdentityCode:
    """What a method remembers of a person, made once per person. Biometric: save and delete only on the user's act."""

    method: str
    version: int
    tensors: Mapping[str, Tensor]  # what generation needs
    shown: Mapping[str, Any] = field(default_factory=dict)  # what a person may look at (arrays)
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditioning:
    """What a method asks of a backbone, once per video. None (or 0) means: leave the backbone as it is."""

    context: Tensor | None = None  # (B, N, text width) tokens put before the text tokens
    lora: float = 0.0  # scale of the method's LoRA, 0 switches it off
    reference: Any | None = None  # later methods: clean latents in self-attention
    cross: Any | None = None  # later methods: a second cross-attention branch
    residual: Any | None = None  # later methods: after-block residuals
    patch: Tensor | None = None  # later methods: added to the patch tokens


@dataclass(frozen=True)
class Stream:
    """One term of guidance: weight times the velocity given the text or not, the identity or not. The weights of a list sum to 1."""

    weight: float
    text: bool
    identity: bool
    planned: bool = True  # False: without the film's own plan of motion (``flow.unplanned``)
    attentive: bool = True  # False: in one block of the backbone every token attends to itself alone (``WanBackbone.perturbed``)


@dataclass(frozen=True)
class Request:
    """One wish. ``None`` means the backbone's default."""

    prompt: str
    reference: Clip | FaceTrack | IdentityCode | None  # None: no identity
    strength: float = 1.0  # 0 none to 2 exaggerated
    text_guidance: float | None = None  # 1 to 10
    identity_guidance: float | None = None  # 1 to 10
    steps: int | None = None  # 1 to 100
    seconds: float | None = None  # of film
    seed: int = 0
    slot_gain: tuple[float, ...] | None = None  # (S,) 0 mutes a slot, 1 leaves it, 2 doubles it
    preview_every: int = 4  # steps between decoded previews, 0 none
    likeness: bool = True  # track the film and measure likeness over time


@dataclass(frozen=True)
class Step:
    """Progress of a generation."""

    stage: str  # "face", "remember", "read", "denoise", "decode", "likeness"
    step: int  # done
    steps: int
    seconds_left: float | None  # None while unknown
    preview: np.ndarray | None = None  # (T, H, W, 3) uint8, the estimated clean film; None on most steps


@dataclass(frozen=True)
class Result:
    """A film that explains itself."""

    clip: Clip
    face: FaceTrack | None  # None without a reference, or when a saved code was given
    code: IdentityCode | None
    request: Request
    likeness: np.ndarray | None  # (T,) 0 to 1, NaN where no face was found; None when not measured
    timings: Mapping[str, float]  # seconds per stage
    settings: Mapping[str, Any]  # resolved: prompt, seed, steps, method, backbone, version...
