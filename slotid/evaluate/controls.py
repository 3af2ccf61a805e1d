"""The controls: films whose score is known beforehand, and references with something taken away.

Rulers need no generator and prove the judges: another real clip of the person (ceiling), another person in the same scene and act
(floor), that real clip with its frames shuffled, one frame of it held, the reference pasted, and noise. Reference controls are a
method's own films from a spoilt reference: shuffled in time, one still held, 2, 5 or 10 frames, a neutral or an expressive clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from slotid.types import Clip, FaceQuality, FaceTrack

RULERS = ("ceiling", "floor", "real_shuffled", "real_still", "pasted", "noise")
ALWAYS = RULERS[:2]  # made for every film; the others for the first films of some people
FEW = (2, 5, 10)
ORDER_CONTROLS = ("shuffled", "still")  # what a clip tells that its pictures do not
REFERENCE_CONTROLS = (*ORDER_CONTROLS, *(f"frames{count}" for count in FEW), "neutral", "expressive")
ALL_FRAMES = "frames_all"  # the method's own films of the people of the reference controls


def shuffled_in_time(clip: Clip, seed: int) -> Clip:
    """The same frames in random order, at the same times."""
    order = np.random.default_rng([seed, 21]).permutation(len(clip.frames))
    return replace(clip, frames=clip.frames[order])


def still_repeated(clip: Clip) -> Clip:
    """The middle frame, all the time."""
    return replace(clip, frames=np.repeat(clip.frames[len(clip.frames) // 2][None], len(clip.frames), axis=0))


def pasted(reference: Clip, like: Clip) -> Clip:
    """The reference itself, as long as a film."""
    count = min(len(reference.frames), len(like.frames))
    return Clip(reference.frames[:count], reference.seconds[:count])


def noise(like: Clip, seed: int) -> Clip:
    """Coloured noise of a film's size."""
    return replace(like, frames=np.random.default_rng([seed, 22]).integers(0, 256, like.frames.shape, dtype=np.uint8))


def pick_frames(track: FaceTrack, rows: np.ndarray, keep_times: bool = False) -> FaceTrack:
    """Some frames of a track in the order of ``rows``; ``keep_times``: at the track's first len(rows) times, else at their own."""
    rows = np.asarray(rows)
    quality = FaceQuality(**{field.name: getattr(track.quality, field.name)[rows] for field in fields(FaceQuality)})
    seconds = track.seconds[: len(rows)] if keep_times else track.seconds[rows]
    return replace(
        track, crops=track.crops[rows], boxes=track.boxes[rows], landmarks=track.landmarks[rows], seen=track.seen[rows],
        seconds=seconds, quality=quality,
    )  # fmt: skip


def spoilt_reference(name: str, track: FaceTrack, seed: int) -> FaceTrack:
    """The reference as control ``name`` gives it (neutral and expressive ones are other clips and come as they are)."""
    count = len(track.seconds)
    if name == "shuffled":
        return pick_frames(track, np.random.default_rng([seed, 23]).permutation(count), keep_times=True)
    if name == "still":
        from slotid.identity.reading import choose_anchor

        return pick_frames(track, np.full(count, choose_anchor(track)), keep_times=True)
    if name.startswith("frames") and name != ALL_FRAMES:
        seen = np.flatnonzero(track.seen)
        wanted = min(int(name.removeprefix("frames")), len(seen))
        return pick_frames(track, seen[np.linspace(0, len(seen) - 1, wanted).round().astype(int)])
    return track


RULER_FILMS: dict[str, Callable[[Clip, Clip, int], Clip]] = {  # from (real other clip, reference, seed)
    "real_shuffled": lambda real, reference, seed: shuffled_in_time(real, seed),
    "real_still": lambda real, reference, seed: still_repeated(real),
    "pasted": lambda real, reference, seed: pasted(reference, real),
    "noise": lambda real, reference, seed: noise(real, seed),
}
