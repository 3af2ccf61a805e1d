"""Training at scale, small: takes, links, shards, and two processes on a random Wan folder."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import small_face
from wan_small import small_spec, write_vision, write_wan

from slotid.backbone.wan import load_wan
from slotid.train.shards_cache import Shards, ShardWriter, known_keys
from slotid.train.takes import cut_take, face_alike, find_clips, link, place_alike, read_takes, side_file
from slotid.train.tracking import Tracker
from slotid.train.wan_recipe import Batches, Scale, about_shards, add_take, around_face, extractor_of, plan_wan13b, prepare, train
from slotid.types import Clip, SlotIDError

HERE = Path(__file__).parent


def small_take(person: int, place: int, frames: int = 9, size: int = 48):
    """A take of a coloured person before a coloured wall."""
    spec = replace(small_spec("2.1"), frames=5)
    wall = np.full((frames, size, size + 16, 3), 40 + 60 * place, np.uint8)
    wall[:, 12:36, 20:44] = (200, 60 * person, 90)
    boxes = np.tile(np.float32([16, 8, 48, 40]), (frames, 1))
    mesh = np.random.default_rng(person).uniform((20, 12, -8), (44, 36, 8), (478, 3)).astype(np.float32)
    face = replace(small_face(10 * person + place, frames, spec.fps), boxes=boxes, landmarks=np.repeat(mesh[None], frames, 0))
    clip = Clip(wall, np.arange(frames) / spec.fps)
    return cut_take(f"p{person}_{place}", "a man talks", f"p{person}", clip, face, spec, spec.frames)


def test_a_take_is_cut_around_the_face():
    take = small_take(1, 0)
    assert take.film.shape == (5, 32, 32, 3) and take.crops.shape[1:] == (64, 64, 3) and len(take.crops) == len(take.seconds) == 9
    x, y, half = take.focus
    assert 0.4 < x < 0.6 and 0.4 < y < 0.6 and half == pytest.approx(16 / 48, abs=0.01)
    middle = take.film[0, int(y * 32), int(x * 32)].astype(int)
    assert abs(middle - (200, 60, 90)).max() < 8, "the face is where it is said to be"
    weight = around_face(torch.tensor([take.focus]), (4, 4))
    assert weight.shape == (1, 1, 1, 4, 4) and weight[0, 0, 0, 2, 2] > weight[0, 0, 0, 0, 0] >= 1
    with pytest.raises(SlotIDError, match="3 frames at 8 per second; 5 are needed"):
        small_take(1, 0, frames=3)


def test_links_need_the_same_person_in_another_place():
    face, other = np.zeros(60, np.float32), np.zeros(60, np.float32)
    other[:30] = 1.0
    walls = [small_take(0, k).background for k in (0, 2)]
    assert face_alike(face, face) == 1 and face_alike(face, other) < 0.1
    assert place_alike(walls[0], walls[0]) == 1 and place_alike(*walls) < 0.2
    faces, places = np.stack([face, face, face, other]), np.stack([walls[0], walls[1], walls[0], walls[1]])
    assert link([None] * 4, faces, places) == [[1], [0, 2], [1], []], "alike faces, unlike places"
    assert link(["a", "b", "b", "a"], faces, places) == [[3], [2], [1], [0]], "names decide"
    with pytest.raises(SlotIDError, match="Among 4 takes no person was found in two different places"):
        link(["a", "b", "c", "d"], faces, places)


def test_side_files_and_folders(tmp_path):
    with pytest.raises(SlotIDError, match="There is no folder"):
        find_clips(tmp_path / "none")
    with pytest.raises(SlotIDError, match="holds no film"):
        find_clips(tmp_path)
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"not a film")
    with pytest.raises(SlotIDError, match="a.mp4 has no caption; write one sentence into a.txt"):
        side_file(clip)
    (tmp_path / "a.txt").write_text(" a man talks\n")
    assert side_file(clip) == ("a man talks", None)
    (tmp_path / "a.json").write_text(json.dumps({"caption": "he nods", "person": 7}))
    assert side_file(clip) == ("he nods", "7")
    for bad in ("[]", "{}", "{", '{"caption": ""}'):
        (tmp_path / "a.json").write_text(bad)
        with pytest.raises(SlotIDError, match="caption"):
            side_file(clip)
    (tmp_path / "a.json").unlink()
    ((path, reason),) = read_takes(find_clips(tmp_path), small_spec(), 5, 64)
    assert path == clip and "a.mp4" in reason, "a bad clip is left out with its reason"


def test_takes_of_real_clips(examples):
    clip = examples[0]
    from slotid.clip import read_clip, resample
    from slotid.face.track import track_face

    read = resample(read_clip(clip), 8)
    take = cut_take("one", "a person", None, read, track_face(read), small_spec(), 5)
    assert face_alike(take.face, take.face) == 1 and np.isfinite(take.face).all() and take.film.std() > 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(wan folder, vision folder, shards folder): three persons in two places each."""
    home = tmp_path_factory.mktemp("scale")
    wan, vision, cache = write_wan(home / "wan", "2.1", seed=1), write_vision(home / "dino"), home / "shards"
    config = wan / "vae" / "config.json"
    # latents far from 0, so that there is something plain to learn
    config.write_text(json.dumps(json.loads(config.read_text()) | {"latents_mean": [-3.0] * 8}))
    backbone = load_wan(wan, device="cpu")
    scale = Scale(home, cache, home / "out", str(wan), str(vision), width=32, rank=4)
    slots, extractor = extractor_of(scale, backbone, "cpu")
    with ShardWriter(cache, about_shards(scale, backbone.spec), per_shard=4) as writer:
        for person in range(3):
            for place in range(2):
                add_take(writer, small_take(person, 2 * place), backbone, extractor, slots.crop)
    return wan, vision, cache, scale, backbone


def test_shards_are_webdataset_tars_read_by_position(world):
    import tarfile

    _, _, cache, scale, backbone = world
    shards = Shards(cache, about_shards(scale, backbone.spec))
    assert len(shards) == 6 and sorted(p.name for p in cache.iterdir()) == ["takes-000-00000.tar", "takes-000-00001.tar"]
    with tarfile.open(cache / "takes-000-00000.tar") as tar:
        names = tar.getnames()
    assert [n.rpartition(".")[2] for n in names[:2]] == ["json", "safetensors"] and names[0].partition(".")[0] == names[1].partition(".")[0]
    tensors = shards.tensors(5)
    assert tensors["film"].shape == (8, 2, 4, 4) and tensors["crops"].shape == (9, 24, 8, 8) and tensors["film"].dtype == torch.float16
    assert known_keys(cache) == {f"p{p}_{k}" for p in range(3) for k in (0, 2)}
    with pytest.raises(SlotIDError, match="made with frames '5'; this run has '9'"):
        Shards(cache, {"frames": 9})
    with pytest.raises(SlotIDError, match="no finished shards; run the recipe with --prepare"):
        Shards(cache / "none")
    again = ShardWriter(cache.parent / "other", {}, per_shard=4)
    again.add("a", {"source": "a"}, {"x": torch.ones(2)})
    assert not list((cache.parent / "other").glob("*.tar")), "an unfinished shard has no name yet"
    (cache.parent / "other" / "takes-000-00009.tar").write_bytes(b"torn")
    with pytest.raises(SlotIDError, match="delete it and prepare again"):
        Shards(cache.parent / "other")


def test_batches_show_the_person_from_another_take_and_repeat(world):
    _, _, cache, scale, backbone = world
    batches = Batches(Shards(cache), backbone.spec, 3)
    assert all(len(others) == 1 for others in batches.partners)
    one, two = (batches.at(np.random.default_rng(4), 0) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["x0"].shape == (3, 8, 2, 4, 4) and one["text"].shape == (3, 16, 32) and one["crops"].shape[2:] == (24, 8, 8)
    assert (one["seconds"].diff(dim=1) > 0).all() and one["seen"][torch.arange(3), one["anchor"]].all()
    own = {row: batches.shards.tensors(row)["crops"].float() for row in range(6)}
    for k in range(3):
        target = next(r for r in range(6) if torch.equal(batches.shards.tensors(r)["film"].float(), one["x0"][k]))
        assert not any(torch.equal(one["crops"][k, 0], c) for c in own[target]), "never the target's own crops"


def test_what_cannot_work_is_told_before_weights_are_read(world, tmp_path):
    scale = world[3]
    for changes, words in (
        ({"optimizer": "lion"}, "Unknown optimizer 'lion'; expected one of adamw, adamw8bit"),
        ({"tracker": "wandb"}, "Unknown tracker 'wandb'"),
        ({"frames": 9}, "made with frames '5'; this run has '9'"),
        ({"cache": tmp_path}, "run the recipe with --prepare first"),
    ):
        with pytest.raises(SlotIDError, match=words):
            train(replace(scale, **changes), plan_wan13b(steps=1))
    with pytest.raises(SlotIDError, match="There is no folder"):
        prepare(replace(scale, data=tmp_path / "none"))


def test_trackers_that_are_not_installed_are_named(tmp_path):
    Tracker("none", tmp_path, "x").add({"step": 1, "loss": 1.0})
    with pytest.raises(SlotIDError, match="Unknown tracker 'wandb'"):
        Tracker("wandb", tmp_path, "x")
    if not __import__("importlib.util").util.find_spec("tensorboard"):
        with pytest.raises(SlotIDError, match="pip install tensorboard"):
            Tracker("tensorboard", tmp_path, "x")
    assert plan_wan13b(steps=5).steps == 5 and plan_wan13b().precision == "bf16"


def test_the_launch_configuration_is_one_that_accelerate_reads():
    from accelerate.commands.config.config_args import load_config_from_file

    path = HERE.parents[1] / "slotid" / "train" / "launch" / "gpus.yaml"
    config = load_config_from_file(str(path))
    assert (config.distributed_type.value, config.mixed_precision, config.num_processes) == ("MULTI_GPU", "bf16", 8)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """The report of two processes that trained together."""
    out = tmp_path_factory.mktemp("trained")
    wan, vision, cache, *_ = world
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(HERE / "two_processes.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run([*command, *map(str, (wan, vision, cache, out))], capture_output=True, text=True, env=environment, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, json.loads((out / "report.json").read_text())


def test_two_processes_train_and_the_loss_falls(trained):
    out, report = trained
    assert report["processes"] == 2 and report["steps"] == 16
    losses = [json.loads(line)["loss"] for line in (out / "whole" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 4 and losses[-1] < 0.85 * losses[0], losses


def test_resuming_equals_an_uninterrupted_run(trained):
    _, report = trained
    assert report["stopped_at"] == 1 and report["far"]["stopped"] < 1e-5, report


def test_spread_weights_give_what_whole_ones_give(trained):
    _, report = trained
    assert report["spread"]["share"] == 0.5 and report["spread"]["far"] < 1e-5, report
    assert report["far"]["spread"] < 1e-3, "a whole training with the frozen weights spread"


def test_the_adapter_loads_in_generate_and_a_sample_was_made(trained, world):
    from slotid.clip_write import read_settings
    from slotid.generate import generate, open_studio
    from slotid.types import Request

    out, _ = trained
    about = json.loads((out / "whole" / "adapter" / "config.json").read_text())
    assert about["recipe"] == "slots_wan13b" and about["backbone"] == "small-2.1" and about["lora"]["rank"] == 4
    film = out / "whole" / "samples" / "step_000016.mp4"
    assert film.is_file() and read_settings(film)["ai_generated"] is True
    studio = open_studio(world[0], "slots", "cpu", adapter=out / "whole" / "adapter")
    *_, result = generate(studio, Request("a man talks", small_face(1), steps=2, preview_every=0, likeness=False))
    assert result.code.method == "slots" and result.clip.frames.shape == (5, 32, 32, 3)
