"""What each slot reads: a film over the face, the slots through time, and the plan while it forms.

A transport plan gives every token of the clip's mass to slots. Brightness here is honest: it is the plan divided by what an even
plan would give, so a slot that looks everywhere alike stays dim everywhere instead of being stretched into a pattern.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slotid.show.paint import data_uri, escape, jpeg, resize, rgb, slot_colour, svg


def focus(plan: np.ndarray) -> tuple[np.ndarray, float]:
    """How much more than an even share each place gets.

    ``plan`` (..., T, h, w) >= 0, one slot. Returns (brightness in [0, 1] of the same shape, top): half the even share or less is 0,
    ``top`` times the even share over places that have any mass is 1. ``top`` is at least 3, so an even plan stays at a fifth.
    """
    plan = np.nan_to_num(np.asarray(plan, np.float32))
    used = plan > 0
    even = plan.sum() / max(1, int(used.sum()))
    if even <= 0:
        return np.zeros_like(plan), 3.0
    ratio = plan / even
    top = max(3.0, float(np.quantile(ratio[used], 0.995)))
    return np.clip((ratio - 0.5) / (top - 0.5), 0.0, 1.0), top


def grow(maps: np.ndarray, size: int) -> np.ndarray:
    """(T, h, w) in [0, 1] to (T, size, size), smooth (bicubic), because a token is wider than a pixel."""
    from PIL import Image

    grown = [Image.fromarray(np.asarray(m, np.float32)).resize((size, size), Image.Resampling.BICUBIC) for m in maps]
    return np.clip(np.stack([np.asarray(g) for g in grown]), 0.0, 1.0)


def thin(count: int, most: int) -> np.ndarray:
    """Indices of at most ``most`` of ``count`` frames, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def heat_film(crops: np.ndarray, plan: np.ndarray, slot: int, size: int = 128) -> np.ndarray:
    """One slot's attention over the clip: the face in grey, and the slot's colour laid over where it looks.

    The face stays readable everywhere, on dark skin too: one sees *what* is looked at, not a lamp in the dark.
    ``crops`` (T, C, C, 3) uint8, ``plan`` (T, h, w); returns (T, size, size, 3) uint8.
    """
    grey = grow(np.asarray(crops, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255.0, size)
    cover = 0.88 * grow(focus(plan)[0], size) ** 0.65
    plain, light = (34 + 142.8 * grey) * (1 - cover) + 26 * cover, (0.5 + 0.75 * grey) * cover
    film = np.empty((*grey.shape, 3), np.uint8)
    for channel, value in enumerate(rgb(slot_colour(slot))):
        film[..., channel] = np.clip(plain + value * light, 0, 255)
    return film


def still(crops: np.ndarray, plan: np.ndarray, slot: int, frame: int, size: int = 128) -> np.ndarray:
    """One slot's attention averaged over time, on one crop: (size, size, 3) uint8."""
    mean = np.asarray(plan, np.float32).mean(0, keepdims=True)
    return heat_film(np.asarray(crops)[frame : frame + 1], mean, slot, size)[0]


def time_map(
    plan: np.ndarray, seconds: np.ndarray, crops: np.ndarray, names: Sequence[str], width: int = 860, chosen: int | None = None
) -> str:
    """Slots by time as SVG: each row one slot, brightness its share of mass in that moment, the clip's frames beneath.

    ``plan`` (S, T, h, w), ``seconds`` (T,), ``crops`` (T, C, C, 3) uint8. ``chosen`` marks a slot.
    """
    plan = np.nan_to_num(np.asarray(plan, np.float32))
    slots, frames = plan.shape[:2]
    left, row, gap, top = 150.0, 22.0, 5.0, 6.0
    thumbs = min(frames, 12)
    thumb = (width - left) / thumbs
    mass = plan.sum((2, 3))
    height = top + slots * (row + gap) + 8 + thumb + 22
    step = (width - left) / frames
    body: list[str] = []
    for slot in range(slots):
        y = top + slot * (row + gap)
        bright, _ = focus(mass[slot][None, None])
        colour, marked = slot_colour(slot), slot == chosen
        weight = "700" if marked else "400"
        name = escape(names[slot])
        body.append(f'<text x="{left - 10:g}" y="{y + row * 0.68:g}" font-size="13" text-anchor="end" font-weight="{weight}">{name}</text>')
        body.append(f'<rect x="{left:g}" y="{y:g}" width="{width - left:g}" height="{row:g}" rx="3" fill="{colour}" opacity="0.10"/>')
        for frame in range(frames):
            value = float(bright[0, 0, frame])
            if value > 0:
                place = f'x="{left + frame * step:.2f}" y="{y:g}" width="{step:.2f}" height="{row:g}"'
                body.append(f'<rect {place} fill="{colour}" opacity="{value:.2f}" shape-rendering="crispEdges"/>')
        if marked:
            place = f'x="{left - 1:g}" y="{y - 1:g}" width="{width - left:g}" height="{row + 2:g}" rx="3"'
            body.append(f'<rect {place} fill="none" stroke="currentColor" stroke-width="1.5"/>')
    y = top + slots * (row + gap) + 8
    picks = np.linspace(0, frames - 1, thumbs).round().astype(int)
    small = resize(np.asarray(crops)[picks], 72, 72)
    for k, (frame, picture) in enumerate(zip(picks, small, strict=True)):
        x = left + k * thumb
        place = f'x="{x + 1:.1f}" y="{y:g}" width="{thumb - 2:.1f}" height="{thumb - 2:.1f}"'
        body.append(f'<image {place} href="{data_uri(jpeg(picture), "jpeg")}"/>')
        place = f'x="{x + thumb / 2:.1f}" y="{y + thumb + 12:g}" font-size="11" text-anchor="middle"'
        body.append(f'<text {place} opacity="0.75">{seconds[frame]:.1f} s</text>')
    busiest = names[int(mass.sum(1).argmax())]
    title = f"{slots} slots over {float(seconds[-1]):.1f} seconds of the clip; brighter means more of the slot's mass; most mass: {busiest}"
    return svg(width, height, body, title)


def forming(maps: np.ndarray, crops: np.ndarray, frame: int, names: Sequence[str], size: int = 128) -> str:
    """The plan at one iteration as a row of small pictures, one a slot, as HTML. ``maps`` (S, h, w), summed over time."""
    cells = []
    for slot, plan in enumerate(maps):
        picture = data_uri(jpeg(still(crops, plan[None], slot, frame, size), 88), "jpeg")
        alt = f"{names[slot]}: where this slot looks on average at this iteration"
        image = f'<img src="{picture}" width="{size}" height="{size}" alt="{escape(alt)}">'
        cells.append(f"<figure>{image}<figcaption>{escape(names[slot])}</figcaption></figure>")
    return f'<div class="forming">{"".join(cells)}</div>'


def error_curve(errors: np.ndarray, chosen: int | None = None, width: int = 860) -> str:
    """Marginal error by Sinkhorn iteration on a logarithmic axis, as SVG; each refinement of the slots starts a new curve.

    ``errors`` (K refinements, n iterations) >= 0; ``chosen`` counts through all of them from 0 and is marked.
    """
    errors = np.maximum(np.atleast_2d(np.asarray(errors, np.float64)), 1e-12)
    rounds, count = errors.shape
    height, left, right, top, bottom = 210.0, 54.0, 14.0, 14.0, 46.0
    high, low = np.ceil(np.log10(errors.max())), np.floor(np.log10(errors.min()))
    high = max(high, low + 1)
    across = (width - left - right) / errors.size

    def place(index: int) -> tuple[float, float]:
        value = np.log10(errors.flat[index])
        return left + (index + 0.5) * across, top + (high - value) / (high - low) * (height - top - bottom)

    body: list[str] = []
    for power in range(int(low), int(high) + 1, max(1, int((high - low) // 4))):
        y = top + (high - power) / (high - low) * (height - top - bottom)
        body.append(f'<line x1="{left:g}" x2="{width - right:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity="0.15"/>')
        body.append(f'<text x="{left - 8:g}" y="{y + 4:.1f}" font-size="12" text-anchor="end" opacity="0.8">{10.0**power:g}</text>')
    for number in range(rounds):
        indices = range(number * count, (number + 1) * count)
        path = " ".join("{:.1f},{:.1f}".format(*place(index)) for index in indices)
        body.append(f'<polyline points="{path}" fill="none" stroke="{slot_colour(0)}" stroke-width="2"/>')
        for index in indices:
            (x, y), big = place(index), index == chosen
            ring = ' stroke="currentColor" stroke-width="2"' if big else ""
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if big else 3}" fill="{slot_colour(0)}"{ring}/>')
            step = index - number * count + 1
            body.append(f'<text x="{x:.1f}" y="{height - bottom + 18:g}" font-size="11" text-anchor="middle" opacity="0.8">{step}</text>')
        middle = left + (number + 0.5) * count * across
        body.append(f'<text x="{middle:.1f}" y="{height - 8:g}" font-size="12" text-anchor="middle">refinement {number + 1}</text>')
        if number:
            x = left + number * count * across
            body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{height - 4:g}" stroke="currentColor" opacity="0.2"/>')
    first, last = errors[-1, 0], errors[-1, -1]
    title = f"Marginal error of the plan in the last of {rounds} refinements: {first:.1e} at its first iteration, {last:.1e} at its last"
    return svg(width, height, body, title)
