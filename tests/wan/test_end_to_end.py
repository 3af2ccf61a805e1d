"""A Wan folder through the command line and through the page's own generator: nothing but the name changes."""

import json

import pytest
from small import small_face

from slotid.cli.main import main
from slotid.identity.registry import methods_for
from slotid.types import Request, Result


def test_the_command_line_makes_a_film_with_a_wan_folder(pipelines, tmp_path, capsys):
    film = tmp_path / "film.mp4"
    words = ["generate", "--backbone", str(pipelines("2.2-a14b")), "--method", "none", "--prompt", "a man talks", "--steps", "2"]
    assert main([*words, "--out", str(film), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert film.is_file() and told["settings"]["backbone"] == "small-2.2-a14b"
    assert main(["generate", "--backbone", "wan2.1-14b", "--method", "none", "--prompt", "x", "--out", str(film)]) == 2
    assert "python -m slotid fetch wan2.1-14b" in capsys.readouterr().err


def test_adapter_and_memory_from_the_command_line(pipelines, adapter, examples, tmp_path, capsys):
    folder, wan = str(adapter[0]), str(pipelines("2.1"))
    code, film = tmp_path / "me.safetensors", tmp_path / "film.mp4"
    shared = ["--backbone", wan, "--adapter", folder]
    assert main(["encode", str(examples[0]), "--out", str(code), *shared, "--memory", "group"]) == 0
    words = ["generate", "--reference", str(code), "--prompt", "a man talks", "--out", str(film), "--json", *shared]
    assert main([*words, "--memory", "model"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["settings"]
    assert (told["backbone"], told["method"], told["memory"]) == ("small-2.1", "slots", "model")
    assert main([word for word in words if word != "--json"] + ["--memory", "model"]) == 0
    assert "note: memory profile model: one network at a time" in capsys.readouterr().err
    nobody = [word if word != folder else str(tmp_path) for word in words]
    for bad, expected in (
        ([*words[:-3], str(pipelines("2.2-5b")), "--adapter", folder], "trained for backbone 'small-2.1'"),
        (nobody, "no trained adapter (config.json, model.safetensors missing)"),
        ([*words, "--memory", "huge"], "Unknown memory profile 'huge'; expected auto or one of full"),
        ([*words, "--method", "none"], "has no weights of its own"),
        (["generate", "--method", "none", "--prompt", "x", "--out", str(film), "--memory", "group"], "'tiny' is always whole"),
    ):
        assert main(bad) == 2
        assert expected in capsys.readouterr().err, bad


def test_the_page_reads_a_clip_and_makes_a_film_of_exemplars(pipelines, pipeline, examples, monkeypatch):
    """With VACE, which has no slots of its own: the embedded Slot-ID reads, its routing helps to choose the pictures."""
    pytest.importorskip("gradio")
    monkeypatch.setenv("SLOTID_TINY", str(pipeline))
    from slotid.page.engine import Engine, Stopper
    from slotid.page.making import film_events
    from slotid.page.reference import read_person

    engine = Engine(str(pipelines("vace")))
    assert engine.methods() == ["exemplars", "none"] and engine.reader() == "tiny" and engine.spec().name == "small-vace"
    assert any("no training of ours" in label for label, _ in engine.method_choices()), "the page says what it is"
    person = list(read_person(engine, str(examples[0])))[-1].person
    assert person.code.method == "slots" and person.face.crops.shape[1:] == (480, 480, 3), "crops as large as VACE wants them"
    wish = Request("a man talks", person.reference, steps=2, preview_every=1)
    *steps, film = film_events(engine, wish, "exemplars", None, Stopper())
    assert isinstance(film, Result) and film.code.method == "exemplars" and film.clip.frames.shape == (5, 32, 32, 3)
    assert any(step.preview is not None for step in steps) and len(film.likeness) == 5
    assert engine.studio("exemplars").method.routing(person.face).method == "slots"
    assert engine.studio("none").backbone is engine.studio("exemplars").backbone, "one copy of the weights for both"


def test_the_page_takes_an_adapter_and_a_profile(pipelines, adapter):
    pytest.importorskip("gradio")
    from slotid.page.engine import Engine, Stopper
    from slotid.page.making import film_events

    engine = Engine(str(pipelines("2.1")), adapter=str(adapter[0]), memory="model")
    assert engine.methods() == ["slots", "none"] and engine.reader() == str(pipelines("2.1"))
    code = engine.remember(small_face(1))
    *_, film = film_events(engine, Request("a man talks", code, steps=2, preview_every=0), "slots", None, Stopper())
    assert film.settings["memory"] == "model" and film.settings["backbone"] == "small-2.1"
    engine.state = "ready"
    assert "memory profile model: one network at a time" in engine.status_html()


def test_methods_are_offered_where_they_can_work():
    usual = methods_for(("context", "reference", "patch"))
    assert {"slots", "none"} <= set(usual) and "exemplars" not in usual
    assert set(methods_for(("context", "reference", "patch", "residual"))) == {*usual, "exemplars"}


def test_fetching_and_weighing_from_the_command_line(pipelines, tmp_path, monkeypatch, capsys):
    import argparse

    import huggingface_hub

    from slotid.backbone import fetch_command, hub, memory_command

    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(dest="command")
    fetch_command.add_arguments(subparsers)
    memory_command.add_arguments(subparsers)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: str(pipelines("2.1")))
    monkeypatch.setattr(hub, "room_for", lambda gib: None)
    assert fetch_command.run(parser.parse_args(["fetch", "wan2.1-1.3b"])) == 0
    assert capsys.readouterr().out.strip() == str(pipelines("2.1"))
    assert memory_command.run(parser.parse_args(["memory", str(pipelines("2.1")), "--json"])) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["gib"][str(pipelines("2.1"))]["full"]["vram"] > 0 and told["free"]["ram"] > 0
