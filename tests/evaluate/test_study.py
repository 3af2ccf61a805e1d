"""The whole evaluation on a small pipeline and an egg for a head: films, controls, resuming, report, pictures, command line."""

import argparse
import json
import os

import numpy as np
import pytest

from slotid.clip import read_clip
from slotid.evaluate import controls, subjects
from slotid.evaluate.command import add_arguments, method_names, run
from slotid.evaluate.cost import PeakMemory, parameters, resident
from slotid.evaluate.report import MAIN
from slotid.evaluate.study import Settings, Study
from slotid.types import Clip, SlotIDError


def evaluate(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser.add_subparsers(dest="command"))
    return run(parser.parse_args(["evaluate", *map(str, words)]))


def test_wishes_are_named_in_their_sentence_and_repeat():
    for who in range(subjects.TEST, subjects.TEST + 12):
        for number in range(3):
            wish = subjects.wish_of(who, number)
            again = subjects.wish_of(who, number)
            assert (wish.prompt, wish.asked, wish.take.scene) == (again.prompt, again.asked, again.take.scene)
            assert np.array_equal(wish.take.motion.expressions, again.take.motion.expressions)
            assert "act" in wish.asked and len(wish.asked) >= 2 and "framing" not in wish.asked
            assert all(wish.take.facts[name] == value for name, value in wish.asked.items())
            assert (wish.asked["act"] in ("talk", "smile", "laugh")) == (number % 2 == 0)
    assert subjects.wish_of(subjects.TEST, 0, seed=1).take.facts != subjects.wish_of(subjects.TEST, 0, seed=0).take.facts


def test_named_facts_are_those_that_the_sentence_says():
    facts = {"act": "nod", "light": "sunset", "background": "beach", "clothing": "red_hoodie"}
    from slotid.world.captions import caption

    words = {"light": ("sun", "golden", "sunset"), "background": ("beach", "sea"), "clothing": ("red",)}
    for seed in range(40):
        said, named = caption(facts, seed), subjects.named_facts(facts, seed)
        for name, some in words.items():
            assert (name in named) == any(word in said for word in some), (said, named)


def test_somebody_else_sits_in_the_same_scene():
    wish = subjects.wish_of(subjects.TEST, 0)
    other = subjects.as_somebody_else(wish.take, subjects.TEST + 1)
    assert other.scene == wish.take.scene and other.script == wish.take.script and other.person.seed != wish.take.person.seed
    assert other.motion.expressions.shape == wish.take.motion.expressions.shape
    assert not np.allclose(other.motion.expressions, wish.take.motion.expressions)
    assert all(subjects.impostor_of(subjects.TEST + k, 3) != subjects.TEST + k for k in range(3))


def test_spoilt_references_keep_what_they_promise():
    from small import small_face

    track = small_face(frames=24, hidden=(3, 4))
    shuffled = controls.spoilt_reference("shuffled", track, 0)
    assert np.array_equal(shuffled.seconds, track.seconds) and not np.array_equal(shuffled.crops, track.crops)
    assert sorted(c.tobytes() for c in shuffled.crops) == sorted(c.tobytes() for c in track.crops)
    still = controls.spoilt_reference("still", track, 0)
    assert (still.crops == still.crops[0]).all() and len(still.seconds) == 24 and still.seen.all()
    five = controls.spoilt_reference("frames5", track, 0)
    assert len(five.crops) == 5 and five.seen.all() and five.seconds[0] == track.seconds[0] and five.seconds[-1] == track.seconds[-1]
    assert controls.spoilt_reference("frames_all", track, 0) is track


def test_ruler_films():
    rng = np.random.default_rng(0)
    real = Clip(rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8), np.arange(9) / 12)
    reference = Clip(rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), np.arange(20) / 12)
    mixed = controls.shuffled_in_time(real, 0)
    assert not np.array_equal(mixed.frames, real.frames) and np.array_equal(np.sort(mixed.frames, axis=0), np.sort(real.frames, axis=0))
    assert (controls.still_repeated(real).frames == real.frames[4]).all()
    assert np.array_equal(controls.pasted(reference, real).frames, reference.frames[:9])
    assert controls.noise(real, 1).frames.std() > 60


def test_settings_out_of_range_are_refused():
    for wrong in ({"people": 1}, {"films": 0}, {"gallery": 1}, {"control_people": 99}, {"order_people": 99}, {"seed": -1}):
        with pytest.raises(SlotIDError, match="--"):
            Settings((), **wrong)
    assert Settings(("none",), people=8).controlled == 2 and Settings(("none",), people=40).controlled == 10
    assert Settings((), people=8).controlled == 8 and Settings((), people=8, control_people=0).controlled == 0
    assert Settings((), people=9, control_people=2).ordered == 2 and Settings((), people=9, control_people=2, order_people=5).ordered == 5
    assert Settings(("a", "slots", "none")).main == "slots" and Settings(("a", "none")).main == "a" and Settings(("none",)).main is None
    assert method_names("slots, none") == ("slots", "none") and method_names("real") == ()
    for wrong in ("", "slots,slots", "wonder"):
        with pytest.raises(SlotIDError):
            method_names(wrong)


def test_memory_is_watched():
    with PeakMemory() as memory:
        held = np.ones(40_000_000, np.uint8)
        held[::4096] = 2
        import time

        time.sleep(0.2)
    assert memory.megabytes >= resident() - 5 and held.sum() > 0


def test_parameters_of_a_method(pipeline):
    from slotid.generate import open_studio

    with_identity, without = parameters(open_studio(pipeline)), parameters(open_studio(pipeline, "none"))
    assert with_identity["method"] > 0 and with_identity["lora"] > 0
    assert without["method"] == without["lora"] == 0 and without["backbone"] == with_identity["backbone"]


def test_report_of_a_small_run_and_its_resumption(pipeline, egg_kit, judges_folder, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--methods", "none", "--people", 2, "--films", 1, "--gallery", 3, "--steps", 2, "--backbone", pipeline]
    words += ["--judges", judges_folder, "--kit", egg_kit, "--out", out]
    assert evaluate(*words, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) >= {"command", "machine", "people", "methods", "controls", "films"} and report["people"] == 2
    assert set(report["methods"]) == {"none"} and set(controls.RULERS) <= set(report["controls"])
    for values in (*report["methods"].values(), *report["controls"].values()):
        assert all(set(values[metric]) == {"mean", "low", "high"} for metric in MAIN)
    assert len(report["films"]) == 2 * (len(controls.RULERS) + 1)
    assert all(set(MAIN) <= set(film) and film["prompt"] for film in report["films"])
    assert report["cost"]["none"]["peak_mb"] > 50 and report["cost"]["none"]["parameters"]["backbone"] > 0
    lost = report["reconstruction"]
    assert 3 < lost["psnr"]["low"] <= lost["psnr"]["mean"] < 40 and lost["flicker"]["mean"] >= 0 < lost["flicker_real"]["mean"]
    assert len(report["judges"]["below"]) == 3  # these judges are random, and the report says so
    assert json.loads((out / "report.json").read_text()) == report
    text = (out / "report.md").read_text()
    assert "ceiling" in text and "## Cost" in text and "PSNR in dB" in text and all((out / name).is_file() for name in report["pictures"])

    # the generated film carries what made it; rendered ones claim nothing
    from slotid.clip import read_settings

    made = sorted((out / "films" / "none").glob("*.mp4"))
    assert read_settings(made[0])["ai_generated"] is True
    # resumed: what is there is kept, what was lost is made again, and every value is the same
    times = {path: os.stat(path).st_mtime_ns for path in out.glob("films/*/*.mp4")}
    made[0].unlink()
    assert evaluate(*words, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    kept = [path for path, time in times.items() if os.stat(path).st_mtime_ns == time]
    assert len(kept) == len(times) - 1
    assert again["films"] == report["films"] and again["methods"] == report["methods"] and again["controls"] == report["controls"]
    with pytest.raises(SlotIDError, match="steps was 2, now 3"):
        evaluate(*["3" if word == 2 and words[k - 1] == "--steps" else word for k, word in enumerate(words)])


@pytest.mark.parametrize(
    "words, said",
    [
        (("--methods", "wonder"), "wonder"),
        (("--people", "1"), "people"),
        (("--steps", "0"), "steps"),
        (("--part", "3/2"), "--part"),
        (("--part", "half"), "--part"),
        (("--strengths", "0,3"), "strengths"),
        (("--step-counts", "few"), "--step-counts"),
        (("--threads", "0"), "threads"),
        (("--judges", "nowhere"), "judge_looks"),
        (("--kit", "nowhere.npz"), "(?i)kit"),
        (("--real", "nowhere"), "no folder"),
        (("--real", ".", "--methods", "none"), "identity codes"),
    ],
)
def test_bad_input_is_one_sentence(words, said, tmp_path, judges_folder):
    given = ["--out", tmp_path / "o"] + ([] if "--judges" in words else ["--judges", judges_folder])
    with pytest.raises(SlotIDError, match=said):
        evaluate(*given, *words)
    with pytest.raises(SlotIDError, match="does not exist"):
        evaluate("--out", tmp_path / "no" / "where", *words)


def test_two_parts_side_by_side_and_their_assembly(pipeline, egg_kit, judges_folder, tmp_path, capsys):
    """What two processes make apart is what one makes alone; the final run makes nothing."""
    words = ["--methods", "none", "--people", 3, "--gallery", 4, "--steps", 1, "--backbone", pipeline, "--threads", 1]
    words += ["--judges", judges_folder, "--kit", egg_kit]
    apart, alone = tmp_path / "apart", tmp_path / "alone"
    for part in ("1/2", "2/2"):
        assert evaluate(*words, "--out", apart, "--part", part) == 0
        assert not (apart / "report.json").exists()
    made = {path: os.stat(path).st_mtime_ns for path in apart.glob("films/*/*.*")}
    assert {int(path.stem.split("_")[0]) - subjects.TEST for path in apart.glob("films/none/*.mp4")} == {0, 1, 2}
    capsys.readouterr()
    assert evaluate(*words, "--out", apart, "--json") == 0
    joined = json.loads(capsys.readouterr().out)
    now = {path: os.stat(path).st_mtime_ns for path in apart.glob("films/*/*.*")}
    assert {path: now[path] for path in made} == made
    assert all(path.parent.name == "clips" for path in now.keys() - made.keys())  # a person's reference, for the contact sheet
    assert evaluate(*words, "--out", alone, "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    told = ("source", "person", "film", "prompt", "asked")
    assert [[film[name] for name in told] for film in joined["films"]] == [[film[name] for name in told] for film in whole["films"]]
    for path in sorted((apart / "films" / "none").glob("*.mp4")):
        one, two = (read_clip(file).frames for file in (path, alone / "films" / "none" / path.name))
        assert np.array_equal(one, two)


def test_reference_controls_and_sweeps_are_generated(pipeline, head_kit, judges, tmp_path):
    """With real heads: a method's films from spoilt references and with its dials turned; needs the head kit."""
    from slotid.evaluate.report import build_report

    settings = Settings(
        ("slots",), 2, 1, steps=1, backbone=str(pipeline), gallery=2, control_people=1, kit=head_kit,
        strengths=(0.0, 1.0, 2.0), muted=True, step_counts=(2,), order_people=2,
    )  # fmt: skip
    study = Study(settings, judges, tmp_path / "run")
    found = study.run()
    report = build_report(found, settings, judges, "test")
    assert set(report["methods"]) == {"slots"}
    assert set(report["controls"]) == {*controls.RULERS, *controls.REFERENCE_CONTROLS, "frames_all", "no_identity"}
    slots = report["sweeps"]["muted"].keys() - {"none"}
    assert set(report["sweeps"]["strength"]) == {"0", "1", "2"} and set(report["sweeps"]["steps"]) == {"1", "2"} and len(slots) > 1
    assert set(report["routing"]) == {"slots"} and len(report["routing"]["slots"]["slots"]) == len(slots)
    films = {(film.source, film.wish.person): film for film in found.films}

    assert {source for source, who in films if who != subjects.TEST} == {"slots", *controls.ALWAYS, *controls.ORDER_CONTROLS}

    def shown(source):
        return read_clip(films[source, subjects.TEST].path).frames

    assert np.array_equal(shown("strength 0"), shown("no_identity"))  # law 2, through the whole evaluation
    assert np.array_equal(shown("strength 1"), shown("slots")) and np.array_equal(shown("frames_all"), shown("slots"))
    for other in ("shuffled", "still", "frames2", "neutral", "strength 2", "muted 0", "steps 2"):
        assert not np.array_equal(shown(other), shown("slots")), other
    assert (
        films["slots", subjects.TEST].note["timings"]["remember"] > 0
        and "remember" not in films["no_identity", subjects.TEST].note["timings"]
    )


def test_the_ruler_on_real_renders(trained_judges, head_kit, tmp_path):
    """What proves the judges: ceiling, floor, order and stillness, without any generator. Needs good judges and the head kit."""
    from slotid.evaluate.report import build_report

    settings = Settings((), people=6, films=1, gallery=20, kit=head_kit)
    study = Study(settings, trained_judges, tmp_path / "run")
    controls_found = build_report(study.run(), settings, trained_judges, "test")["controls"]
    mean = {name: {metric: value["mean"] for metric, value in row.items()} for name, row in controls_found.items()}
    real, floor = mean["ceiling"], mean["floor"]
    assert 0.75 < real["looks_likeness"] < 1.4 and abs(floor["looks_likeness"]) < 0.3
    assert 0.5 < real["habit_likeness"] and floor["habit_likeness"] < real["habit_likeness"] - 0.3
    assert mean["real_shuffled"]["habit_likeness"] < real["habit_likeness"]
    assert mean["real_shuffled"]["looks_likeness"] == pytest.approx(real["looks_likeness"], abs=0.1)
    assert mean["real_still"]["habit_likeness"] < 0.35 and mean["real_still"]["naturalness"] < 0.2
    assert mean["noise"]["detection_rate"] == 0 and mean["noise"]["looks_likeness"] == 0
