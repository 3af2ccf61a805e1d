"""The base learns motion by the world's truth: curves played again, filmed beside the picture in channels that no decoder shows and every
token sees."""

from types import SimpleNamespace

import numpy as np
import torch
from small import small_backbone
from small_world import world

from slotid.train.base import UNSHOWN, channel_weight
from slotid.train.motion import FIRST, HEAD_SHARE, LAST, fill_motion, motion_basis, motion_channels, motion_of
from slotid.world.take import direct


def test_a_record_is_played_again_as_it_was_filmed():
    take = direct(17, 1, 9, 12.0, reference=True, tripod=True)
    record = SimpleNamespace(person=17, index=1, facts=take.facts, seconds=take.motion.seconds)
    curves = motion_of(record)
    assert np.allclose(curves[:, :57], take.motion.expressions) and np.allclose(10 * curves[:, 57:60], take.motion.head)
    assert not np.allclose(curves, motion_of(SimpleNamespace(**{**record.__dict__, "person": 18})))


def played(people):
    takes = [direct(who, 1, 33, 12.0) for who in people]
    return torch.from_numpy(
        np.stack([motion_of(SimpleNamespace(person=t.person.seed, index=1, facts=t.facts, seconds=t.motion.seconds)) for t in takes])
    )


def test_channels_of_motion_tell_most_of_what_people_do_who_never_played_for_them():
    curves = played(range(700, 760))
    mean, directions = motion_basis(16)
    assert mean.shape == (62,) and directions.shape == (62, 16)
    channels = motion_channels(curves, (mean, directions))
    assert channels.shape == (60, 33, 16)
    flat = channels.flatten(0, 1)
    spread = flat.std(0)
    assert 0.4 < float(spread[0]) / FIRST < 2 and 0.4 < float(spread[-1]) / LAST < 2
    weight = torch.ones(62)
    weight[57:] = HEAD_SHARE
    wanted = (curves - curves.mean((0, 1))).flatten(0, 1) * weight
    told = flat @ torch.linalg.lstsq(flat, wanted).solution
    assert 1 - float((wanted - told).square().sum() / wanted.square().sum()) > 0.9


def test_every_cell_of_a_frame_holds_its_motion_and_the_picture_is_left_alone():
    curves, films = played([5, 6]), torch.randn(2, 7, 33, 4, 4).half()
    before = films.clone()
    basis = torch.rand(62), torch.randn(62, 3)
    fill_motion(films, curves, basis)
    assert torch.equal(films[:, 3:], before[:, 3:])
    assert torch.equal(films[:, :3], films[:, :3, :, :1, :1].expand(-1, -1, -1, 4, 4))
    assert torch.allclose(films[:, :3, :, 0, 0].float(), motion_channels(curves, basis).transpose(1, 2), rtol=2e-3, atol=2e-3)


def test_channels_that_do_not_show_cost_what_the_others_cost_in_the_mean():
    backbone, data = small_backbone(4, motion=3), world(False)
    films = torch.cat([torch.zeros_like(data.films[:, :3]), data.films], 1)
    weight = channel_weight(backbone, films, frames=2).flatten()
    assert weight.shape == (11,) and (weight[:3] == UNSHOWN).all() and abs(float(weight[3:].mean()) - 1) < 1e-5
