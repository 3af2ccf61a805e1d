"""Shards: films survive the disk, half-written ones do not count, and pairs are of one person in two clips."""

import itertools
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from tiny_kit import write_tiny_kit

from slotid.types import SlotIDError
from slotid.world.performance import EXPRESSIONS, Script
from slotid.world.person import person_vector
from slotid.world.shards import (
    ShardSettings,
    _groups,
    _settings_agree,
    decode_film,
    decoded,
    encode_film,
    pack_shard,
    pairs,
    read_shards,
    write_shards,
)
from slotid.world.take import calm, direct

SIZE, FRAMES = 64, 9


def picture_film(seed, frames=FRAMES, size=SIZE):
    """A smooth coloured pattern that moves, with fine grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    film = [[np.sin(6 * x + 3 * k + c + 0.2 * t) * np.cos(5 * y + c) for c in range(3)] for t, k in enumerate(rng.random(frames))]
    return np.clip(127 + 90 * np.array(film).transpose(0, 2, 3, 1) + rng.normal(0, 2, (frames, size, size, 3)), 0, 255).astype(np.uint8)


def clips(people, count, references=1):
    for seed in people:
        for index in range(count):
            take = direct(seed, index, FRAMES, 12.0, reference=index >= count - references)
            points = np.full((FRAMES, 5, 2), seed + index, np.float32)
            yield take, picture_film(100 * seed + index), points


def test_a_film_comes_back_nearly_as_it_went():
    film = picture_film(0)
    data = encode_film(film, 12.0)
    back = decode_film(data)
    assert back.shape == film.shape and back.dtype == np.uint8
    error = ((back.astype(float) - film) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 38
    assert abs(back.astype(float).mean(axis=(0, 1, 2)) - film.mean(axis=(0, 1, 2))).max() < 1.0  # no colour cast
    assert len(data) < film.nbytes / 4


def test_what_is_packed_is_read_lazily_and_whole(tmp_path):
    made = pack_shard(tmp_path / "shard_0000003_0000005.zip", clips((3, 4), 3))
    records = read_shards(tmp_path)
    assert made == len(records) == 6
    assert [(record.person, record.index) for record in records] == [(p, i) for p in (3, 4) for i in range(3)]
    record = records[4]
    take = direct(4, 1, FRAMES, 12.0)
    assert record.caption == take.caption and record.facts == take.facts and not record.reference and records[5].reference
    assert np.array_equal(record.vector, person_vector(take.person))
    assert np.allclose(record.expressions, take.motion.expressions, atol=1e-3) and np.array_equal(record.head, take.motion.head)
    assert record.points5.shape == (FRAMES, 5, 2) and record.points5[0, 0, 0] == 5
    assert np.allclose(record.seconds, np.arange(FRAMES) / 12)
    assert np.abs(record.frames().astype(float) - picture_film(401)).mean() < 3


def test_a_shard_stopped_half_way_leaves_nothing(tmp_path):
    def stopped():
        yield from itertools.islice(clips((1,), 3), 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_shard(tmp_path / "shard_0000001_0000002.zip", stopped())
    assert list(tmp_path.iterdir()) == []


def test_partial_files_are_not_read_and_broken_ones_are_named(tmp_path):
    with pytest.raises(SlotIDError, match="no shards"):
        read_shards(tmp_path)
    pack_shard(tmp_path / "shard_0000001_0000002.zip", clips((1,), 2))
    whole = (tmp_path / "shard_0000001_0000002.zip").read_bytes()
    (tmp_path / "shard_0000002_0000003.zip.77.part").write_bytes(whole[:1000])
    assert len(read_shards(tmp_path)) == 2
    (tmp_path / "shard_0000002_0000003.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlotIDError, match="shard_0000002"):
        read_shards(tmp_path)


def test_pairs_are_of_one_person_in_two_clips_and_use_every_target(tmp_path):
    pack_shard(tmp_path / "shard_0000000_0000004.zip", clips(range(4), 4, references=2))
    records = read_shards(tmp_path)
    drawn = list(itertools.islice(pairs(records, seed=1), 16))
    assert all(a.person == b.person and a.index != b.index for a, b in drawn)
    assert all(a.reference and not b.reference for a, b in drawn)
    assert {(b.person, b.index) for _, b in drawn[:8]} == {(p, i) for p in range(4) for i in range(2)}
    again = list(itertools.islice(pairs(records, seed=1), 16))
    assert [(a.index, b.index) for a, b in again] == [(a.index, b.index) for a, b in drawn]
    with pytest.raises(SlotIDError, match="two clips"):
        next(pairs([record for record in records if record.index == 0]))


def test_decoding_ahead_keeps_order_and_passes_errors_on():
    def slow(number):
        time.sleep(0.002 * (number % 3))
        if number == 30:
            raise SlotIDError("thirty")
        return number

    assert list(decoded(range(20), slow, workers=4, ahead=6)) == list(range(20))
    stream = decoded(itertools.count(), slow, workers=2, ahead=4)
    assert list(itertools.islice(stream, 30)) == list(range(30))
    with pytest.raises(SlotIDError, match="thirty"):
        next(stream)
    taken = []
    endless = decoded(itertools.count(), taken.append, workers=1, ahead=5)
    for _ in range(3):
        next(endless)
    endless.close()
    assert len(taken) <= 8  # never runs away from its reader


def test_groups_cut_at_fixed_places():
    assert _groups(2, 11) == [range(2, 4), range(4, 8), range(8, 11)]
    assert _groups(0, 4) == [range(0, 4)] and _groups(5, 6) == [range(5, 6)]


@pytest.mark.parametrize(
    "change, said",
    [({"clips": 0}, "clips"), ({"references": 5}, "references"), ({"size": 63}, "size"), ({"size": 1024}, "size"), ({"fps": 0}, "usable")],
)
def test_settings_that_cannot_be_are_refused(change, said):
    with pytest.raises(SlotIDError, match=said):
        ShardSettings(**{"clips": 2, "references": 1, "size": 64, "frames": 9, "fps": 12.0, **change})


def test_a_missing_kit_is_told_before_anything_is_written(tmp_path):
    settings = ShardSettings(clips=1, references=0, size=64, frames=4, fps=12.0)
    with pytest.raises(SlotIDError, match="(?i)kit"):
        write_shards(0, 2, settings, tmp_path / "out", kit=str(tmp_path / "none.npz"))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The tiny kit as a file, so that rendering to disk needs no download."""
    return write_tiny_kit(tmp_path_factory.mktemp("kit") / "tiny.npz")


def test_films_on_a_tripod_differ_from_others_by_the_camera_alone():
    free, fixed = (direct(7, 1, 9, 12.0, tripod=tripod) for tripod in (False, True))
    assert (fixed.scene.view, fixed.scene.elevation, fixed.scene.hand) == (32.0, 0.0, 0.0)
    assert {**fixed.facts, "framing": ""} == {**free.facts, "framing": ""} and fixed.facts["framing"] == "head_and_collar"
    assert fixed.scene.key_dir == free.scene.key_dir and np.array_equal(fixed.motion.head, free.motion.head)


def test_a_calm_twin_differs_from_its_film_by_what_moves_in_the_face_alone():
    take = direct(7, 1, script=Script(("talk",)), tripod=True)
    still = calm(take)
    follows = np.array([name.startswith("eyeLook") for name in EXPRESSIONS])
    assert np.allclose(still.motion.expressions.mean(0), take.motion.expressions.mean(0), atol=1e-5)
    assert np.ptp(still.motion.expressions[:, ~follows], axis=0).max() < 1e-6 < np.ptp(take.motion.expressions[:, ~follows], axis=0).max()
    assert np.array_equal(still.motion.expressions[:, follows], take.motion.expressions[:, follows])
    assert np.array_equal(still.motion.head, take.motion.head) and np.array_equal(still.motion.gaze, take.motion.gaze)
    assert still.scene == take.scene and still.facts == take.facts and still.index == take.index


def test_folders_made_before_there_was_a_tripod_go_on_without_one(tmp_path):
    settings = ShardSettings(2, 1, 128, 9, 12.0)
    known = {name: value for name, value in asdict(settings).items() if name != "tripod"}
    (tmp_path / "world.json").write_text(json.dumps(known))
    _settings_agree(tmp_path, settings)
    with pytest.raises(SlotIDError, match="tripod False there, True asked"):
        _settings_agree(tmp_path, replace(settings, tripod=True))


def test_rendering_resumes_where_it_was_and_gives_the_same_pixels(tmp_path, kit):
    settings = ShardSettings(clips=2, references=1, size=64, frames=4, fps=12.0)
    told = []
    first = write_shards(2_000_002, 2_000_006, settings, tmp_path, workers=1, kit=kit, report=told.append)
    assert first["shards"] == 2 and first["clips"] == 8 and "left" in told[-1]
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.zip")}
    records = read_shards(tmp_path)
    pictures = records[-1].frames()
    assert records[0].expressions.shape == (4, 3) and pictures.std() > 10  # the tiny kit has three expressions
    assert all(0 < record.points5.min() and record.points5.max() < 64 for record in records)
    lost = sorted(tmp_path.glob("*.zip"))[1]
    lost.unlink()
    again = write_shards(2_000_002, 2_000_006, settings, tmp_path, workers=2, kit=kit, report=told.append)
    assert again["skipped"] == 1 and again["clips"] == 4
    kept = sorted(tmp_path.glob("*.zip"))[0]
    assert kept.stat().st_mtime_ns == before[kept.name]
    assert np.array_equal(read_shards(tmp_path)[-1].frames(), pictures)
    with pytest.raises(SlotIDError, match="made otherwise"):
        write_shards(2_000_002, 2_000_006, ShardSettings(2, 1, 96, 4, 12.0), tmp_path, kit=kit, report=told.append)


def test_stopping_two_workers_leaves_no_partial_file(tmp_path, kit):
    words = ["world", "render", "--people", "2000000:2000400", "--clips", "9", "--size", "64", "--workers", "2", "--out", str(tmp_path)]
    words += ["--kit", kit]
    process = subprocess.Popen([sys.executable, "-m", "slotid", *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("*.part"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(list(tmp_path.glob("*.part"))) == 2
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=90)[1]
    assert process.returncode == 130 and "Traceback" not in told, told
    assert not list(tmp_path.glob("*.part"))
