"""The promise every backbone keeps: what it is (``Spec``) and the seven things it can do (``Backbone``)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from slotid.types import Conditioning, SlotIDError

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC_FILE = "slotid.json"  # beside model_index.json; diffusers does not look at it


@dataclass(frozen=True)
class Spec:
    """What a caller must know about a backbone. Written into the weights folder, so that it travels with them."""

    name: str
    channels: int  # of the latent
    space: int  # pixels per latent cell, both ways
    time: int  # frames per latent frame; the first frame has a latent frame of its own
    patch: tuple[int, int, int]  # latent cells per transformer token (t, h, w)
    text_width: int  # channels of a text token
    text_length: int  # text tokens; shorter prompts are padded with zeros, longer ones are cut
    width: int  # channels inside the transformer
    depth: int  # blocks
    fps: float = 12.0
    size: tuple[int, int] = (128, 128)  # height, width of a film in pixels
    frames: int = 25  # of a film unless asked otherwise
    frames_min: int = 9
    frames_max: int = 49
    shift: float = 3.0  # of the sampling times, see flow.times
    noise_place: float = 0.0  # of the mean of the noise, see flow.placed
    noise_shared: int = 0  # channels whose noise is the same in every cell of a frame, see flow.placed
    noise_ahead: float = 1.0  # what their noise is divided by, likewise
    steps: int = 16
    text_guidance: float = 3.0
    text_guidance_low: float | None = None  # of the low-noise expert, where the wish says nothing; None: the same
    predicts: str = "velocity"  # what the transformer's output means: "velocity", or "sample", the clean latent
    boundary: float | None = None  # time in [0, 1] below which a second expert takes over; None: there is one
    identity_guidance: float = 1.5
    plan_guidance: float = 0.0  # where there are shared channels, see guidance.with_plan
    attention_guidance: float = 0.0  # see guidance.with_attention
    attention_block: int = 0  # whose self-attention that guidance perturbs
    finish_gain: tuple[float, ...] | None = None  # of each latent channel at the end, see flow.finished
    finish_steady: int = 0  # channels after the shared ones that are steadied then, likewise
    max_prompt_chars: int = 1000
    whole_words: bool = False  # True: the tokenizer holds every word the backbone has learned as one token

    def legal_frames(self, seconds: float | None) -> int:
        """The legal length nearest to ``seconds`` of film: time * k + 1 frames, their latent frames whole tokens; the default when None.

        Raises:
            SlotIDError: outside of ``frames_min``..``frames_max``.
        """
        if seconds is None:
            return self.frames
        low, high = self.frames_min / self.fps, self.frames_max / self.fps
        if not low - 1e-6 <= seconds <= high + 1e-6:
            raise SlotIDError(
                f"{seconds:g} seconds of film were asked for; backbone '{self.name}' makes {low:.2f} to {high:.2f} s. "
                "Ask for a length in between."
            )
        tokens = round(((seconds * self.fps - 1) / self.time + 1) / self.patch[0])
        return min(max((tokens * self.patch[0] - 1) * self.time + 1, self.frames_min), self.frames_max)

    def grid(self, frames: int, size: tuple[int, int] | None = None) -> tuple[int, int, int]:
        """The latent's (T', h, w) for so many frames of ``size`` (height, width) pixels."""
        height, width = size or self.size
        return (frames - 1) // self.time + 1, height // self.space, width // self.space

    def placed(self, noise: Tensor) -> Tensor:
        """Standard normal latents (B, C, T', h, w) as this backbone's films begin, see ``flow.placed``."""
        from slotid import flow

        return flow.placed(noise, self.noise_place, self.noise_shared, self.noise_ahead)

    def finished(self, film: Tensor) -> Tensor:
        """A sampled film (B, C, T', h, w) as it is decoded, see ``flow.finished``."""
        from slotid import flow

        return flow.finished(film, self.finish_gain, self.finish_steady, self.noise_shared)

    def save(self, folder: str | Path) -> None:
        """Write ``slotid.json`` into a pipeline folder."""
        Path(folder, SPEC_FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Spec:
        """Read ``slotid.json``; unknown fields are refused, because a misread fps or guidance spoils every film."""
        path = Path(folder, SPEC_FILE)
        if not path.is_file():
            raise SlotIDError(f"The backbone folder {folder} has no {SPEC_FILE}; give a folder written by `python -m slotid train`.")
        fields = json.loads(path.read_text())
        unknown = set(fields) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise SlotIDError(f"{path} has fields this version does not know ({', '.join(sorted(unknown))}); update slotid.")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


@dataclass(frozen=True)
class LoraPlan:
    """Which weights of a backbone a method may bend (LoRA, arXiv 2106.09685). Slot-ID bends cross-attention only."""

    rank: int = 8
    alpha: float | None = None  # None: same as the rank, so that a scale of 1 means B A x
    attention: str = "cross"  # "cross" (attn2) or "self" (attn1)
    projections: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")


class Backbone(Protocol):
    """A frozen text-to-video generator in a latent space, with rectified flow (t = 1 is noise, velocity = noise - clean)."""

    spec: Spec

    def read(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings (B, text_length, text_width); zeros beyond the last real token."""
        ...

    def to_latent(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W) in [-1, 1] -> normalised latent (B, C, T', h, w), the mean of the posterior."""
        ...

    def to_pixels(self, latent: Tensor) -> Tensor:
        """(B, C, T', h, w) -> (B, 3, T, H, W) in [-1, 1]."""
        ...

    def finished(self, film: Tensor) -> Tensor:
        """A sampled latent as it is to be decoded, same shape."""
        ...

    def velocity(self, x: Tensor, t: Tensor | float, text: Tensor, given: Conditioning, cache: dict | None = None) -> Tensor:
        """Predicted velocity, shape of ``x`` (B, C, T', h, w); ``t`` in [0, 1], one value or (B,). Gradients flow.

        ``cache``: a dict kept for one film, in which what does not change from step to step is remembered; without gradients.
        """
        ...

    def adopt(self, plan: LoraPlan) -> nn.Module:
        """Add LoRA to the frozen weights and return a module that holds only the new ones."""
        ...
