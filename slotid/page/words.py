"""Words for the prompt: chips that write into it, a surprise, and what the model's reader made of a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping

# label -> phrase, in the words that the embedded pipeline learnt
ACTS = {
    "smile": "smiles", "laugh": "laughs", "talk": "talks to the camera", "nod": "nods", "shake head": "shakes the head",
    "surprised": "looks surprised", "frown": "frowns", "wink": "winks", "look up": "looks up", "tilt head": "tilts the head",
    "turn": "turns the head to the side",
}  # fmt: skip
LIGHTS = {
    "daylight": "soft daylight", "warm lamp": "warm light", "window": "cool window light", "side": "side light", "studio": "studio light",
    "sunset": "sunset light", "evening": "evening light", "from behind": "backlight",
}  # fmt: skip
PLACES = {
    "garden": "in a garden", "beach": "on a beach", "forest": "in a forest", "city": "in a city at night",
    "living room": "in a living room", "office": "in an office", "books": "in front of a bookshelf",
    "white wall": "in front of a white wall", "blue wall": "in front of a blue wall",
}  # fmt: skip
CLOTHES = {
    "red t-shirt": "wearing a red t-shirt", "black hoodie": "wearing a black hoodie", "white shirt": "wearing a white shirt",
    "green sweater": "wearing a green sweater", "blue jacket": "wearing a blue jacket", "yellow t-shirt": "wearing a yellow t-shirt",
}  # fmt: skip
CHIPS: Mapping[str, Mapping[str, str]] = {"Act": ACTS, "Place": PLACES, "Light": LIGHTS, "Clothes": CLOTHES}
WHO = "a person"


def write_chip(prompt: str, group: str, label: str | None) -> str:
    """Puts a chip's phrase into the prompt: in place of another phrase of the same group, else where it reads well.

    ``label`` None takes the group's phrase out. What the visitor wrote himself stays as it is.
    """
    phrases = CHIPS[group]
    phrase = phrases[label] if label else ""
    text = " ".join(prompt.split())
    for other in sorted(phrases.values(), key=len, reverse=True):
        found = re.search(rf"(^|(?<=[\s,])){re.escape(other)}(?=$|[\s,.])", text, re.IGNORECASE)
        if found:
            return _tidy(text[: found.start()] + phrase + text[found.end() :])
    if not phrase:
        return _tidy(text)
    if group == "Act":
        start = re.match(rf"{WHO}\b", text, re.IGNORECASE)
        if start:
            return _tidy(f"{text[: start.end()]} {phrase} {text[start.end() :]}")
        return _tidy(f"{WHO} {phrase}" + (f", {text}" if text else ""))
    if not text:
        return f"{WHO} {phrase}" if group != "Light" else f"{WHO}, {phrase}"
    return _tidy(f"{text}, {phrase}" if group == "Light" else f"{text} {phrase}" if "," not in text else _before_comma(text, phrase))


def _before_comma(text: str, phrase: str) -> str:
    head, tail = text.split(",", 1)
    return f"{head} {phrase},{tail}"


def _tidy(text: str) -> str:
    text = re.sub(r"\s+([,.])", r"\1", " ".join(text.split()))
    text = re.sub(r"(,\s*)+", ", ", text)
    return text.strip(" ,")


def surprise(seed: int) -> str:
    """A sentence by the world's own grammar; the same seed gives the same sentence."""
    import numpy as np

    from slotid.world.captions import caption
    from slotid.world.performance import ACTS as world_acts
    from slotid.world.scene import BACKGROUNDS, CLOTHINGS
    from slotid.world.scene import LIGHTS as world_lights

    rng = np.random.default_rng(seed)
    acts = [act for act in world_acts if act not in ("stay_neutral", "close_eyes")]
    pick = {"act": acts, "light": world_lights, "background": BACKGROUNDS, "clothing": CLOTHINGS}
    facts = {name: str(values[int(rng.integers(len(values)))]) for name, values in pick.items()}
    if rng.random() < 0.6:
        del facts[str(rng.choice(["light", "clothing"]))]
    return caption(facts, seed)


def heard(prompt: str, unknown: list[str]) -> list[tuple[str, bool]]:
    """Each word of the prompt with whether the reader learnt it; ``unknown`` comes from ``backbone.unknown_words``."""
    strange = {word.lower() for word in unknown}
    return [(word, word.lower() not in strange) for word in re.findall(r"[^\W_]+", prompt)]


def heard_html(answers: list[tuple[str, bool]]) -> str:
    """The words, marked by shape as well as colour, and a sentence that counts them."""
    from slotid.show.paint import escape

    if not answers:
        return ""
    marked = " ".join(f"<b>{escape(word)}</b>" if fine else f'<i title="not a word it learnt">{escape(word)}</i>' for word, fine in answers)
    strange = [word for word, fine in answers if not fine]
    if strange:
        say = f"It never learnt {', '.join(f'“{escape(word)}”' for word in strange[:6])}: such words may do nothing."
    else:
        say = "It learnt all of these words."
    return f'<div class="heard"><div>{marked}</div><figcaption>{say}</figcaption></div>'
