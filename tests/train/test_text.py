"""The text encoder learns what a caption tells."""

import torch
from small import small_backbone

from slotid.train.loop import Plan
from slotid.train.text import TextLearner, fact_values, train_text


def test_the_text_encoder_learns_facts_and_nothing_else_of_the_backbone_moves(tmp_path):
    backbone = small_backbone(text_length=40, text_width=96, text_depth=2, text_heads=4, text_ffn=192)
    before = {name: p.clone() for name, p in backbone.transformer.named_parameters()}
    plan = Plan(steps=160, batch=32, lr=2e-3, warmup=5, ema=0)
    logged = []  # the first thing it learns is that most facts are not told
    last = train_text(backbone, plan, tmp_path, log_every=20, on_log=logged.append)
    first = logged[0]
    assert last["right"] > first["right"] + 0.05
    assert all(torch.equal(before[name], p) for name, p in backbone.transformer.named_parameters())


def test_every_real_token_answers_and_padding_does_not():
    backbone = small_backbone(text_length=40)
    learner = TextLearner(backbone)
    with torch.no_grad():
        alone, real = learner(["a person smiles"])
        beside, both = learner(["a person smiles", "a woman nods, in a room with warm light, in front of a blue wall"])
    assert list(alone) == list(fact_values())
    assert alone["light"].shape == (1, 40, len(fact_values()["light"]) + 1)  # the last class: not told
    assert int(real.sum()) == backbone.tokens_in("a person smiles") and torch.equal(real[0], both[0])
    assert all(torch.allclose(alone[name][0][real[0]], beside[name][0][real[0]], atol=1e-5) for name in alone)
