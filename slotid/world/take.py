"""A take: one clip of one person before it is filmed. Which scene, script and performance clip number k shows is decided here, by seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slotid.types import SlotIDError
from slotid.world.captions import caption, facts_of
from slotid.world.performance import EXPRESSIONS, Motion, Script, perform, reference_script, sample_script
from slotid.world.person import Person, person
from slotid.world.scene import Scene, on_tripod, sample_scene

if TYPE_CHECKING:
    from slotid.world.kit import Kit


@dataclass(frozen=True)
class Take:
    """Everything a film of a person is made from. ``degrade_seed`` None: a clean camera."""

    person: Person
    index: int
    reference: bool
    script: Script
    scene: Scene
    motion: Motion
    facts: dict[str, str]
    caption: str
    degrade_seed: int | None


def take_seed(person_seed: int, index: int) -> int:
    """A seed of 63 bits for clip ``index`` of a person; feeds the streams of scene, script, performance and caption."""
    return int(np.random.SeedSequence([person_seed, 6, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def direct(
    person_seed: int,
    index: int,
    frames: int = 33,
    fps: float = 12.0,
    reference: bool = False,
    script: Script | None = None,
    defects: float = 0.5,
    expr_names: tuple[str, ...] = EXPRESSIONS,
    tripod: bool = False,
) -> Take:
    """Clip ``index`` of a person: other indices give another scene, light, act and performance of the same face and habits.

    ``reference`` takes show much of the person (two acts) and, with probability ``defects``, what webcams do; ``script`` overrides the act;
    ``tripod`` films with one fixed camera (``scene.on_tripod``).
    Raises SlotIDError for a negative index or too few frames.
    """
    if index < 0:
        raise SlotIDError(f"clip number {index} is negative; count clips from 0.")
    seed = take_seed(person_seed, index)
    who = person(person_seed)
    script = script or (reference_script(seed) if reference else sample_script(seed))
    spoilt = reference and np.random.default_rng(np.random.SeedSequence([seed, 7])).random() < defects
    scene = sample_scene(seed, reference=spoilt)
    scene = on_tripod(scene) if tripod else scene
    facts = facts_of(script, scene)
    motion = perform(who.habits, script, seed, frames, fps, expr_names)
    return Take(who, index, reference, script, scene, motion, facts, caption(facts, seed), seed if spoilt else None)


def calm(take: Take, expr_names: tuple[str, ...] = EXPRESSIONS) -> Take:
    """The same take with the face held still: every expression stays what it is in the mean; head, gaze and all that is filmed are as they
    were. A film less its calm twin is what the face's expressions change in it. ``expr_names`` as ``direct`` was given."""
    follows = np.array([name.startswith("eyeLook") for name in expr_names])  # lids go with the gaze
    curves = take.motion.expressions
    return replace(take, motion=replace(take.motion, expressions=np.where(follows, curves, curves.mean(0)).astype(curves.dtype)))


def film(take: Take, kit: Kit, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Renders a take: frames (T, size, size, 3) uint8 and the true five points (T, 5, 2) float32 in pixels."""
    from slotid.world.render import render_clip

    return render_clip(kit, take.person.looks, take.scene, take.motion, size, take.degrade_seed)
