"""Films that are wrong on purpose, before the judges that come with the program: each metric gives what is deserved.

The people are those of the examples' reference clips (rendered, 128 px); half of a clip stands for another clip of the person.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slotid.clip import read_clip
from slotid.evaluate import controls
from slotid.evaluate.metrics import known_by
from slotid.evaluate.reading import read_film, track_or_none
from slotid.evaluate.score import Target, score
from slotid.types import Clip

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*/reference.mp4"))


@pytest.fixture(scope="module")
def clips():
    if len(EXAMPLES) < 3:
        pytest.skip("needs the examples' reference clips: take a full clone")
    return [read_clip(path) for path in EXAMPLES]


@pytest.fixture(scope="module")
def halves(clips, trained_judges):
    """Per person (clip of the second half, reading of the first)."""
    found = []
    for clip in clips:
        middle = len(clip.frames) // 2
        first = Clip(clip.frames[:middle], clip.seconds[:middle])
        second = Clip(clip.frames[middle:], clip.seconds[middle:] - clip.seconds[middle])
        found.append((second, read(first, trained_judges)))
    return found


@pytest.fixture(scope="module")
def targets(halves):
    looks = [reading.template for _, reading in halves]
    return [Target(k, own, known_by(halves[k][1].habits[None]), own, np.stack(looks[:k] + looks[k + 1 :])) for k, own in enumerate(looks)]


def read(clip, judges):
    return read_film(clip, judges, track_or_none(clip))


def seen_in(reading, judges):
    """What the judges see in a film, as if it had been asked for."""
    return dict(zip(judges.scene_names, reading.scene.tolist(), strict=True))


@pytest.fixture(scope="module")
def readings(halves, trained_judges):
    return [read(clip, trained_judges) for clip, _ in halves]


def test_the_person_wins_and_everybody_else_loses(readings, targets, trained_judges):
    for k, reading in enumerate(readings):
        asked = {"act": "talk", "light": seen_in(reading, trained_judges)["light"]}
        own = score(reading, targets[k], asked, trained_judges)
        assert own["looks_likeness"] > 0.8 and own["rank1"] == 1 and own["margin"] > 0.2 and own["detection_rate"] == 1, (k, own)
        assert abs(own["drift"]) < 0.2 and own["naturalness"] > 0.5
        for other, target in enumerate(targets):
            if other != k:
                wrong = score(reading, target, asked, trained_judges)
                assert wrong["looks_likeness"] < 0.5 and wrong["rank1"] == 0 and wrong["margin"] < 0


def test_a_frozen_face_keeps_its_looks_and_loses_all_else(halves, readings, targets, trained_judges):
    for k, (clip, _) in enumerate(halves):
        frozen = read(controls.still_repeated(clip), trained_judges)
        got, moving = (score(one, targets[k], {"act": "talk"}, trained_judges) for one in (frozen, readings[k]))
        assert got["looks_likeness"] > 0.7 and got["rank1"] == 1
        assert got["habit_likeness"] < 0.3 and got["naturalness"] < 0.2 and got["prompt_following"] == 0
        assert got["expression_range"] < 0.1 * moving["expression_range"] + 0.01 and got["pose_range"] < 1


def test_noise_deserves_nothing(halves, targets, trained_judges):
    reading = read(controls.noise(halves[0][0], 3), trained_judges)
    got = score(reading, targets[0], {"act": "talk", "light": "studio", "background": "beach"}, trained_judges)
    assert got["looks_likeness"] == 0 and got["detection_rate"] == 0 and got["rank1"] == 0 and got["naturalness"] == 0
    assert got["prompt_following"] <= 1 / 3  # its small grey frames are hardly strange; that there is no face is what gives it away


def test_the_pasted_reference_has_the_person_but_not_the_prompt(readings, targets, trained_judges):
    for k, reading in enumerate(readings):
        seen = seen_in(reading, trained_judges)
        other = {name: next(v for v in trained_judges.scene_names[name] if v != seen[name]) for name in ("light", "background")}
        got = score(reading, targets[k], {"act": "turn_profile", **other}, trained_judges)
        assert got["looks_likeness"] > 0.8 and got["rank1"] == 1 and got["prompt_following"] == 0


def test_a_film_that_trembles_or_flickers_is_not_natural(halves, readings, targets, trained_judges):
    clip, _ = halves[0]
    rng = np.random.default_rng(0)
    gain = np.where(np.arange(len(clip.frames)) % 2, 0.7, 1.15)[:, None, None, None]
    flickering = replace(clip, frames=np.clip(clip.frames * gain, 0, 255).astype(np.uint8))
    trembling = replace(clip, frames=np.stack([np.roll(f, tuple(rng.integers(-4, 5, 2)), (0, 1)) for f in clip.frames]))
    calm = score(readings[0], targets[0], {"act": "talk"}, trained_judges)["naturalness"]
    for film in (flickering, trembling):
        assert score(read(film, trained_judges), targets[0], {"act": "talk"}, trained_judges)["naturalness"] < 0.7 * calm
