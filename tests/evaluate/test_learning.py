"""Training: what the curve simulator learns, how judges learn and resume, how they are graded; on made-up lessons, in seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from slotid.evaluate import learn
from slotid.evaluate.curves import CHANNELS
from slotid.evaluate.grade import grade_acts, grade_habits, grade_looks
from slotid.evaluate.judges import load_judges
from slotid.evaluate.lessons import ANY, FILM, FPS, FRAMES, HELD_OUT, INTRODUCTION, Lessons, act_targets, scene_labels, truth_of
from slotid.evaluate.schooling import school
from slotid.evaluate.simulate import fit_measuring, perform_bank
from slotid.types import SlotIDError
from slotid.world.captions import facts_of
from slotid.world.performance import Script, perform, reference_script
from slotid.world.person import person, person_vector
from slotid.world.scene import sample_scene
from slotid.world.splits import SPLITS
from slotid.world.take import take_seed

FIRST = SPLITS["judges"].start


def true_map(seed=0):
    return np.random.default_rng(seed).normal(size=(64, len(CHANNELS))) * 0.2


def made_lessons(people=5, held=4, noise=0.01):
    """Films of people whose "measured" curves are a known linear function of the truth, and whose pictures have a colour per person."""
    rng, rows, wanted = np.random.default_rng(1), [], true_map()
    for who in [*range(FIRST, FIRST + people), *range(HELD_OUT, HELD_OUT + held)]:
        somebody = person(who)
        for index, script in ((FILM, Script(("talk",))), (ANY, Script(("nod",))), (INTRODUCTION, reference_script(who))):
            seed = take_seed(who, index)
            motion = perform(somebody.habits, script, seed, FRAMES, FPS)
            truth = truth_of(motion.expressions, motion.head, motion.gaze)
            curves = truth @ wanted + rng.normal(0, noise, (FRAMES, len(CHANNELS))) + rng.normal(size=len(CHANNELS))
            colour = np.random.default_rng(who).integers(40, 215, 3)
            pictures = np.clip(colour + rng.normal(0, 12, (4, 64, 64, 3)), 0, 255).astype(np.uint8)
            facts = facts_of(script, sample_scene(seed))
            rows.append((who, index, facts, person_vector(somebody), pictures, curves.astype(np.float32), truth))
    who, index, facts, vectors, pictures, curves, truth = zip(*rows, strict=True)
    return Lessons(
        np.array(who), np.array(index), [f["act"] for f in facts], list(facts), np.stack(vectors), np.stack(pictures), np.stack(pictures),
        np.stack(curves), np.ones((len(rows), FRAMES), bool), np.stack(truth), np.tile(np.float32([0.02, 0.003]), (len(rows), 1)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lessons():
    return made_lessons()


def test_training_and_held_out_people_never_mix(lessons):
    train, held = lessons.split()
    assert len(train.people) == 15 and len(held.people) == 12
    assert train.people.max() < HELD_OUT <= held.people.min()
    assert all(person in SPLITS["judges"] for person in lessons.people)


def test_the_simulator_finds_the_map_and_the_noise(lessons):
    measuring = fit_measuring(made_lessons(people=24, held=0), ridge=1e-6, gain=0.0)  # enough people to show every way of talking
    assert measuring.told(made_lessons(people=24, held=0)) > 0.98
    fresh = perform_bank(range(FIRST + 500, FIRST + 503)).truth[:1, 0].astype(np.float32)
    wanted = fresh @ true_map()  # somebody else talks
    wanted -= np.median(wanted, axis=1, keepdims=True)
    found, seen = replace(measuring, rest=0 * measuring.rest).curves(fresh, np.random.default_rng(0))
    assert found.shape == wanted.shape and seen.all()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.95
    assert 0.005 < np.median(measuring.noise) < 0.02  # 0.01 went in
    with pytest.raises(SlotIDError, match="too few"):
        fit_measuring(lessons.of([0, 1]))


def test_what_the_map_leaves_over_keeps_its_order_and_its_gaps(lessons):
    measuring = fit_measuring(lessons, gain=0.0)
    slow = np.cumsum(np.random.default_rng(0).normal(size=measuring.rest.shape), axis=1).astype(np.float32)
    seen = np.arange(FRAMES)[None] < np.arange(10, 10 + len(slow))[:, None]
    values, there = replace(measuring, map=0 * measuring.map, rest=slow, seen=seen).curves(
        np.zeros((40, FRAMES, 64), np.float32), np.random.default_rng(0)
    )
    assert np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1] > 0.9  # trembling that hangs together over time
    steps = np.diff(values[there.sum(axis=1) == 10][0], axis=0)  # the first film's, forwards or backwards, at one scale
    own = np.diff(slow[0], axis=0)
    assert max(abs(np.corrcoef(steps.ravel(), other.ravel())[0, 1]) for other in (own, own[::-1])) > 0.999
    assert set(there.sum(axis=1)) <= set(seen.sum(axis=1))


def test_bank_plays_every_act():
    bank = perform_bank(range(FIRST, FIRST + 80))
    played = {act for row in bank.acts for fact in row for act in fact.replace("+", ",").split(",")}
    assert len(played) == 18 and bank.truth.shape == (80, 4, FRAMES, 64) and bank.habits.shape[0] == 80


def test_targets_and_labels():
    acts = ("talk", "smile", "nod")
    assert act_targets(["talk", "smile,nod", "nod+talk"], acts).tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]]
    names = {"light": ("a", "b"), "colour": ("red",), "garment": ("shirt", "hoodie")}
    found = scene_labels([{"light": "b", "clothing": "red_hoodie"}], names)
    assert {k: v.tolist() for k, v in found.items()} == {"light": [1], "colour": [0], "garment": [1]}


def school_line(out, steps, lr=0.05):
    """Fits y = 3x - 1 with noise of the step; returns the module and the steps taken."""
    torch.manual_seed(0)
    line = nn.Linear(1, 1)

    def loss_at(rng, step):
        x = torch.from_numpy(rng.normal(size=(32, 1)).astype(np.float32))
        return (line(x) - (3 * x - 1)).square().mean(), {}

    return line, school(line, loss_at, out, steps=steps, lr=lr, decay=0.9)


def test_school_learns_and_goes_on_where_it_was(tmp_path):
    line, done = school_line(tmp_path / "a", 400)
    assert done == 400
    assert float(line.weight.detach()) == pytest.approx(3, abs=0.05) and float(line.bias.detach()) == pytest.approx(-1, abs=0.05)
    school_line(tmp_path / "b", 30)
    line, done = school_line(tmp_path / "b", 31)
    assert done == 31  # one step more, not 31 more
    line, done = school_line(tmp_path / "b", 31)
    assert done == 31
    other = nn.Linear(2, 1)
    with pytest.raises(SlotIDError, match="another judge"):
        school(other, lambda rng, step: (other.weight.sum(), {}), tmp_path / "b", steps=40, lr=0.1)


def test_school_stops_at_a_loss_that_is_no_number(tmp_path):
    line = nn.Linear(1, 1)
    with pytest.raises(SlotIDError, match="step 0"):
        school(line, lambda rng, step: (line.weight.sum() * float("nan"), {}), tmp_path, steps=2, lr=0.1)


class Perfect(nn.Module):
    """A looks judge that knows a person by the mean colour."""

    def forward(self, x):
        return nn.functional.normalize(x.mean((2, 3)) - torch.tensor([-0.0, 0.0, 0.0]), dim=1)


def test_grades_know_a_good_judge_from_a_blind_one(lessons):
    held = lessons.split()[1]
    quality, scale = grade_looks(Perfect(), held)
    assert quality["auc"] == 1 and quality["rank1"] == 1 and scale["same"] > scale["impostor"]

    class Blind(nn.Module):
        def forward(self, x):
            return nn.functional.normalize(torch.ones(len(x), 4), dim=1)

    quality, scale = grade_looks(Blind(), held)
    assert quality["auc"] == 0.5 and scale["same"] == pytest.approx(scale["impostor"])
    with pytest.raises(SlotIDError, match="too few"):
        grade_looks(Perfect(), held.of([0]))


def test_grade_of_acts_counts_exact_sets(lessons):
    from slotid.world.performance import ACTS

    held = lessons.split()[1]

    class Nods(nn.Module):
        def forward(self, values, seen):
            return torch.nn.functional.one_hot(torch.full((len(values),), ACTS.index("nod")), len(ACTS)).float()

    assert grade_acts(Nods(), held)["acts"] == 0.5  # half the films of acts nod, half talk


def test_recipes_teach_grade_and_write_judges_that_load(tmp_path, lessons):
    out, judges = tmp_path / "out", tmp_path / "judges"
    how = learn.Teaching(steps=6, batch=8, lr=1e-3, bank=40)
    with pytest.raises(SlotIDError, match="judge_looks"):
        learn._teach_facts(out / "f", judges, lessons, None, how, None)
    told = learn._teach_looks(out / "l", judges, lessons, None, how, None)
    assert told["steps"] == 6 and told["people"] == 5 and told["held_out"] == 4
    told = learn._teach_habits(out / "h", judges, lessons, None, how, None)
    assert told["simulated_people"] == 40 and {"still", "shuffled", "auc"} <= set(told)
    learn._teach_facts(out / "f", judges, lessons, None, how, None)
    found = load_judges(judges)
    note = json.loads((judges / "habits.json").read_text())
    assert found.quality["habits"]["auc"] == note["quality"]["auc"] and note["training"]["held_out"] == 4
    assert found.real["jitter"] == pytest.approx((0.02, 0.02)) and found.real_mean.shape == (192,)
    again = grade_habits(found.habits_net, lessons.split()[1])[0]
    assert again["auc"] == pytest.approx(note["quality"]["auc"], abs=0.05)  # float16 on disk


def test_unknown_recipe():
    with pytest.raises(SlotIDError, match="judge_looks, judge_habits, judge_facts"):
        learn.run_recipe("judge_ears", "somewhere", learn.Teaching(1, 1, 1e-3))
