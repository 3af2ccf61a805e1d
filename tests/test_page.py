"""The page's parts without a browser: words, slot gains, comparisons, what is kept and forgotten, the engine."""

from __future__ import annotations

import numpy as np
import pytest

from slotid.types import Request, SlotIDError


def test_chips_write_into_the_prompt_and_replace_their_own_kind():
    from slotid.page.words import write_chip

    text = ""
    for group, label in (("Act", "smile"), ("Place", "garden"), ("Light", "sunset"), ("Clothes", "red t-shirt")):
        text = write_chip(text, group, label)
    assert text == "a person smiles in a garden wearing a red t-shirt, sunset light"
    text = write_chip(text, "Place", "beach")
    assert text == "a person smiles on a beach wearing a red t-shirt, sunset light"
    text = write_chip(text, "Act", "nod")
    assert text == "a person nods on a beach wearing a red t-shirt, sunset light"
    assert write_chip(text, "Light", None) == "a person nods on a beach wearing a red t-shirt"


@pytest.mark.parametrize("order", [("Light", "Act"), ("Place", "Act"), ("Clothes", "Act")])
def test_chips_read_well_in_any_order(order):
    from slotid.page.words import CHIPS, write_chip

    text = ""
    for group in order:
        label = next(iter(CHIPS[group]))
        text = write_chip(text, group, label)
        assert CHIPS[group][label] in text
    assert text.startswith("a person smiles") and ",," not in text and not text.endswith(",")


def test_chips_leave_the_visitors_own_words():
    from slotid.page.words import write_chip

    own = "my uncle sings in the rain"
    assert own in write_chip(own, "Light", "sunset") and "sunset light" in write_chip(own, "Light", "sunset")
    assert own in write_chip(own, "Act", "nod")


def test_every_chip_and_surprise_is_in_words_the_world_knows():
    from slotid.page.words import CHIPS, heard, surprise
    from slotid.world.captions import WORDS

    known = {piece for word in WORDS for piece in word.lower().replace("-", " ").split()}
    sentences = [phrase for group in CHIPS.values() for phrase in group.values()] + [surprise(seed) for seed in range(30)]
    strange = {word for text in sentences for word, _ in heard(text, []) if word.lower() not in known}
    assert not strange
    assert surprise(4) == surprise(4) != surprise(5)


def test_heard_marks_strange_words_by_more_than_colour():
    from slotid.page.words import heard, heard_html

    page = heard_html(heard("a Zorgle <smiles>", ["zorgle"]))
    assert "<i" in page and "Zorgle" in page and "never learnt" in page and "<smiles>" not in page
    assert "learnt all" in heard_html(heard("a person", [])) and heard_html([]) == ""


def test_slot_gains_from_sliders_mute_and_solo():
    from slotid.page.saw import Mix, gains_of

    off = [False] * 3
    assert gains_of(None) is None and gains_of(Mix([1.0] * 3, off, off)) is None
    assert gains_of(Mix([1.0, 0.5, 1.0], off, off)) == (1.0, 0.5, 1.0)
    assert gains_of(Mix([1.0, 1.0, 2.0], [True, False, False], off)) == (0.0, 1.0, 2.0)
    assert gains_of(Mix([1.0, 1.5, 1.0], off, [False, True, False])) == (0.0, 1.5, 0.0)
    assert gains_of(Mix([1.0, 1.5, 1.0], [False, True, False], [False, True, False])) == (0.0, 0.0, 0.0)


def test_the_line_is_first_come_first_served_and_tells_place_and_time():
    import threading

    from slotid.page.line import Line, waiting_words

    line = Line()
    first, second, third = (line.enter(seconds) for seconds in (10.0, 20.0, 5.0))
    assert [line.place(one)[0] for one in (first, second, third)] == [0, 1, 2]
    assert line.place(second)[1] == pytest.approx(10, abs=0.5) and line.place(third)[1] == pytest.approx(30, abs=0.5)
    first.expect(3.0)
    assert line.place(second)[1] == pytest.approx(3, abs=0.5)
    assert "2 visitors are before you, your turn in about 0:30" in waiting_words(2, 29.5) and "One visitor" in waiting_words(1, 4)
    seen: list[str] = []

    def work(ticket, name):
        for _ in line.wait(ticket, every=5):
            pass
        seen.append(name)
        line.leave(ticket)

    threads = [threading.Thread(target=work, args=pair) for pair in ((third, "third"), (second, "second"))]
    for thread in threads:
        thread.start()
    assert seen == []
    line.leave(first)
    for thread in threads:
        thread.join(20)
    assert seen == ["second", "third"]


def test_who_gives_up_waiting_leaves_at_once_and_two_places_serve_two():
    from slotid.page.line import Line

    line = Line(places=2)
    tickets = [line.enter(8.0) for _ in range(3)]
    assert [line.place(one)[0] for one in tickets] == [0, 0, 1] and line.place(tickets[2])[1] == pytest.approx(8, abs=0.5)
    assert list(line.wait(tickets[0])) == [] and list(line.wait(tickets[2], given_up=lambda: True)) == []
    line.leave(tickets[2])
    line.leave(tickets[2])
    assert line.place(tickets[1])[0] == 0


def test_strangers_are_the_floor_and_one_is_no_stranger_to_himself(examples):
    from slotid.page.strangers import Strangers

    strangers = Strangers({path.parent.name: str(path) for path in examples[:3]})
    name, face = next(iter(strangers.tracks().items()))
    assert strangers.tracks()[name] is face, "followed once"
    with_himself, without = strangers.floor(face), strangers.floor(face, but=name)
    assert 0 <= without < with_himself <= 1
    assert Strangers({}).floor(face) is None


def test_only_files_in_the_pages_cache_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    from slotid.page.visit import forget, own_folder

    folder = own_folder()
    (folder / "clip.mp4").write_text("mine")
    outside = tmp_path / "precious.mp4"
    outside.write_text("not mine")
    assert forget([folder / "clip.mp4", outside, None, folder / ".." / ".." / "precious.mp4"]) == 1
    assert outside.exists() and not folder.exists()
    assert own_folder().name != own_folder().name


@pytest.fixture(scope="module")
def studio():
    from small import small_studio

    return small_studio()


@pytest.fixture
def engine(studio):
    from slotid.generate import Studio
    from slotid.identity.method import Method
    from slotid.page.engine import Engine

    engine = Engine("nowhere")  # lists Slot-ID and nobody
    engine._studios = {("nowhere", "slots"): studio, ("nowhere", "none"): Studio(studio.backbone, Method())}
    return engine


def person(studio, seed: int = 0):
    from small import small_face

    from slotid.page.visit import Person

    face = small_face(seed)
    return Person(studio.method.remember(face, studio.backbone.to_latent), face, None, f"person {seed}")


WISH = Request(prompt="a person smiles", reference=None, steps=2, preview_every=1, likeness=False)


@pytest.mark.parametrize("kind, count", [("with and without identity", 2), ("strength", 5), ("clip or one still", 2), ("methods", 2)])
def test_comparisons_change_one_thing(engine, studio, kind, count):
    from slotid.page.compare import entries, films

    plan = entries(engine, kind, person(studio), None, WISH)
    assert len(plan) == count and len({e.caption for e in plan}) == count
    assert {e.request.seed for e in plan} == {0} and {e.request.prompt for e in plan} == {WISH.prompt}
    *_, (said, _, made) = films(engine, plan)
    pictures = [result.clip.frames for _, result in made]
    assert len(made) == count and "ready" in said
    assert all(not np.array_equal(pictures[0], other) for other in pictures[1:])


def test_looks_of_a_and_habits_of_b(engine, studio):
    from slotid.identity.slots import HABIT_SLOTS
    from slotid.page.compare import entries

    a, b = person(studio, 0), person(studio, 1)
    plan = entries(engine, "looks of A, habits of B", a, b, WISH)
    mixed = plan[1].request.reference.tensors["slots"]
    for slot in range(8):
        source = b if slot in HABIT_SLOTS else a
        assert (mixed[slot] == source.code.tensors["slots"][slot]).all()
    with pytest.raises(SlotIDError, match="Keep"):
        entries(engine, "looks of A, habits of B", a, None, WISH)
    with pytest.raises(SlotIDError, match="same clip"):
        entries(engine, "looks of A, habits of B", a, a, WISH)
    with pytest.raises(SlotIDError, match="Read a clip first"):
        entries(engine, "strength", None, None, WISH)
    with pytest.raises(SlotIDError, match="at least two"):
        entries(engine, "methods", a, None, WISH, methods=["slots"])


def test_stop_ends_the_walk_at_the_next_step_and_closes_it(engine, studio):
    from dataclasses import replace

    from slotid.page.engine import Stopper
    from slotid.page.making import film_events
    from slotid.types import Result, Step

    stopper = Stopper()
    seen = []
    for event in film_events(engine, replace(WISH, reference=person(studio).reference, steps=50), "slots", None, stopper):
        seen.append(event)
        if event.stage == "denoise" and event.step == 3:
            stopper.stop()
    assert isinstance(seen[-1], Step) and seen[-1].step == 3 and not any(isinstance(event, Result) for event in seen)
    assert seen[-1].preview is not None


def test_a_model_that_cannot_be_opened_is_told():
    from slotid.page.engine import Engine

    engine = Engine("no-such-backbone")
    assert engine.spec() is None and "not opened yet" in engine.status_html()
    engine.preload()
    assert engine.settled.wait(60)
    assert engine.state == "failed" and "no-such-backbone" in engine.status_html()


def test_two_trained_methods_do_not_take_each_others_lora(tmp_path, monkeypatch):
    """A backbone holds one method's LoRA: a second trained method gets a backbone of its own, a method without weights shares."""
    from small import small_backbone, small_method

    from slotid.backbone.backbone import LoraPlan
    from slotid.backbone.tiny import save_tiny
    from slotid.identity.variants import AnchorOnly
    from slotid.page.engine import Engine

    backbone = small_backbone()
    save_tiny(backbone, tmp_path, half=False)
    lora = backbone.adopt(LoraPlan(rank=2))
    method = small_method()
    method.save_pretrained(tmp_path / "identity" / "slots", lora=lora)
    method.__class__ = AnchorOnly
    method.save_pretrained(tmp_path / "identity" / "anchor", lora=lora)
    monkeypatch.setenv("SLOTID_TINY", str(tmp_path))
    engine = Engine("tiny")
    assert engine.methods() == ["slots", "anchor", "none"], "only what has its weights here"
    slots, anchor, none = (engine.studio(name).backbone for name in engine.methods())
    assert slots is not anchor and none in (slots, anchor) and slots.adopted and anchor.adopted


def test_a_film_is_kept_with_its_settings_and_forgotten(engine, studio, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    from dataclasses import replace
    from pathlib import Path

    from slotid.clip_write import read_settings
    from slotid.page.history import caption, forget_films, settings_of
    from slotid.page.making import film_events, keep_film, likeness_html, timings_html

    *_, result = film_events(engine, replace(WISH, reference=person(studio).reference, seed=5), "slots", None, None)
    film = keep_film(result)
    assert read_settings(film.mp4)["seed"] == 5 and Path(film.gif).stat().st_size > 100
    back = settings_of(film.settings, engine)
    assert "seed 5" in caption(film) and back[0] == WISH.prompt and back[6] == 5 and back[8] == "slots"
    assert "without one" in likeness_html(result, None) and "Dreaming" in timings_html(result)
    assert forget_films([film]) == [] and not list(tmp_path.rglob("*.mp4"))
