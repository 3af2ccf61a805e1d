"""A variant on Slot-ID's trunk says what it said on its own; what methods have in common lies once beside them."""

from dataclasses import replace

import torch
from small import small_config, stir

from slotid.identity.slots import SlotID
from slotid.identity.variants import MeanPooled, SoftAttention
from slotid.train.lean import TRUNK, LeanLearner, off, said, share_trunk
from slotid.train.loop import Plan, fit


def pair() -> tuple[SlotID, MeanPooled]:
    """Slot-ID and a variant that began as the same."""
    torch.manual_seed(0)
    slots = SlotID(small_config(movement=True))
    stir(slots)
    mean = MeanPooled(replace(slots.config, reader="mean"))
    mean.load_state_dict(slots.state_dict())
    stir(mean, 1, 0.03)
    return slots.eval(), mean.eval()


def clips(count: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    people = torch.randn(count, 1, 8, 4, 4, generator=generator)
    latents = people + 0.3 * torch.randn(count, 6, 8, 4, 4, generator=generator)
    seen = torch.ones(count, 6, dtype=torch.bool)
    return latents, torch.arange(6).expand(count, -1) / 8, seen, torch.full((count,), 2)


def test_it_learns_to_say_on_another_trunk_what_it_said(tmp_path):
    slots, mean = pair()
    kept = {name: value.clone() for name, value in mean.state_dict().items()}
    learner = LeanLearner(mean, slots)
    batch = clips(40, 0)
    with torch.no_grad():
        asked = said(learner.before[0], *batch)
        first = [float(part.mean()) for part in off(said(learner.method, *batch), asked)]
    assert first[0] > 0.01 and asked[2].mean(-1).allclose(torch.ones(40, 3), atol=1e-4)
    plan = Plan(steps=120, batch=16, lr=3e-3, warmup=5, cooldown=0.7, ema=0.9)
    fit(learner, plan, tmp_path, lambda rng, step: clips(16, int(rng.integers(2**31))), lambda m, b: (m(b), {}), log_every=120)
    with torch.no_grad():
        last = [float(part.mean()) for part in off(said(learner.method, *batch), asked)]
    assert last[0] < 0.5 * first[0]
    weights = learner.method.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in slots.state_dict().items() if name.startswith(TRUNK))
    assert all(torch.equal(mean.state_dict()[name], value) for name, value in kept.items()), "what landed is left as it is"


def test_the_trunk_is_shared_once_all_that_hear_stand_on_it(tmp_path):
    slots, mean = pair()
    attention = SoftAttention(replace(slots.config, reader="attention"))
    attention.load_state_dict(slots.state_dict())
    for other in (mean, attention):
        other.movement.reader.load_state_dict(slots.movement.reader.state_dict())
    made = {"slots": slots, "mean": mean, "attention": attention}

    def size() -> int:
        for name, method in made.items():
            method.save_pretrained(tmp_path / name, half=True)
        share_trunk(tmp_path)
        for name, method in made.items():
            again = type(method).from_pretrained(tmp_path / name)
            assert all(torch.equal(again.state_dict()[key], value) for key, value in method.state_dict().items())
        return sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))

    apart = size()
    trunk = {name: value for name, value in slots.state_dict().items() if name.startswith(TRUNK)}
    mean.load_state_dict(mean.state_dict() | trunk)
    assert size() < apart - 2 * sum(value.numel() for value in trunk.values())
