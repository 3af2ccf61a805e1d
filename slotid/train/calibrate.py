"""How much flatter sampled films are than real ones, measured where the truth is known, to be made good at the end of every film.

A small model draws what is likely: the fine latent channels, which make eyes and hair crisp, have 0.75 to 0.95 of the deviation that
they have in real films (LOG.md, fourteenth session). No judge is needed to see that; see ``flow.finished``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from slotid import flow
from slotid.guidance import guided, three_streams
from slotid.train.pairs import Latents, face_weight, latent_scale
from slotid.types import Conditioning, Stream

TOGETHER = 8  # films drawn at once
MOST_GAIN = 1.4
COARSE = 16  # channels of the picture that tell colour and form: a gain there would change what a person looks like


@torch.no_grad()
def calibrate(backbone, embedder, clips: Latents, count: int = 32, seed: int = 0) -> tuple[float, ...]:
    """Draws ``count`` training films anew, told the truth about person and scene, and compares.

    Returns:
        ``finish_gain`` of ``Spec``, one number per latent channel.
    """
    real, drawn, weight = [], [], []
    for one in told_films(backbone, embedder, clips, count, seed):
        real.append(one.film)
        drawn.append(_sampled(backbone, one.noise, one.text, backbone.read([""] * len(one.rows)), one.given))
        weight.append(one.weight)
    return compare(torch.cat(real), torch.cat(drawn), torch.cat(weight), backbone.spec.noise_shared + COARSE)


@dataclass(frozen=True)
class ToldFilms:
    """Some films (B, C, T, h, w), normalised, with the truth about them as a base is told it, and noise to begin from."""

    rows: Tensor  # (B,) among the clips
    film: Tensor
    noise: Tensor  # as ``film``
    text: Tensor
    given: Conditioning
    weight: Tensor  # (B, 1, 1, h, w) ``face_weight``


def told_films(backbone, embedder, clips: Latents, count: int, seed: int) -> Iterator[ToldFilms]:
    """At most ``count`` of the clips, spread evenly over them, TOGETHER at once; the same seed gives the same noise and captions."""
    generator = torch.Generator().manual_seed(seed)
    for rows in torch.linspace(0, len(clips.films) - 1, min(count, len(clips.films))).long().split(TOGETHER):
        yield told(backbone, embedder, clips, rows, generator, seed)


def told(backbone, embedder, clips: Latents, rows: Tensor, generator: torch.Generator, seed: int = 0) -> ToldFilms:
    """The clips of ``rows``, told; noise from ``generator``, captions phrased by ``seed``."""
    from slotid.world.captions import caption

    mean, std = latent_scale(backbone)
    film = (clips.films[rows].float() - mean) / std
    noise = backbone.spec.placed(torch.randn(film.shape, generator=generator))
    facts = [{name: value for name, value in clips.facts[row].items() if name != "framing"} for row in rows.tolist()]
    text, given = backbone.read([caption(one, seed, whole=True) for one in facts]), Conditioning(context=embedder(clips.vectors[rows]))
    return ToldFilms(rows, film, noise, text, given, face_weight(clips.focus[rows, 0], clips.reach[rows, 0], film.shape[-2:]))


def _sampled(backbone, noise: Tensor, text: Tensor, empty: Tensor, given: Conditioning) -> Tensor:
    """The films (B, C, T, h, w) that a walk from ``noise`` ends in, with the backbone's guidance of text and identity."""
    spec = backbone.spec
    streams = three_streams(spec.text_guidance, spec.identity_guidance)

    def field(x: Tensor, t: float) -> Tensor:
        def one(stream: Stream) -> Tensor:
            return backbone.velocity(x, t, text if stream.text else empty, given if stream.identity else Conditioning())

        return guided(streams, lambda group: [one(stream) for stream in group])

    *_, (_, film, _) = flow.walk(noise, field, flow.times(spec.steps, spec.shift))
    return backbone.refined(film)


def compare(real: Tensor, drawn: Tensor, weight: Tensor, kept: int) -> tuple[float, ...]:
    """real, drawn (N, C, T, h, w) normalised latents; weight (N, 1, 1, h, w). The first ``kept`` channels are left as they are: 1."""
    gain = (_spread(real, weight) / _spread(drawn, weight)).clamp(1, MOST_GAIN)
    gain[:kept] = 1
    return tuple(round(value, 3) for value in gain.tolist())


def _spread(films: Tensor, weight: Tensor) -> Tensor:
    """(C,) deviation of the cells of a frame, weighted."""
    weight = weight / weight.sum((-2, -1), keepdim=True)
    off = films - (films * weight).sum((-2, -1), keepdim=True)
    return ((off.square() * weight).sum((-2, -1)).mean((0, 2))).sqrt()
