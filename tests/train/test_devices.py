"""What learns and what it learns from meet on one device, with all that stands beside.

No card is at hand in tests. torch's meta device stands in for one: it computes no values, but refuses tensors of two devices.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device
from small import small_backbone, small_method
from small_world import embedder, world

from slotid.backbone.backbone import LoraPlan
from slotid.train.base import TOKENS, BaseLearner, channel_weight, take_batch
from slotid.train.motion import scale_of
from slotid.train.pairs import latent_scale
from slotid.train.slots import SlotLearner, references

CARD = "meta"


def of_base(motion=0):
    backbone, data = small_backbone(motion=motion), world(False)
    films = torch.cat([torch.zeros_like(data.films[:, :motion]), data.films], 1)
    data = replace(data, films=films)
    learner = BaseLearner(backbone, embedder(), channel_weight(backbone, data.films, frames=2))
    length, width = backbone.spec.text_length, backbone.spec.text_width
    backbone.read = lambda prompts: torch.ones(len(prompts), length, width, device=backbone.device)  # the library's mask asks for values
    batch = take_batch(data, np.random.default_rng(0), 4, *latent_scale(backbone))
    return learner, batch | {"keep": torch.ones(4, len(TOKENS)), "late": False}


def of_base_that_films_motion():
    return of_base(3)


def of_slots():
    backbone, data = small_backbone(), world(False)
    scale, rng = latent_scale(backbone), np.random.default_rng(0)
    learner = SlotLearner(small_method(anchors=4), backbone, embedder(), backbone.adopt(LoraPlan(rank=2)), scale_of(data.crop_motion))
    target = take_batch(data, rng, 4, *scale, few=2)
    text = backbone.read(target["prompts"])
    wanted = {name: target[name] for name in ("x0", "weight", "moments", "of")}
    return learner, references(data, target["rows"], rng, *scale, 4) | wanted | {"meet": 1.0, "text": text}


@pytest.mark.parametrize("make", [of_base, of_base_that_films_motion, of_slots])
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
