"""Captions: plain words, many phrasings, never the person."""

import re

import pytest

from slotid.types import SlotIDError
from slotid.world.captions import FACTS, WORDS, caption, example_captions, facts_of
from slotid.world.performance import ACTS, Script
from slotid.world.scene import BACKGROUNDS, CLOTHINGS, FRAMINGS, LIGHTS, sample_scene

LOOKS = "man woman boy girl old young hair bald blond beard moustache glasses skin freckles pretty beautiful he she his her"


@pytest.mark.parametrize(
    "name, values", [("act", ACTS), ("light", LIGHTS), ("background", BACKGROUNDS), ("clothing", CLOTHINGS), ("framing", FRAMINGS)]
)
def test_every_value_of_every_fact_has_ten_phrasings(name, values):
    for value in values:
        said = {caption({name: value}, seed) for seed in range(120)}
        assert len(said) >= 10, (name, value, len(said))


def test_words_are_few_and_complete_and_say_nothing_of_looks():
    assert len(WORDS) <= 400
    used = {word for text in example_captions() for word in re.findall(r"[a-z][a-z-]*", text)}
    assert used <= set(WORDS)
    assert not set(WORDS) & set(LOOKS.split())
    for text in example_captions():
        assert re.fullmatch(r"[a-z ,-]+", text) and "  " not in text and " ," not in text, text


def test_what_a_visitor_types_is_in_the_words():
    for text in ("a person smiles in a garden", "someone talks, warm light", "nods", "a person in a red t-shirt laughs on a beach"):
        assert set(re.findall(r"[a-z][a-z-]*", text)) <= set(WORDS)


def test_captions_follow_their_seed_and_name_mostly_two_or_three_facts():
    facts = {"act": "talk,smile", "light": "sunset", "background": "beach", "clothing": "red_hoodie", "framing": "close_up"}
    assert caption(facts, 4) == caption(facts, 4)
    texts = [caption(facts, seed) for seed in range(300)]
    assert len(set(texts)) > 250
    in_turn = [text for text in texts if re.search(r"(talk|speak|say|tell).* then .*smil", text)]
    assert len(in_turn) > 240  # the act is nearly always there, and in its order
    lengths = [len(re.findall(r"sea|beach", text)) > 0 for text in texts]
    assert 0.2 < sum(lengths) / len(lengths) < 0.7


def test_a_whole_caption_names_every_fact():
    facts = {"act": "nod", "light": "sunset", "background": "beach", "clothing": "red_hoodie"}
    for seed in range(60):
        text = caption(facts, seed, whole=True)
        assert "red" in text and re.search("beach|sea", text) and re.search("sunset|golden|evening", text), text


def test_two_acts_at_once_name_both():
    for seed in range(30):
        text = caption({"act": Script(("smile", "nod"), together=True).fact}, seed)
        assert re.search("smil", text) and re.search("nod|moves? the head up|moving the head up", text)


def test_facts_of_a_scene_have_the_five_keys():
    facts = facts_of(Script(("laugh",)), sample_scene(9))
    assert tuple(facts) == FACTS and facts["act"] == "laugh" and facts["light"] in LIGHTS


@pytest.mark.parametrize("facts", [{}, {"act": "dance"}, {"light": "disco"}, {"hair": "long"}, {"clothing": "red"}])
def test_unknown_facts_are_refused(facts):
    with pytest.raises(SlotIDError):
        caption(facts, 0)
