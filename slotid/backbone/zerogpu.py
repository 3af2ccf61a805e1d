"""Borrowed accelerators (Hugging Face ZeroGPU): how long a film will take, and a decorator that is nothing where there is none to borrow.

On such a Space the card is there only inside decorated functions, which run in a process of their own: models are made at module level,
``spaces`` is imported before torch touches CUDA, and what comes back is a path or lies in main memory. A visitor waits in the queue by
the duration that is asked for, and is cut off when it is over: it has to be tight, and never short.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from slotid.backbone.backbone import Spec

# A borrowed card does about 400 useful TFLOP/s in bfloat16 at best; Wan's mixed float32 norms and attention reach a fraction of it.
FLOPS = 120e12
FIXED_SECONDS = 8.0  # moving weights onto the card, text, start of the process
DECODE_PER_MEGAPIXEL = 0.25  # seconds per million pixels of film, VAE in float32
SAFETY = 1.3
LEAST, MOST = 10, 300


def borrowed() -> bool:
    """True on a Space that borrows its card."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def step_flops(spec: Spec, frames: int, ffn: int | None = None) -> float:
    """Floating-point operations of one forward for one stream: linear layers on all tokens, and attention, which grows with their square.

    ``ffn``: inner width of the feed-forward; None takes Wan 1.3B's ratio to the width (5.8), the largest of all Wan sizes.
    """
    t, h, w = spec.grid(frames)
    tokens = t * h * w / math.prod(spec.patch)
    ffn = ffn or 5.84 * spec.width
    per_block = tokens * (6 * spec.width**2 + 2 * spec.width * ffn) + 2 * tokens * (tokens + spec.text_length) * spec.width
    return 2 * spec.depth * per_block


def film_seconds(spec: Spec, steps: int | None = None, seconds: float | None = None, streams: int = 3, flops: float = FLOPS) -> int:
    """Seconds of card to ask for: LEAST to MOST, whole, rounded up.

    Args:
        steps, seconds: of the wish; None takes the spec's. streams: forwards per step (text and identity guidance take three).
    """
    frames = spec.legal_frames(seconds)
    denoise = (steps or spec.steps) * streams * step_flops(spec, frames) / flops
    decode = frames * spec.size[0] * spec.size[1] / 1e6 * DECODE_PER_MEGAPIXEL
    return int(min(MOST, max(LEAST, math.ceil(SAFETY * (FIXED_SECONDS + denoise + decode)))))


def on_borrowed(function: Callable, duration: int | Callable[..., int] = 60) -> Callable:
    """``spaces.GPU`` around a function or generator; elsewhere the function itself.

    ``duration``: seconds, or a callable that gets the function's own arguments (``film_seconds`` of the wish).
    """
    if not borrowed():
        return function
    import spaces

    return spaces.GPU(duration=duration)(function)


def place_for_space(studio: Any) -> Any:
    """At module level of a Space, before the page is launched: put a studio's models where ``spaces`` expects them. Elsewhere, and where a
    memory profile moves parts by itself, it is left alone."""
    if not borrowed():
        return studio
    placed = studio.backbone.placement
    if placed is None:
        studio.backbone.to("cuda")
    elif placed.moves == "none":
        placed.need("transformer")  # at its first need it puts everything on the card
    if hasattr(studio.method, "to"):
        studio.method.to("cuda")
    return studio
