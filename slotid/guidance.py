"""Guidance as weighted streams (classifier-free guidance, arXiv 2207.12598, nested for identity and text as InstructPix2Pix nests picture
and text, arXiv 2211.09800).

v = v(none) + s g_i [v(id) - v(none)] + g_t [v(id, text) - v(id)], written as a list of streams whose weights sum to 1; streams of weight
zero are dropped. What the sentence changes is taken beside the person: taken without one (v(text) - v(none)), the sentence was followed
less at the same likeness (LOG.md, fifth training). Strength 0 *is* no identity, and guidance 1 costs no extra forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from slotid.types import Stream

PLAN_KNOWN = 0.85  # time below which most of a film's motion is settled (LOG.md, eleventh training)
ATTENTION_WITHIN = (0.3, 0.9)  # times between which faces take their form (LOG.md, thirteenth training)


def _kept(streams: Sequence[Stream]) -> list[Stream]:
    return [s for s in streams if abs(s.weight) > 1e-9]


def two_streams(text_guidance: float) -> list[Stream]:
    """Text guidance alone; one stream at 1."""
    return _kept([Stream(1 - text_guidance, False, False), Stream(text_guidance, True, False)])


def three_streams(text_guidance: float, identity_guidance: float, strength: float = 1.0) -> list[Stream]:
    """Text and identity guidance. At ``strength`` 0 there is no identity: the streams are those of ``two_streams``."""
    if strength == 0:
        return two_streams(text_guidance)
    pull = strength * identity_guidance
    return _kept([Stream(1 - pull, False, False), Stream(pull - text_guidance, False, True), Stream(text_guidance, True, True)])


def _more_than(streams: Sequence[Stream], weight: float, **lacking: bool) -> list[Stream]:
    """The streams and ``weight`` times [what the stream that is told the most says - what it says ``lacking`` something] besides."""
    told = max((s for s in streams if s.planned and s.attentive), key=lambda s: (s.identity, s.text))
    at = streams.index(told)
    return [
        *streams[:at],
        *_kept([replace(told, weight=told.weight + weight), replace(told, weight=-weight, **lacking)]),
        *streams[at + 1 :],
    ]


def with_plan(streams: Sequence[Stream], plan_guidance: float, t: float = 0.0) -> list[Stream]:
    """The streams and g_p [v(id, text) - v(id, text, no plan)] besides: what a film's own plan of motion changes in its picture.

    VideoJAM's inner guidance (arXiv 2502.02492), for backbones that film what moves in channels of their own (``Spec.noise_shared``).
    Only below PLAN_KNOWN: before, there is no plan yet that a picture could follow, and a step costs a stream less.
    """
    return list(streams) if t >= PLAN_KNOWN else _more_than(streams, plan_guidance, planned=False)


def with_attention(streams: Sequence[Stream], attention_guidance: float, t: float = 0.5) -> list[Stream]:
    """The streams and g_a [v(id, text) - v'(id, text)] besides, v' with self-attention perturbed in one block: what tokens learn from one
    another there, so that eyes, mouth and outline belong to one face.

    Perturbed-attention guidance (Ahn et al. 2024, arXiv 2403.17887; for video Hyung et al. 2024, arXiv 2411.18664). It costs a stream
    within ATTENTION_WITHIN and nothing outside.
    """
    low, high = ATTENTION_WITHIN
    return _more_than(streams, attention_guidance, attentive=False) if low <= t <= high else list(streams)


def guided(streams: Sequence[Stream], velocity_of: Callable[[list[Stream]], Sequence[Tensor]]) -> Tensor:
    """The weighted sum of the streams' velocities.

    ``velocity_of`` answers a *group* of streams at once. Streams with and without identity differ in the number of tokens before the
    text (and in LoRA), so they cannot share a forward without a mask; streams that agree in that go together.
    """
    total = None
    for identity in (False, True):
        group = [s for s in streams if s.identity == identity]
        if not group:
            continue
        for stream, velocity in zip(group, velocity_of(group), strict=True):
            term = stream.weight * velocity if stream.weight != 1 else velocity
            total = term if total is None else total + term
    if total is None:
        raise ValueError("guidance needs at least one stream with a weight other than 0")
    return total
