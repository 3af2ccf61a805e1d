"""Whom and what an evaluation asks for: test people, their clips and their wishes, all decided by seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from slotid.evaluate.score import HABIT_ACTS
from slotid.types import SlotIDError
from slotid.world.captions import caption
from slotid.world.performance import ACTS, Script, perform
from slotid.world.person import person
from slotid.world.scene import BACKGROUNDS, FRAMINGS, LIGHTS
from slotid.world.splits import SPLITS
from slotid.world.take import Take, direct, take_seed

TEST = SPLITS["test"].start
FRAMES, FPS = 33, 12.0  # of every real film and reference: as long as the films that are judged
PORTRAIT_FRAMES, PORTRAIT_FPS = 2, 0.7
# Numbers of a person's takes that nothing else uses. A person is known to the judges by several clips in other scenes.
REFERENCE, NEUTRAL, EXPRESSIVE, FIRST_FILM = 1000, 1003, 1004, 2000
TEMPLATES, PORTRAITS = (1001, 1011, 1021), (1002, 1012, 1022)
_OTHER_ACTS = tuple(act for act in ACTS if act not in HABIT_ACTS)
_ELSE = {"light": LIGHTS, "background": BACKGROUNDS, "framing": FRAMINGS, "clothing": ("red_tshirt", "blue_jacket")}


@dataclass(frozen=True)
class Wish:
    """A film that is asked for: the sentence, the facts it names, and the take in which the person really does it."""

    person: int
    number: int
    take: Take
    asked: dict[str, str]
    prompt: str


def named_facts(facts: dict[str, str], seed: int) -> dict[str, str]:
    """The facts that ``caption(facts, seed)`` says: those whose change changes the sentence."""
    said, named = caption(facts, seed), {}
    for name, value in facts.items():
        if name == "act":
            other = "nod" if value != "nod" else "smile"
        else:
            other = next(v for v in _ELSE[name] if v != value)
        if caption({**facts, name: other}, seed) != said:
            named[name] = value
    return named


def wish_of(who: int, number: int, seed: int = 0, names: tuple[str, ...] | None = None) -> Wish:
    """Film ``number`` of a person: even ones ask for an act that shows habits, odd ones for any other act; framing is never asked.

    The sentence names the act and at least one more fact. Deterministic in all arguments.
    """
    turn = who + number // 2
    act = HABIT_ACTS[turn % len(HABIT_ACTS)] if number % 2 == 0 else _OTHER_ACTS[turn * 7 % len(_OTHER_ACTS)]
    more = {} if names is None else {"expr_names": names}
    take = direct(who, FIRST_FILM + 100 * seed + number, FRAMES, FPS, script=Script((act,)), **more)
    facts = {name: value for name, value in take.facts.items() if name != "framing"}
    for turn in range(200):
        drawn = take_seed(who, 50_000 + 1000 * seed + 10 * number) % (2**31) + turn
        asked = named_facts(facts, drawn)
        if "act" in asked and len(asked) >= 2:
            return Wish(who, number, take, asked, caption(facts, drawn))
    raise SlotIDError(f"no sentence names the act and another fact of film {number} of person {who}; this is a fault of the captions.")


def as_somebody_else(take: Take, who: int, names: tuple[str, ...] | None = None) -> Take:
    """The same scene and script with another person in it."""
    more = {} if names is None else {"expr_names": names}
    other = person(who)
    motion = perform(other.habits, take.script, take_seed(who, take.index), len(take.motion.seconds), _fps(take), **more)
    return replace(take, person=other, motion=motion)


def _fps(take: Take) -> float:
    return 1 / float(take.motion.seconds[1] - take.motion.seconds[0])


def reference_take(who: int, index: int, names: tuple[str, ...] | None = None) -> Take:
    """A clean take of two acts (REFERENCE, TEMPLATES, EXPRESSIVE), of none (NEUTRAL), or two moments (PORTRAITS)."""
    script = {NEUTRAL: Script(("stay_neutral",)), EXPRESSIVE: Script(("smile", "talk"))}.get(index)
    more = {} if names is None else {"expr_names": names}
    frames, fps = (PORTRAIT_FRAMES, PORTRAIT_FPS) if index in PORTRAITS else (FRAMES, FPS)
    return direct(who, index, frames, fps, reference=True, script=script, defects=0.0, **more)


def impostor_of(who: int, people: int, seed: int = 0) -> int:
    """Another test person, the same one every time."""
    rng = np.random.default_rng([seed, who, 11])
    other = TEST + int(rng.integers(max(people, 2)))
    return other if other != who else TEST + (who - TEST + 1) % max(people, 2)
