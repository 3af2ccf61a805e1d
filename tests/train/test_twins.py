"""Films and their calm twins: what an expression changes is found, taken away, asked back, and charged by itself."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import small_backbone
from small_world import FACTS, embedder, world

from slotid.train import base, twins
from slotid.train.base import BaseLearner, take_batch
from slotid.train.pairs import latent_scale
from slotid.train.phrasings import Phrasings
from slotid.train.twins import calm_films, missed, mistaken
from slotid.types import SlotIDError


def test_a_film_finds_its_twin_and_who_has_none_is_as_if_still():
    clips = world(False)
    rows = [3, 0, 7]
    some = replace(clips, films=clips.films[rows] + 1, people=clips.people[rows], index=clips.index[rows])
    changed = (calm_films(clips, some) - clips.films).flatten(1).abs().amax(1)
    assert changed.nonzero().flatten().tolist() == sorted(rows) and changed[rows].allclose(torch.ones(3).half(), atol=1e-2)
    with pytest.raises(SlotIDError, match="--calm"):
        calm_films(clips, replace(some, people=some.people + 100))


def test_mistaken_films_show_less_of_an_expression_or_anothers():
    torch.manual_seed(0)
    lively = torch.randn(400, 2, 5, 3, 3)
    lively[:, 0] = 0  # a channel in which nothing goes with expressions
    wrong = mistaken(lively)
    share = (wrong.flatten(1).abs().amax(1) > 0).float().mean()
    assert abs(float(share) - twins.MISTAKEN) < 0.1 and (wrong[:, 0] == 0).all()
    left = ((lively + wrong) * lively).flatten(1).sum(1) / lively.square().flatten(1).sum(1)  # of the right expression
    assert ((left > -0.6) & (left < 1.001)).all() and 0.4 < float(left[left < 0.999].mean()) < 0.65


def test_what_is_missed_of_an_expression_is_a_share_and_nothing_else_counts():
    torch.manual_seed(0)
    lively, weight = torch.randn(2, 3, 4, 8, 8), torch.rand(2, 1, 1, 8, 8)
    assert float(missed(-lively, lively, weight)) == pytest.approx(1, abs=1e-4)  # nothing of it shown
    assert float(missed(0.5 * lively, lively, weight)) == pytest.approx(0.25, abs=1e-4)
    assert float(missed(torch.randn(lively.shape), lively, weight)) < 0.1  # wrong by as much, but otherwise
    assert float(missed(torch.ones(lively.shape), torch.zeros(lively.shape), weight)) == 0  # a film without a twin


def test_a_film_that_shows_another_expression_than_its_plan_tells_is_led_back_to_it(monkeypatch):
    backbone, data, seen = small_backbone(motion=3), world(False), []
    films = torch.cat([torch.zeros_like(data.films[:, :3]), data.films], 1)
    calm = films.clone()
    calm[:, 5] = calm[:, 5].mean(1, keepdim=True)
    words, scale = Phrasings(backbone.tokens, [FACTS] * 12, False, 2), latent_scale(backbone)
    batch = take_batch(replace(data, films=films), np.random.default_rng(0), 4, *scale, phrasings=words, calm=calm)
    batch |= {"keep": None, "late": False}
    assert (batch["lively"].flatten(2).abs().amax((0, 2)) > 0).nonzero().flatten().tolist() == [5]
    monkeypatch.setattr(base, "UNPLANNED", 0.0)
    monkeypatch.setattr(base, "training_times", lambda count, late: torch.full((count,), 0.4))

    def loss(answer, expressed=0.0):
        torch.manual_seed(0)
        monkeypatch.setattr(base, "EXPRESSED", expressed)

        def velocity(noisy, t, text, given):
            seen.append(noisy)
            return (noisy - answer) / t.view(-1, 1, 1, 1, 1)

        learner = BaseLearner(backbone, embedder())
        learner.backbone = SimpleNamespace(spec=backbone.spec, embed=backbone.embed, velocity=velocity)
        return float(learner(batch))

    x0 = batch["x0"]
    monkeypatch.setattr(twins, "MISTAKEN", 0.0)
    assert loss(x0) < 1e-6
    monkeypatch.setattr(twins, "MISTAKEN", 1.0)
    assert loss(x0, 1.0) < 1e-6  # who says what the plan tells is right, whatever the film shows
    wrong = (seen[1] - seen[0]) / 0.6
    assert (wrong.flatten(2).abs().amax((0, 2)) > 1e-3).nonzero().flatten().tolist() == [5]
    assert loss(x0 + wrong) > 1e-3  # who repeats what the film shows is not
    assert loss(x0 + wrong, 1.0) > loss(x0 + wrong) + 1e-2  # and an expression that is not shown costs besides


def test_shown_is_a_share_of_what_an_expression_changes():
    """A base that says that a film with noise is clean shows of an expression what is left of it, 1 - t of it where the film shows it."""
    backbone, data = small_backbone(motion=3), world(False)
    films = torch.cat([torch.zeros_like(data.films[:, :3]), data.films], 1)
    calm = films.clone()
    calm[:, 5:] = calm[:, 5:].mean(2, keepdim=True)
    blind = SimpleNamespace(spec=backbone.spec, vae=backbone.vae, read=backbone.read, velocity=lambda x, t, text, given: 0 * x)
    found = twins.shown(blind, embedder(), replace(data, films=films), calm, count=8)
    assert set(found) == {"lively", "calm"} and all(list(table) == ["0.8", "0.6", "0.4", "0.25"] for table in found.values())
    lively, still = (np.array([table[0] for table in found[name].values()]) for name in ("lively", "calm"))
    assert np.allclose(lively - still, [0.2, 0.4, 0.6, 0.75], atol=0.02)


def test_single_frames_have_no_twins():
    backbone, data = small_backbone(), world(True)
    words = Phrasings(backbone.tokens, [FACTS] * 12, True, 2)
    assert take_batch(data, np.random.default_rng(0), 4, *latent_scale(backbone), phrasings=words)["lively"] is None
