"""Captions by a grammar: what happens, where, in what light, in which clothes, how framed; never what the person looks like.

Words are plain and few, because a tiny tokenizer learns on them and a visitor should find his own among them. Left and right are
the viewer's. ``caption`` reads only the facts; ``facts_of`` names them for the judges, so that nobody has to parse a sentence back.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from slotid.types import SlotIDError
from slotid.world.performance import ACTS, Script, acts_of, script_from_fact
from slotid.world.scene import BACKGROUNDS, COLOURS, FRAMINGS, GARMENTS, LIGHTS, Scene

FACTS = ("act", "light", "background", "clothing", "framing")

# Each act as "third person|-ing form"; a sentence picks the form it needs.
_ACT = {
    "stay_neutral": (
        "looks at the camera|looking at the camera; keeps a neutral face|keeping a neutral face; stays calm|staying calm; "
        "sits still|sitting still; does nothing|doing nothing; waits|waiting"
    ),
    "smile": (
        "smiles|smiling; smiles at the camera|smiling at the camera; gives a smile|giving a smile; "
        "starts to smile|starting to smile; breaks into a smile|breaking into a smile; "
        "looks happy and smiles|looking happy and smiling"
    ),
    "laugh": (
        "laughs|laughing; laughs out loud|laughing out loud; starts to laugh|starting to laugh; "
        "bursts into a laugh|bursting into a laugh; has a good laugh|having a good laugh; laughs at a joke|laughing at a joke"
    ),
    "talk": (
        "talks|talking; speaks|speaking; talks to the camera|talking to the camera; speaks to the camera|speaking to the camera; "
        "says something|saying something; is telling a story|telling a story"
    ),
    "frown": (
        "frowns|frowning; looks angry|looking angry; looks sad and frowns|looking sad and frowning; makes a frown|making a frown; "
        "starts to frown|starting to frown; looks worried|looking worried"
    ),
    "be_surprised": (
        "is surprised|being surprised; looks surprised|looking surprised; looks amazed|looking amazed; "
        "opens the mouth in surprise|opening the mouth in surprise; makes a surprised face|making a surprised face; "
        "shows surprise|showing surprise"
    ),
    "raise_brows": (
        "raises the brows|raising the brows; raises the eyebrows|raising the eyebrows; lifts the eyebrows|lifting the eyebrows; "
        "moves the eyebrows up|moving the eyebrows up; lifts both brows|lifting both brows; "
        "raises both eyebrows|raising both eyebrows"
    ),
    "wink": (
        "winks|winking; winks at the camera|winking at the camera; gives a wink|giving a wink; closes one eye|closing one eye; "
        "winks with one eye|winking with one eye; makes a wink|making a wink"
    ),
    "close_eyes": (
        "closes the eyes|closing the eyes; shuts the eyes|shutting the eyes; closes both eyes|closing both eyes; "
        "rests with eyes closed|resting with eyes closed; keeps the eyes closed|keeping the eyes closed; "
        "shuts both eyes|shutting both eyes"
    ),
    "look_left": (
        "looks left|looking left; looks to the left|looking to the left; glances left|glancing left; "
        "glances to the left|glancing to the left; turns the eyes to the left|turning the eyes to the left; "
        "looks over to the left|looking over to the left"
    ),
    "look_right": (
        "looks right|looking right; looks to the right|looking to the right; glances right|glancing right; "
        "glances to the right|glancing to the right; turns the eyes to the right|turning the eyes to the right; "
        "looks over to the right|looking over to the right"
    ),
    "look_up": (
        "looks up|looking up; glances up|glancing up; looks at the sky|looking at the sky; lifts the eyes|lifting the eyes; "
        "turns the eyes up|turning the eyes up; looks upwards|looking upwards"
    ),
    "look_down": (
        "looks down|looking down; glances down|glancing down; looks at the floor|looking at the floor; "
        "lowers the eyes|lowering the eyes; turns the eyes down|turning the eyes down; looks downwards|looking downwards"
    ),
    "nod": (
        "nods|nodding; nods the head|nodding the head; gives a nod|giving a nod; says yes with a nod|saying yes with a nod; "
        "moves the head up and down|moving the head up and down; nods yes|nodding yes"
    ),
    "shake_head": (
        "shakes the head|shaking the head; says no with the head|saying no with the head; "
        "shakes the head to say no|shaking the head to say no; moves the head from side to side|moving the head from side to side; "
        "gives a shake of the head|giving a shake of the head"
    ),
    "tilt": (
        "tilts the head|tilting the head; leans the head to one side|leaning the head to one side; "
        "tilts the head to the side|tilting the head to the side; holds the head tilted|holding the head tilted; "
        "leans the head|leaning the head; tips the head|tipping the head"
    ),
    "turn_half": (
        "turns to the side|turning to the side; turns the head|turning the head; turns half away|turning half away; "
        "turns the head to the side|turning the head to the side; turns to half profile|turning to half profile; "
        "turns away a little|turning away a little"
    ),
    "turn_profile": (
        "turns to profile|turning to profile; shows the profile|showing the profile; "
        "turns all the way to the side|turning all the way to the side; turns fully to the side|turning fully to the side; "
        "turns into profile|turning into profile; is seen in profile|turning to profile"
    ),
}
_LIGHT = {
    "soft_daylight": "soft daylight; soft light; daylight; soft natural light; gentle daylight",
    "warm_lamp": "warm light; warm lamp light; the warm light of a lamp; warm indoor light; lamp light",
    "cool_window": "cool light; cool window light; cool light from a window; blue window light; cold light",
    "side_light": "light from the side; side light; strong side light; hard light from the side; light from one side",
    "studio": "studio light; bright studio light; even light; bright even light; clean studio light",
    "sunset": "sunset light; golden light; golden evening sun; the light of a sunset; orange sunset light",
    "evening": "evening light; dim light; dim evening light; dark evening light; low light",
    "backlight": "backlight; light from behind; bright light from behind; strong backlight; the sun from behind",
}
_BACKGROUND = {
    "white_wall": (
        "in front of a white wall; before a white wall; against a white wall; against a white background; with a white wall behind"
    ),
    "grey_wall": "in front of a grey wall; before a grey wall; against a grey wall; against a grey background; with a gray wall behind",
    "blue_wall": "in front of a blue wall; before a blue wall; against a blue wall; against a blue background; with a blue wall behind",
    "green_wall": (
        "in front of a green wall; before a green wall; against a green wall; against a green background; with a green wall behind"
    ),
    "gradient": (
        "against a smooth background; before a plain background; in front of a plain backdrop; against a studio backdrop; in a studio"
    ),
    "living_room": "in a living room; at home; in a room; in a living room at home; inside a house",
    "office": "in an office; at work in an office; at the office; in a bright office; in an office room",
    "bookshelf": "in front of a bookshelf; before a shelf of books; in a library; with books behind; in front of bookshelves",
    "window": "in front of a window; by a window; near a window; at a window; with a window behind",
    "garden": "in a garden; in a green garden; outdoors in a garden; in the garden; outside in a park",
    "forest": "in a forest; among trees; in the woods; outdoors in a forest; with trees behind",
    "beach": "on a beach; at the beach; by the sea; on a beach by the sea; with the sea behind",
    "city_night": "in a city at night; in the city at night; on a street at night; before city lights; with city lights behind",
}
_GARMENT = {
    "tshirt": "t-shirt; tee shirt; shirt with a round neck; tee; round-neck t-shirt",
    "vneck": "v-neck shirt; v-neck; v-neck top; shirt with a v-neck; top with a v-neck",
    "shirt": "shirt; shirt with a collar; collared shirt; button shirt; dress shirt",
    "hoodie": "hoodie; hooded sweater; sweater with a hood; hooded top; top with a hood",
    "sweater": "sweater; pullover; knitted sweater; jumper; wool sweater",
    "jacket": "jacket; coat; zipped jacket; light jacket; open jacket",
}
_FRAMING = {
    "close_up": "close up; a close-up; a tight close-up; seen from near; the face fills the picture",
    "head_and_collar": "head and shoulders; a portrait; a head and shoulders shot; a medium close-up; seen from the front",
    "from_below": "seen from below; from a low angle; a low angle shot; the camera looks up; filmed from below",
    "from_above": "seen from above; from a high angle; a high angle shot; the camera looks down; filmed from above",
}
_WHO = ("a person", "someone", "a person", "the person", "somebody")
_SHOT = ("a video of", "a film of", "a clip of", "a portrait of", "a shot of")
_WEAR = ("in {a}", "wearing {a}", "dressed in {a}")
_LIT = ("in {x}", "{x}", "lit by {x}", "under {x}", "with {x}")


def _choices(text: str) -> list[str]:
    return [part.strip() for part in text.split(";")]


def _pick(rng: np.random.Generator, options) -> str:
    return options[int(rng.integers(len(options)))]


def _plain(rng: np.random.Generator, options) -> str:
    """One of the phrasings; the first, plainest one comes more often, because it is what a visitor types."""
    return options[0] if rng.random() < 0.25 else _pick(rng, options)


def facts_of(script: Script, scene: Scene) -> dict[str, str]:
    """The five facts of a clip: the scene's own and the script's act."""
    return {"act": script.fact, **{name: scene.facts[name] for name in FACTS[1:]}}


def _act(rng: np.random.Generator, fact: str, form: int) -> str:
    """The verb phrase of one or two acts; form 0 third person, 1 -ing."""
    script = script_from_fact(fact)
    said = [_plain(rng, _choices(_ACT[act])).split("|")[form] for act in script.acts]
    if len(said) == 1:
        return said[0]
    if script.together:
        if form == 0:
            return _pick(rng, (f"{said[0]} and {said[1]}", f"{said[1]} and {said[0]}"))
        return _pick(rng, (f"{said[0]} and {said[1]}", f"{said[1]} while {said[0]}"))
    if form == 0:
        return _pick(rng, (f"{said[0]}, then {said[1]}", f"{said[0]} and then {said[1]}", f"first {said[0]}, then {said[1]}"))
    return _pick(rng, (f"{said[0]}, then {said[1]}", f"{said[0]} and then {said[1]}"))


def _clothing(rng: np.random.Generator, fact: str) -> str:
    colour, garment = fact.split("_", 1)
    if colour == "grey" and rng.random() < 0.3:
        colour = "gray"
    thing = f"{colour} {_plain(rng, _choices(_GARMENT[garment]))}"
    return _pick(rng, _WEAR).format(a=("an " if thing[0] in "aeiou" else "a ") + thing)


def _known(name: str, value: str) -> bool:
    if name == "act":
        return all(act in _ACT for act in acts_of(value))
    if name == "clothing":
        colour, _, garment = value.partition("_")
        return colour in COLOURS and garment in GARMENTS
    return value in {"light": _LIGHT, "background": _BACKGROUND, "framing": _FRAMING}[name]


def check_facts(facts: dict[str, str]) -> None:
    """Raises SlotIDError when a fact's name or value is not of the world."""
    for name, value in facts.items():
        if name not in FACTS or not _known(name, value):
            raise SlotIDError(f"fact {name}={value!r} is unknown here; facts are {', '.join(FACTS)}, with the values of world/scene.py.")


def caption(facts: dict[str, str], seed: int, whole: bool = False) -> str:
    """One sentence of some of ``facts`` (any subset of FACTS), in lower case, without a full stop; random stream [seed, 5].

    The act is nearly always named, of the others mostly one or two; all of them when ``whole``. Raises SlotIDError for a fact the world
    does not know.
    """
    if not facts:
        raise SlotIDError(f"a caption needs at least one fact; give some of: {', '.join(FACTS)}.")
    check_facts(facts)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 5]))
    others = [name for name in FACTS[1:] if name in facts]
    count = min(len(others), int(rng.choice(5, p=[0.12, 0.35, 0.33, 0.13, 0.07])))
    count = len(others) if whole else count
    named = set(rng.permutation(others)[:count].tolist()) if others else set()
    with_act = "act" in facts and (not named or rng.random() < 0.94 or whole)
    who = _pick(rng, _WHO)
    wear = f" {_clothing(rng, facts['clothing'])}" if "clothing" in named else ""
    where = f" {_plain(rng, _choices(_BACKGROUND[facts['background']]))}" if "background" in named else ""
    light = _plain(rng, _choices(_LIGHT[facts["light"]])) if "light" in named else ""
    frame = _plain(rng, _choices(_FRAMING[facts["framing"]])) if "framing" in named else ""
    style = rng.random()
    if not with_act:
        head = f"{who}{wear}{where}"
    elif style < 0.12 and not wear:
        head = f"{_act(rng, facts['act'], 0)}{where}"  # "nods in a garden"
    elif style < 0.24:
        head = f"{_act(rng, facts['act'], 1)}{where}" + (f",{wear}" if wear else "")
    elif style < 0.42:
        head = f"{_pick(rng, _SHOT)} {'a person' if who == 'the person' else who}{wear} {_act(rng, facts['act'], 1)}{where}"
    elif style < 0.55:
        head = f"{who}{wear} {_act(rng, facts['act'], 1)}{where}"
    elif wear and style < 0.78:
        head = f"{who} {_act(rng, facts['act'], 0)}{where},{wear}"
    else:
        head = f"{who}{wear} {_act(rng, facts['act'], 0)}{where}"
    parts = [head]
    if light:
        said = _pick(rng, _LIT).format(x=light)
        if said.startswith("in ") and where and rng.random() < 0.5:
            parts[0] += f" {said}"
        else:
            parts.append(said)
    if frame:
        parts = [frame, *parts] if rng.random() < 0.35 else [*parts, frame]
    return ", ".join(parts)


def _all_words() -> tuple[str, ...]:
    tables = [*_ACT.values(), *_LIGHT.values(), *_BACKGROUND.values(), *_GARMENT.values(), *_FRAMING.values()]
    rest = (*_WHO, *_SHOT, *COLOURS, "in wearing dressed with lit by under a an and then first while gray")
    text = " ".join([*tables, *rest])
    return tuple(sorted(set(re.findall(r"[a-z][a-z-]*", text))))


# Every word a caption can hold
WORDS: tuple[str, ...] = _all_words()


@lru_cache(maxsize=1)
def example_captions(count: int = 2000) -> tuple[str, ...]:
    """Captions of random facts, to build a tokenizer on; the same ones every time."""
    rng = np.random.default_rng(5)
    made = []
    for seed in range(count):
        act = str(rng.choice(ACTS))
        facts = {
            "act": act,
            "light": str(rng.choice(LIGHTS)),
            "background": str(rng.choice(BACKGROUNDS)),
            "clothing": f"{rng.choice(COLOURS)}_{rng.choice(GARMENTS)}",
            "framing": str(rng.choice(FRAMINGS)),
        }
        made.append(caption(facts, seed))
    return tuple(made)
