"""Base and Slot-ID learn on a small world of latents whose people are known; only what should move moves."""

import copy

import numpy as np
import pytest
import torch
from small import small_backbone, small_method
from small_world import FACTS, embedder, world

from slotid.backbone.backbone import LoraPlan
from slotid.train.base import (
    TOKENS,
    BaseLearner,
    bend,
    channel_weight,
    how_often,
    moments,
    neighbours,
    pick_moments,
    take_batch,
    told_groups,
    train_base,
    training_times,
)
from slotid.train.loop import Plan
from slotid.train.motion import scale_of
from slotid.train.pairs import Latents, face_weight, latent_scale, partners
from slotid.train.phrasings import Phrasings, prompt_for
from slotid.train.slots import SlotLearner, read_quality, references, train_slots, visible_weight
from slotid.types import SlotIDError


def test_partners_are_other_clips_of_the_same_person():
    data = world(False)
    others = partners(data)
    assert others[0] == [1] and others[5] == [4]
    with pytest.raises(SlotIDError, match="two clips"):
        partners(Latents(**{**data.__dict__, "people": np.arange(12)}))


def test_a_batch_has_films_or_single_frames():
    backbone = small_backbone()
    mean, std = latent_scale(backbone)
    rng = np.random.default_rng(0)
    film = take_batch(world(False), rng, 4, mean, std, few=2)
    still = take_batch(world(True), rng, 4, mean, std, patch=3)
    assert film["x0"].shape == (4, 8, 2, 4, 4) and still["x0"].shape == (4, 8, 3, 4, 4)
    assert torch.equal(still["x0"][:, :, 0], still["x0"][:, :, 2])  # a moment that lasts
    assert film["weight"].shape == (4, 1, 1, 4, 4)
    assert film["text"] is None
    told = take_batch(world(False), rng, 4, mean, std, phrasings=Phrasings(backbone.tokens, [FACTS] * 12, False, 2))
    assert [part.shape for part in told["text"]] == [(4, backbone.spec.text_length)] * 2


def test_a_few_moments_of_a_film_keep_their_places():
    """A token of a film that is given in part must turn as it would in the whole: same rotary angles, so the same first block."""
    backbone = small_backbone()
    net, seen = backbone.transformer, []
    hook = net.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[3]))
    patch = backbone.spec.patch[0]
    film, told, t = torch.randn(1, 8, 4 * patch, 4, 4), torch.zeros(1, 4, 32), torch.tensor([0.5])
    backbone.velocity(film, t, told)
    which = torch.tensor([1, 3])
    with moments(net, which, 4):
        backbone.velocity(film.unflatten(2, (4, patch))[:, :, which].flatten(2, 3), t, told)
    backbone.velocity(film, t, told)
    hook.remove()
    for whole, part, after in zip(*seen, strict=True):
        assert torch.equal(whole.unflatten(1, (4, -1))[:, which].flatten(1, 2), part) and torch.equal(whole, after)
        assert not torch.equal(whole[:, : part.shape[1]], part)


def test_moments_are_picked_in_order():
    data, rng = world(False), np.random.default_rng(0)
    zero, one = torch.zeros(8, 1, 1, 1), torch.ones(8, 1, 1, 1)
    for _ in range(20):
        batch = take_batch(data, rng, 4, zero, one, patch=1, few=2)
        frames = batch["moments"]
        assert len(frames) == 2 and frames[0] < frames[1] and batch["of"] == 3
        assert torch.equal(batch["x0"], data.films[batch["rows"]].float()[:, :, frames])
    assert {tuple(pick_moments(rng, 11, 4).tolist()) for _ in range(400)} > {(0, 1, 2, 3), (7, 8, 9, 10)}


def test_films_in_which_the_mouth_acts_are_drawn_more_often():
    data = world(False)
    acts = ["stay_neutral", "laugh", "talk,smile", "smile+nod", "nod", "wink"] * 2
    data = Latents(**{**data.__dict__, "facts": [fact | {"act": act} for fact, act in zip(data.facts, acts, strict=True)]})
    chance = how_often(data)
    assert chance.sum() == pytest.approx(1) and np.allclose(chance[:6] / chance[0], [1, 4, 2.5, 1.5, 1, 1])
    rows = take_batch(data, np.random.default_rng(0), 4000, torch.zeros(8, 1, 1, 1), torch.ones(8, 1, 1, 1), chance=chance)["rows"]
    assert np.allclose(np.bincount(rows, minlength=12) / 4000, chance, atol=0.02)


def test_a_channel_costs_what_it_shows():
    backbone = small_backbone(4)
    with torch.no_grad():  # one channel that the decoder hardly looks at, one that it sees ten times as well
        backbone.vae.post_quant_conv.weight[:, 2] *= 1e-4
        backbone.vae.post_quant_conv.weight[:, 5] *= 10
    weight = channel_weight(backbone, world(False).films, power=0.5)
    assert weight.shape == (1, 8, 1, 1, 1) and weight.mean() == pytest.approx(1)
    flat = weight.flatten()
    assert flat[2] < 1e-3 and flat.argmax() == 5 and (flat[[0, 1, 3, 4, 6, 7]] > 0.05).all()
    squared = channel_weight(backbone, world(False).films, power=1.0).flatten()
    assert torch.allclose(squared / squared.sum(), flat.square() / flat.square().sum(), atol=1e-5)


def test_what_trembles_costs_more_than_what_is_off_all_along():
    """A film that is wrong by the same everywhere, or by more and more, does not bend; white noise keeps its size."""
    frames = torch.arange(6.0).view(1, 1, 6, 1, 1)
    assert bend(frames.expand(2, 3, 6, 4, 4) * 0.7 + 3).abs().max() < 1e-5
    assert bend(torch.randn(4, 8, 40, 6, 6, generator=torch.Generator().manual_seed(0))).square().mean() == pytest.approx(1, abs=0.02)
    assert neighbours(None) and neighbours(torch.tensor([3, 4, 5])) and not neighbours(torch.tensor([3, 4, 6]))

    class Off:
        """A backbone whose answer is off by a given film."""

        def __init__(self, backbone, off):
            self.transformer, self.spec, self.off, self.embed = backbone.transformer, backbone.spec, off, backbone.embed

        def velocity(self, noisy, t, text, conditioning):
            return (noisy - data["x0"]) / t.view(-1, 1, 1, 1, 1) + self.off  # the true velocity, and what is wrong with it

    backbone = small_backbone()
    words = Phrasings(backbone.tokens, [FACTS] * 12, False, 2)
    data = take_batch(world(False), np.random.default_rng(0), 4, *latent_scale(backbone), phrasings=words)
    data |= {"keep": None, "late": False}
    trembling = torch.tensor([1.0, -1.0, 1.0]).view(1, 1, 3, 1, 1).expand_as(data["x0"])
    steady, restless = (float(BaseLearner(Off(backbone, off), embedder())(data)) for off in (trembling.abs(), trembling))
    gapped = float(BaseLearner(Off(backbone, trembling), embedder())(data | {"moments": torch.tensor([0, 1, 3]), "of": 4}))
    assert restless > 3 * steady and gapped == pytest.approx(steady, rel=0.02)  # across a gap nothing can be said


def test_times_of_a_batch_are_spread_evenly():
    torch.manual_seed(0)
    for late, high in ((False, 0.42), (True, 0.28)):  # what the two distributions hold above 0.9, each by its share
        t = torch.stack([training_times(40, late).sort().values for _ in range(50)])
        assert ((t > 0) & (t < 1)).all()
        free = torch.stack([torch.randn(40).sigmoid() for _ in range(50)])
        assert t.mean(1).std() < 0.5 * free.mean(1).std()
        assert float((t > 0.9).float().mean()) == pytest.approx(high, abs=0.03)


def test_frames_are_asked_for_the_motion_they_show(tmp_path):
    data = world(False, 30)
    scale = scale_of(data.crop_motion)
    learner = SlotLearner(small_method(anchors=4), small_backbone(), embedder(), None, scale)
    logged = []
    plan = Plan(steps=150, batch=16, lr=5e-3, warmup=5, ema=0)
    train_slots(learner, data, None, plan, tmp_path, with_flow=False, still_share=0.0, log_every=10, on_log=logged.append)
    assert logged[0]["watch"] > 0.8 and logged[-1]["watch"] < 0.75  # one curve of three shows
    assert "watch" not in dict(SlotLearner(small_method(anchors=4), small_backbone(), embedder(), None).named_children())


def test_a_single_frame_is_never_told_an_act():
    from slotid.world.captions import caption

    told = {prompt_for(FACTS, np.random.default_rng(s), still=True) for s in range(60)}
    assert len(told) > 10
    acts = {caption({"act": "smile"}, s) for s in range(200)}
    words = {w for text in acts for w in text.split() if "smil" in w}
    assert not any(word in text for text in told for word in words)


def test_a_clip_is_told_by_its_own_phrasings_or_by_nothing():
    backbone = small_backbone()
    facts = [FACTS | {"act": act} for act in ("smile", "talk", "nod")]
    words, rng = Phrasings(backbone.tokens, facts, False, 5), np.random.default_rng(0)
    assert words.ids.shape[0] == 16
    rows = np.array([0, 1, 2, 1] * 50)
    ids, mask = words.draw(rows, rng)
    nothing = backbone.tokens([""])[0][0]
    untold = (ids == nothing).all(1)
    assert 0.02 < float(untold.float().mean()) < 0.25
    for row, told, real in zip(rows[~untold], ids[~untold], mask[~untold], strict=True):
        own = words.ids[row * 5 : row * 5 + 5].long()
        assert (own == told).all(1).any() and torch.equal(real, (told != backbone.tokenizer.pad_token_id).long())
    assert torch.equal(backbone.embed(ids[:3], mask[:3]), backbone.read([*map(decoded(backbone), ids[:3])]))


def decoded(backbone):
    return lambda ids: backbone.tokenizer.decode(ids, skip_special_tokens=True)


def test_face_weight_is_highest_at_the_face():
    weight = face_weight(torch.tensor([[1.5, 2.5]]), torch.tensor([0.5]), (4, 4))
    assert weight.shape == (1, 1, 1, 4, 4)
    assert int(weight.flatten().argmax()) == 2 * 4 + 1
    assert weight.min() >= 1


def test_base_learns_and_tokens_of_hidden_groups_are_nothing(tmp_path):
    backbone, emb = small_backbone(), embedder()
    plan = Plan(steps=30, batch=4, lr=3e-3, warmup=2, ema=0)
    before, words = copy.deepcopy(backbone.transformer.state_dict()), copy.deepcopy(backbone.text_encoder.state_dict())
    first = train_base(backbone, emb, world(False), world(True), Plan(**{**plan.__dict__, "steps": 3}), tmp_path / "a", still_share=0.5)
    last = train_base(backbone, emb, world(False), world(True), plan, tmp_path / "b", still_share=0.5)
    assert last["loss"] < first["loss"]
    assert any(not torch.equal(before[k], v) for k, v in backbone.transformer.state_dict().items())
    assert all(torch.equal(words[k], v) for k, v in backbone.text_encoder.state_dict().items())
    assert emb(world(False).vectors).shape == (12, len(TOKENS), 32)
    trained = {name.split(".")[0] for name, p in BaseLearner(backbone, emb).named_parameters() if p.requires_grad}
    assert trained == {"transformer"}  # the text encoder has learned before


def test_slots_learn_on_a_frozen_base(tmp_path):
    backbone, emb = small_backbone(), embedder()
    lora = backbone.adopt(LoraPlan(rank=2))
    frozen = {k: v.clone() for k, v in backbone.transformer.state_dict().items() if "lora" not in k}
    learner = SlotLearner(small_method(anchors=4), backbone, emb, lora)
    clips, stills = world(False, 16), world(True, 16)
    rows = list(range(24))
    before = read_quality(learner, clips, rows, frames=10)["2 skin"]
    loud = anchors_of(learner, clips)
    train_slots(learner, clips, stills, Plan(steps=120, batch=16, lr=5e-3, warmup=5, ema=0), tmp_path / "read", with_flow=False)
    assert read_quality(learner, clips, rows, frames=10)["2 skin"] > before
    assert anchors_of(learner, clips) < 0.7 * loud  # what slots tell, anchors need not
    train_slots(learner, clips, stills, Plan(steps=3, batch=4, lr=1e-3, warmup=1, ema=0), tmp_path / "flow", with_flow=True)
    assert any(float(p.detach().abs().sum()) > 0 for n, p in lora.named_parameters() if "lora_B" in n)
    assert all(torch.equal(frozen[k], v) for k, v in backbone.transformer.state_dict().items() if k in frozen)
    assert not any("transformer" in n or "teacher" in n for n, _ in learner.named_parameters())


def anchors_of(learner, data) -> float:
    """How loud the anchor tokens are."""
    batch = references(data, np.arange(8), np.random.default_rng(0), *latent_scale(learner.backbone[0]), 10)
    found = learner.method.encode(batch["crops"], batch["seconds"], batch["seen"], batch["anchor"])
    return float(learner.method.tokens(found)[:, : learner.method.config.anchors].detach().square().mean())


def test_what_shows_weighs_more_and_a_group_as_much_as_before():
    data = [world(False, 200), world(True, 200, seed=1)]
    weight = visible_weight(data)
    spread = torch.cat([d.vectors for d in data]).std(0).square()
    skin = told_groups()[TOKENS.index("skin")]
    assert int(weight[skin].argmax()) == 0 and weight[skin][0] > 10 * weight[skin][1:].mean()  # vectors[100] is the level of a channel
    for group in told_groups():
        assert float((weight * spread)[group].mean()) == pytest.approx(1, rel=1e-3)


def test_an_error_in_a_number_costs_what_its_weight_says():
    emb = embedder()
    weight = torch.ones(192)
    weight[100] = 9.0
    plain, weighed = (SlotLearner(small_method(anchors=4), small_backbone(), emb, None) for _ in range(2))
    weighed.weigh(weight)
    first, second = emb.turn2[:, 0], emb.turn2[:, 1]  # of the skin token: numbers 100 and 101
    skin = TOKENS.index("skin")
    for error, times in ((first, 9), (second, 1)):
        assert float(plain._apart(error[None], skin)) == pytest.approx(float(error.square().mean()), rel=1e-5)
        assert float(weighed._apart(error[None], skin)) == pytest.approx(times * float(error.square().mean()), rel=1e-4)


def test_references_hide_frames_but_never_the_anchor():
    data = world(False)
    mean, std = torch.zeros(8, 1, 1, 1), torch.ones(8, 1, 1, 1)
    for seed in range(20):
        batch = references(data, np.arange(12), np.random.default_rng(seed), mean, std, 6)
        assert batch["crops"].shape == (12, 6, 8, 4, 4) and batch["seconds"].shape == (12, 6)
        assert batch["seen"][torch.arange(12), batch["anchor"]].all()
