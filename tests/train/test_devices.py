"""What learns and what it learns from meet on one device, with all that stands beside.

No card is at hand in tests. torch's meta device stands in for one: it computes no values, but refuses tensors of two devices.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device
from small import small_backbone, small_method
from small_world import embedder, world

from slotid.backbone.backbone import LoraPlan
from slotid.identity.movement import CURVES, FrameReader
from slotid.train.base import TOKENS, BaseLearner, channel_weight, compile_blocks, how_often, take_batch
from slotid.train.ear import EarLearner, hear
from slotid.train.frames import ReaderLearner, face_batch
from slotid.train.motion import scale_of
from slotid.train.pairs import latent_scale
from slotid.train.phrasings import Phrasings
from slotid.train.slots import SlotLearner, references
from slotid.world.person import PERSON_SIZE

CARD = "meta"


def words_of(backbone, data):
    """Phrasings that are embedded without a look at their values, which the library's mask asks for and the meta device has not."""
    length, width = backbone.spec.text_length, backbone.spec.text_width
    backbone.embed = lambda ids, mask: torch.ones(len(ids), length, width, device=backbone.device)
    return Phrasings(backbone.tokens, data.facts, data.sparse, 2)


def of_base(motion=0):
    backbone, data = small_backbone(motion=motion), world(False)
    films = torch.cat([torch.zeros_like(data.films[:, :motion]), data.films], 1)
    data = replace(data, films=films)
    learner = BaseLearner(backbone, embedder(), channel_weight(backbone, data.films, frames=2))
    words = words_of(backbone, data)
    batch = take_batch(data, np.random.default_rng(0), 4, *latent_scale(backbone), phrasings=words, calm=0.5 * data.films)
    return learner, batch | {"keep": torch.ones(4, len(TOKENS)), "late": False}


def of_base_that_films_motion():
    return of_base(3)


def of_slots():
    backbone, data = small_backbone(), world(False)
    scale, rng = latent_scale(backbone), np.random.default_rng(0)
    learner = SlotLearner(small_method(anchors=4), backbone, embedder(), backbone.adopt(LoraPlan(rank=2)), scale_of(data.crop_motion))
    target = take_batch(data, rng, 4, *scale, few=2, phrasings=words_of(backbone, data))
    wanted = {name: target[name] for name in ("x0", "weight", "moments", "of", "text")}
    return learner, references(data, target["rows"], rng, *scale, 4) | wanted | {"meet": 1.0}


def of_frames():
    curves = torch.randn(6, 10, CURVES)
    parts = [(np.zeros((6, 10, 96, 96, 3), np.uint8), curves, np.arange(6))]
    return ReaderLearner(FrameReader(), scale_of(curves), torch.ones(CURVES)), face_batch(parts, np.random.default_rng(0), 4)


def of_ear():
    method = small_method(movement=True)
    heard = hear(
        method,
        torch.randn(4, 10, 8, 4, 4),
        np.zeros((4, 10, 96, 96, 3), np.uint8),
        torch.arange(10.0).expand(4, -1) / 8,
        torch.randn(4, PERSON_SIZE),
    )
    return EarLearner(method, embedder()), {"heard": vars(heard), "seen": torch.ones(4, 10, dtype=torch.bool)}


@pytest.mark.parametrize("make", [of_base, of_base_that_films_motion, of_slots, of_frames, of_ear])
def test_a_learner_and_its_batch_meet_on_one_device(make):
    learner, batch = make()
    learner.to(CARD)
    told = learner(send_to_device(batch, CARD))
    loss, numbers = told if isinstance(told, tuple) else (told, {})
    loss.backward()
    trained = [p for p in learner.parameters() if p.requires_grad]
    assert {part.device.type for part in [loss, *trained, *numbers.values()]} == {CARD}
    assert sum(p.grad is not None for p in trained) > len(trained) / 2
    with pytest.raises(RuntimeError, match="device"):  # so the stand-in sees what would fail on a card
        learner(batch)


def test_batches_are_drawn_where_the_data_lie():
    backbone = small_backbone()
    rng, scale = np.random.default_rng(0), [value.to(CARD) for value in latent_scale(backbone)]
    for data in (world(False).to(CARD), world(True).to(CARD)):
        words = words_of(backbone, data)
        few = None if data.sparse else 2
        target = take_batch(data, rng, 4, *scale, few=few, chance=how_often(data), phrasings=words, calm=data.films)
        found = target | references(data, target["rows"], rng, *scale, 4)
        moving = set() if data.sparse else {"lively"}
        assert {name for name, value in found.items() if torch.is_tensor(value) and value.device.type == CARD} == moving | {
            "x0", "weight", "vectors", "crops", "seconds", "motion",
        }  # fmt: skip


def test_on_a_card_only_whole_films_run_compiled(monkeypatch):
    backbone, seen = small_backbone(), []
    monkeypatch.setattr(torch, "compile", lambda plain, **_: lambda *given: (seen.append(given[1].shape[1]), plain(*given))[1])
    whole, part = (torch.randn(1, 8, count * backbone.spec.patch[0], 4, 4) for count in (4, 2))
    told = torch.zeros(1, backbone.spec.text_length, backbone.spec.text_width)
    before = [backbone.velocity(film, 0.5, told) for film in (whole, part)]
    compile_blocks(backbone.transformer, whole.shape[2:])
    after = [backbone.velocity(film, 0.5, told) for film in (whole, part)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    tokens = math.prod(size // cells for size, cells in zip(whole.shape[2:], backbone.spec.patch, strict=True))
    assert seen == [tokens] * len(backbone.transformer.blocks)
