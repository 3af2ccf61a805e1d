"""The base is taught motion by the world's truth: curves played again, read from latents, told by a layer, shown by the film; or filmed
beside the picture, as channels that no decoder shows and every token sees."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import small_backbone
from small_world import embedder, world

from slotid.train.base import UNSHOWN, BaseLearner, channel_weight, train_base
from slotid.train.loop import Plan, load_weights
from slotid.train.motion import (
    FIRST,
    HEAD_SHARE,
    LAST,
    MotionLesson,
    MotionReader,
    fill_motion,
    motion_basis,
    motion_channels,
    motion_of,
    train_reader,
)
from slotid.train.pairs import latent_scale
from slotid.types import SlotIDError
from slotid.world.take import direct


def test_a_record_is_played_again_as_it_was_filmed():
    take = direct(17, 1, 9, 12.0, reference=True, tripod=True)
    record = SimpleNamespace(person=17, index=1, facts=take.facts, seconds=take.motion.seconds)
    curves = motion_of(record)
    assert np.allclose(curves[:, :57], take.motion.expressions) and np.allclose(10 * curves[:, 57:60], take.motion.head)
    assert not np.allclose(curves, motion_of(SimpleNamespace(**{**record.__dict__, "person": 18})))


def trained_reader(tmp_path, steps=200):
    backbone = small_backbone()
    reader = MotionReader(8, 3, cells=4)
    plan = Plan(steps=steps, batch=32, lr=2e-3, warmup=5, ema=0)
    logged = []
    train_reader(reader, [world(False, 60), world(True, 60)], *latent_scale(backbone), plan, tmp_path, log_every=50, on_log=logged.append)
    return backbone, reader.eval(), logged


def test_the_reader_tells_the_curve_that_shows_in_frames_it_has_not_seen(tmp_path):
    backbone, reader, logged = trained_reader(tmp_path)
    assert logged[-1]["unseen"] < logged[0]["unseen"]
    data = world(False, 20, seed=5)
    mean, std = latent_scale(backbone)
    x = ((data.films.float() - mean) / std).transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        error = (reader(x) - reader.told(data.motion.flatten(0, 1))).square().mean(0)
    assert error[0] < 0.5 < error[1]  # the first curve shows, the second does not
    again = MotionReader(8, 3, cells=4)
    load_weights(again, tmp_path / "checkpoint", "model")
    assert torch.equal(again.spread, reader.spread) and not torch.equal(again.spread, torch.ones(3))


def test_the_lessons_know_a_film_that_moves_as_the_truth(tmp_path):
    backbone, reader, _ = trained_reader(tmp_path)
    layer = torch.nn.Identity()
    lesson = MotionLesson(reader, 5, 3, layer)
    data = world(False, 4)
    mean, std = latent_scale(backbone)
    x0, t = (data.films.float() - mean) / std, torch.full((8,), 0.5)
    with pytest.raises(SlotIDError, match="was not run"):
        lesson(x0, x0, data.motion, t)
    layer(torch.randn(8, 4, 5))
    hidden, shown = lesson(x0, x0, data.motion, t)
    still = x0.mean(2, keepdim=True).expand_as(x0)
    assert hidden > 0 and float(shown) == 0
    assert lesson(still, x0, data.motion, t)[1] > 0.05
    assert float(lesson(still, x0, data.motion, torch.ones(8))[1]) == 0  # pure noise: nothing can be shown


def test_the_base_learns_by_the_lessons_and_its_checkpoint_opens_without_them(tmp_path):
    backbone, reader, _ = trained_reader(tmp_path / "reader", 20)
    before = reader.net[0].weight.clone()
    plan = Plan(steps=6, batch=4, lr=3e-3, warmup=2, ema=0)
    last = train_base(backbone, embedder(), world(False), world(True), plan, tmp_path / "base", still_share=0.5, reader=reader)
    assert {"film hidden", "film shown"} <= set(last) or {"still hidden", "still shown"} <= set(last)
    assert torch.equal(before, reader.net[0].weight)
    learner = BaseLearner(small_backbone(), embedder())
    with pytest.raises(SlotIDError, match="lesson"):
        load_weights(learner, tmp_path / "base" / "checkpoint", "model")
    load_weights(learner, tmp_path / "base" / "checkpoint", "model", without="lesson.")


def played(people):
    takes = [direct(who, 1, 33, 12.0) for who in people]
    return torch.from_numpy(
        np.stack([motion_of(SimpleNamespace(person=t.person.seed, index=1, facts=t.facts, seconds=t.motion.seconds)) for t in takes])
    )


def test_channels_of_motion_tell_most_of_what_people_do_who_never_played_for_them():
    curves = played(range(700, 760))
    channels = motion_channels(curves, 16)
    assert channels.shape == (60, 33, 16)
    flat = channels.flatten(0, 1)
    spread = flat.std(0)
    assert 0.4 < float(spread[0]) / FIRST < 2 and 0.4 < float(spread[-1]) / LAST < 2
    weight = torch.ones(62)
    weight[57:] = HEAD_SHARE
    wanted = (curves - curves.mean((0, 1))).flatten(0, 1) * weight
    told = flat @ torch.linalg.lstsq(flat, wanted).solution
    assert 1 - float((wanted - told).square().sum() / wanted.square().sum()) > 0.9
    assert motion_basis()[1].shape == (62, 62)


def test_every_cell_of_a_frame_holds_its_motion_and_the_picture_is_left_alone():
    curves, films = played([5, 6]), torch.randn(2, 7, 33, 4, 4).half()
    before = films.clone()
    fill_motion(films, curves, 3)
    assert torch.equal(films[:, 3:], before[:, 3:])
    assert torch.equal(films[:, :3], films[:, :3, :, :1, :1].expand(-1, -1, -1, 4, 4))
    assert torch.allclose(films[:, :3, :, 0, 0].float(), motion_channels(curves, 3).transpose(1, 2), atol=2e-3)


def test_channels_that_do_not_show_cost_what_the_others_cost_in_the_mean():
    backbone, data = small_backbone(4, motion=3), world(False)
    films = torch.cat([torch.zeros_like(data.films[:, :3]), data.films], 1)
    weight = channel_weight(backbone, films, frames=2).flatten()
    assert weight.shape == (11,) and (weight[:3] == UNSHOWN).all() and abs(float(weight[3:].mean()) - 1) < 1e-5
