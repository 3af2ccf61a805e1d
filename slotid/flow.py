"""Rectified flow (arXiv 2209.03003, 2403.03206): a straight path from a clean latent to noise, the times, the walk back, the loss.

x_t = (1 - t) x0 + t eps, t = 1 is noise; velocity v = d x_t / d t = eps - x0. Wan was trained with exactly this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def _wide(t: Tensor | float, like: Tensor) -> Tensor:
    """``t`` (one value or (B,)) shaped to multiply ``like`` (B, ...)."""
    t = torch.as_tensor(t, dtype=like.dtype, device=like.device)
    return t.reshape(-1, *[1] * (like.ndim - 1)) if t.ndim else t


def at(x0: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """The path: a point between clean ``x0`` (t = 0) and ``noise`` (t = 1). ``t`` one value or (B,)."""
    t = _wide(t, x0)
    return (1 - t) * x0 + t * noise


def placed(noise: Tensor, place: float, shared: int = 0, ahead: float = 1.0) -> Tensor:
    """Where films start: standard normal latents (B, C, T', h, w) moved to ``place_code`` as their mean; ``place`` 0 leaves them.

    A path may lead to any distribution; a mean of the noise moves every x_t by t times itself and changes nothing else.

    Args:
        place: ``Spec.noise_place`` of the backbone. shared: ``Spec.noise_shared``, its first channels, which hold the same in every cell of
            a frame (what moves, ``train.motion``): so does their noise then, the mean of the cells'. That tells as much as the cells
            together would, but every token at once, and no block has to average it out of the others. ahead: ``Spec.noise_ahead``, what
            their noise is divided by: the larger, the earlier on the way they are settled, and the picture is drawn by them.
    """
    if shared:
        mean = noise[:, :shared].mean((-2, -1), keepdim=True) / ahead
        noise = torch.cat([mean.expand_as(noise[:, :shared]), noise[:, shared:]], 1)
    return noise + place_code(noise.shape[1], noise.shape[-2:], place).to(noise) if place else noise


def unplanned(x: Tensor, shared: int, generator: torch.Generator | None = None) -> Tensor:
    """A film on its way (B, C, T', h, w) whose first ``shared`` channels, those that ``placed`` makes alike in every cell of a frame, tell
    nothing: standard noise in each cell, whatever t is. The base knows these at sight, has learned to draw without them, and so shows what
    a plan changes (guidance by it: VideoJAM's inner guidance, arXiv 2502.02492)."""
    empty = torch.randn(x[:, :shared].shape, generator=generator, device=generator.device if generator else x.device)
    return torch.cat([empty.to(x), x[:, shared:]], 1)


def place_code(channels: int, size: Sequence[int], amplitude: float) -> Tensor:
    """(1, channels, 1, h, w) that tells a token where in the picture it is: the 15 lowest cosines of the plane, one in each of the last
    channels (the least important ones), each of root mean square ``amplitude``.

    Wan knows places by rotary embedding alone, so only distances, and alike tokens stay alike whatever their place: all that breaks the
    symmetry near t = 1 is the noise itself. The tiny base spent three of its eight blocks on that (LOG.md, sixth training). A larger Wan
    has blocks enough, and 0.
    """
    height, width = size
    rows, columns = (torch.cos(torch.pi * torch.arange(4)[:, None] * (torch.arange(n) + 0.5) / n) for n in (height, width))
    waves = (rows[:, None, :, None] * columns[None, :, None, :]).flatten(0, 1)[1:][:channels]  # the first is the same everywhere
    waves = waves / waves.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-3)
    code = torch.zeros(1, channels, 1, height, width)
    code[0, channels - len(waves) :, 0] = amplitude * waves
    return code


def steadied(film: Tensor) -> Tensor:
    """A film (B, C, T', h, w) in which each moment is the mean of itself and its neighbours (1 2 1): nothing alternates any more,
    and what moves evenly stays as it is."""
    around = torch.cat([film[:, :, :1], film, film[:, :, -1:]], 2)
    return (around[:, :, :-2] + 2 * around[:, :, 1:-1] + around[:, :, 2:]) / 4


def finished(film: Tensor, gain: Sequence[float] | None, steady: int = 0, shared: int = 0) -> Tensor:
    """A sampled film (B, C, T', h, w), normalised, made good as a whole: the small model's light trembles more than real light does, and
    its fine channels are flatter.

    Args:
        gain: of each channel (``train.calibrate``); None leaves them. steady: so many channels after the ``shared`` ones, which hold the
            light of each cell, are ``steadied``.
    """
    if steady:
        light = slice(shared, shared + steady)
        film = torch.cat([film[:, :shared], steadied(film[:, light]), film[:, light.stop :]], 1)
    return film * torch.tensor(gain).to(film).view(1, -1, 1, 1, 1) if gain else film


def target(x0: Tensor, noise: Tensor) -> Tensor:
    """The velocity of the path, the same at every t."""
    return noise - x0


def clean(x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
    """The clean latent that ``x`` at ``t`` points to: x - t v."""
    return x - _wide(t, x) * velocity


def noise_of(x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
    """The noise that ``x`` at ``t`` came from: x + (1 - t) v."""
    return x + (1 - _wide(t, x)) * velocity


def shifted(t: Tensor, shift: float) -> Tensor:
    """Times moved towards noise: shift t / (1 + (shift - 1) t); 1 leaves them (arXiv 2403.03206, eq. 23)."""
    return shift * t / (1 + (shift - 1) * t)


def times(steps: int, shift: float = 3.0) -> Tensor:
    """(steps + 1,) float64 falling times from 1 to 0, more of them near noise for ``shift`` > 1."""
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)


def sample_times(
    count: int, shift: float = 3.0, generator: torch.Generator | None = None, spread: float = 1.0, even: bool = False
) -> Tensor:
    """(count,) float32 training times in (0, 1): logit-normal with deviation ``spread``, then shifted (arXiv 2403.03206).

    ``even``: one from each of ``count`` equally likely stretches, shuffled: times are then spread over every batch, and the gradient is
    less of a lottery (Kingma et al. 2021, arXiv 2107.00630, section I.1).
    """
    if even:
        chance = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
        normal = torch.special.ndtri(chance.clamp(1e-4, 1 - 1e-4))
    else:
        normal = torch.randn(count, generator=generator)
    return shifted(torch.sigmoid(spread * normal), shift)


def loss(predicted: Tensor, velocity: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of the velocity; ``weight`` (broadcast to ``velocity``) keeps its mean, so that it only moves attention."""
    error = (predicted.float() - velocity.float()).square()
    if weight is None:
        return error.mean()
    weight = weight.float().expand_as(error)
    return (error * weight).sum() / weight.sum().clamp_min(1e-8)


def walk(
    x: Tensor,
    field: Callable[[Tensor, float], Tensor],
    path: Tensor,
    method: str = "second",
    refine: Callable[[Tensor, float], Tensor] | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Integrate the velocity ``field(x, t)`` along falling times ``path`` (from ``times``); one field call per step.

    Yields (steps done, x, estimated clean latent) after each step, so that the caller may show it or stop.

    Args:
        method: "euler" (first order) or "second" (two-step Adams-Bashforth on uneven steps: the slope is extrapolated
            with the last one; as cheap as Euler, error falls with the square of the step).
        refine: may replace the estimated clean latent at t (StableAnimator's moment); the slope then follows from it.
    """
    if method not in ("euler", "second"):
        raise ValueError(f"unknown walk '{method}'; expected 'euler' or 'second'")
    last, last_h = None, 0.0
    for i in range(len(path) - 1):
        t, h = float(path[i]), float(path[i + 1] - path[i])
        v = field(x, t)
        x0 = clean(x, v, t)
        if refine is not None and t > 0:
            better = refine(x0, t)
            if better is not x0:
                x0, v = better, (x - better) / t
        slope = v if last is None or method == "euler" else v + (v - last) * (h / (2 * last_h))
        x = x + h * slope
        last, last_h = v, h
        yield i + 1, x, x0
