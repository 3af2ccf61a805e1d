"""The text encoder learns what a caption tells."""

import torch
from small import small_backbone

from slotid.train.loop import Plan
from slotid.train.text import TextLearner, fact_values, train_text


def test_the_text_encoder_learns_facts_and_nothing_else_of_the_backbone_moves(tmp_path):
    backbone = small_backbone(text_length=40)
    before = {name: p.clone() for name, p in backbone.transformer.named_parameters()}
    plan = Plan(steps=60, batch=32, lr=5e-3, warmup=5, ema=0)
    first = train_text(backbone, Plan(**{**plan.__dict__, "steps": 5}), tmp_path / "a")
    last = train_text(backbone, plan, tmp_path / "b")
    assert last["right"] > first["right"] + 0.05
    assert all(torch.equal(before[name], p) for name, p in backbone.transformer.named_parameters())


def test_padding_is_not_looked_at():
    backbone = small_backbone(text_length=40)
    learner = TextLearner(backbone)
    torch.nn.init.constant_(learner.queries["act"], 3.0)
    with torch.no_grad():
        alone = learner(["a person smiles"])
        beside = learner(["a person smiles", "a woman nods, in a room with warm light, in front of a blue wall"])
    assert list(alone) == list(fact_values())
    assert all(torch.allclose(alone[name][0], beside[name][0], atol=1e-5) for name in alone)
