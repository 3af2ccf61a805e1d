"""Laws 6 and 9: optimal transport of tokens to slots, and what the order of frames may do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import clip_tensors, small_backbone, small_face, small_method

from slotid.identity.sinkhorn import marginal_error, sinkhorn


def problem(batch=3, tokens=40, slots=5, seed=0, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    cost = spread * torch.rand(batch, tokens, slots, generator=g)
    a = torch.softmax(torch.randn(batch, tokens, generator=g), 1)
    b = torch.softmax(torch.randn(batch, slots, generator=g), 1)
    return cost, a, b


@pytest.mark.parametrize("log_space", [False, True])
@pytest.mark.parametrize("tau", [0.05, 0.15, 1.0])
def test_law_6_equals_pot(log_space, tau):
    ot = pytest.importorskip("ot")
    cost, a, b = problem()
    ours = sinkhorn(cost, a, b, tau, 600, log_space).double().numpy()
    for i in range(len(cost)):
        wa, wb = a[i].double(), b[i].double()
        theirs = ot.sinkhorn(
            (wa / wa.sum()).numpy(), (wb / wb.sum()).numpy(), cost[i].double().numpy(), tau, numItermax=5000, stopThr=1e-12
        )
        assert np.abs(ours[i] - theirs).max() < 2e-6


def test_law_6_equals_pot_after_as_many_iterations_in_batches():
    batch = pytest.importorskip("ot.batch")
    cost, a, b = problem(batch=4, tokens=64, slots=8)
    theirs = batch.solve_batch(cost.double(), 0.15, a.double(), b.double(), max_iter=3000, tol=1e-12).plan
    assert (sinkhorn(cost, a, b, 0.15, 300).double() - theirs).abs().max() < 1e-6


def test_law_6_both_forms_agree_where_the_fast_one_is_promised():
    for spread in (1.0, 2.0, 6.0):  # cost/tau up to 40
        cost, a, b = problem(spread=spread, seed=int(spread))
        assert (sinkhorn(cost, a, b, 0.15, 8) - sinkhorn(cost, a, b, 0.15, 8, log_space=True)).abs().max() < 1e-6


def test_law_6_marginals_hold():
    cost, a, b = problem()
    plan = sinkhorn(cost, a, b, 0.15, 200)
    assert (plan.sum(1) - b).abs().max() < 1e-6 and (plan.sum(2) - a).abs().max() < 1e-5 and (plan >= 0).all()
    rough = sinkhorn(cost, a, b, 0.05, 1)
    assert (rough.sum(1) - b).abs().max() < 1e-6, "the slots' side is exact after any number of iterations"
    assert marginal_error(rough, a, b).min() > 10 * marginal_error(plan, a, b).max()
    by_hand = (rough.sum(2) - a).abs().sum(1) / 2
    assert torch.allclose(marginal_error(rough, a, b), by_hand, atol=1e-6)


@pytest.mark.parametrize("log_space", [False, True])
def test_law_6_hidden_tokens_get_exactly_no_mass_and_cannot_matter(log_space):
    cost, a, b = problem()
    a[:, 10:20] = 0
    a = a / a.sum(1, keepdim=True)
    plan = sinkhorn(cost, a, b, 0.15, 30, log_space)
    assert (plan[:, 10:20] == 0).all() and torch.isfinite(plan).all()
    cost[:, 10:20] = 1e3 * torch.rand(3, 10, 5)
    assert torch.equal(sinkhorn(cost, a, b, 0.15, 30, log_space), plan)


@pytest.mark.parametrize("log_space", [False, True])
def test_law_6_gradients_match_finite_differences(log_space):
    g = torch.Generator().manual_seed(5)
    cost, a, b = problem(1, 6, 3, seed=5)
    a[0, 2] = 0
    weight = torch.randn(1, 6, 3, generator=g)
    cost.requires_grad_(True)
    (sinkhorn(cost, a, b, 0.3, 20, log_space) * weight).sum().backward()
    assert torch.isfinite(cost.grad).all() and (cost.grad[0, 2] == 0).all()
    for i, j in [(0, 0), (3, 2), (5, 1)]:
        step = torch.zeros_like(cost)
        step[0, i, j] = 1e-2
        with torch.no_grad():
            up, down = (float((sinkhorn(cost + s, a, b, 0.3, 20, log_space) * weight).sum()) for s in (step, -step))
        assert abs((up - down) / 2e-2 - float(cost.grad[0, i, j])) < 2e-3


@pytest.mark.parametrize("log_space", [False, True])
def test_law_6_permuting_tokens_permutes_the_plan(log_space):
    cost, a, b = problem()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    moved = sinkhorn(cost[:, order], a[:, order], b, 0.15, 8, log_space)
    assert torch.allclose(moved, sinkhorn(cost, a, b, 0.15, 8, log_space)[:, order], atol=1e-7)


def test_law_6_permuting_frames_permutes_the_encoder_s_plan():
    method = small_method(ordered=False)
    latents, seconds, seen, anchor = clip_tensors(batch=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        one = method.encode(latents, seconds, seen, anchor)
        two = method.encode(latents[:, order], seconds, seen, torch.tensor([1]))  # frame 0 now stands at place 1
    assert torch.allclose(two.plans[-1], one.plans[-1][:, :, order], atol=1e-6)
    assert one.plans[-1].std() > 1e-4  # a constant plan would pass anything


def test_law_6_hidden_frames_get_zero_mass_and_leave_no_trace():
    method = small_method()
    latents, seconds, seen, anchor = clip_tensors()
    seen[:, 3] = False
    with torch.no_grad():
        one = method.encode(latents, seconds, seen, anchor)
        latents[:, 3] = 100 * torch.randn_like(latents[:, 3])
        two = method.encode(latents, seconds, seen, anchor)
    for plan in one.plans:
        assert (plan[:, :, 3] == 0).all() and (plan[:, :, 2] > 0).all()
    assert torch.equal(one.slots, two.slots) and torch.equal(one.gates, two.gates)


def codes_of(ordered: bool):
    """Codes of a track, of the same track with its frames shuffled under the same clock, and of another person's."""
    backbone, method = small_backbone(), small_method(ordered=ordered)
    face = small_face(frames=12)
    best = int(np.argmin(np.abs(face.quality.yaw)))
    order = np.random.default_rng(1).permutation(12)
    crops = face.crops[order]
    quality = replace(face.quality, yaw=face.quality.yaw[order])  # the anchor follows its picture
    shuffled = replace(face, crops=crops, quality=quality)
    codes = [method.remember(f, backbone.to_latent) for f in (face, shuffled, small_face(7))]
    assert codes[0].shown["anchor_frame"] == best and order[codes[1].shown["anchor_frame"]] == best
    return method, codes


def difference(one, two) -> float:
    return max(float((one.tensors[k] - two.tensors[k]).abs().max()) for k in ("slots", "gates"))


@pytest.mark.parametrize("ordered", [True, False])
def test_law_9_a_shuffled_track_gives_the_same_code_if_and_only_if_the_method_says_so(ordered):
    method, (code, shuffled, other) = codes_of(ordered)
    assert method.ordered is ordered
    assert difference(code, other) > 1e-3
    if ordered:
        assert difference(code, shuffled) > 1e-3
    else:
        assert difference(code, shuffled) < 1e-5
    assert torch.allclose(code.tensors["anchors"], shuffled.tensors["anchors"], atol=1e-6), "the still look has no order"


def test_law_9_speed_is_visible_through_true_seconds():
    backbone, face = small_backbone(), small_face(frames=12)
    slow = replace(face, seconds=face.seconds * 1.7)
    for ordered in (True, False):
        method = small_method(ordered=ordered)
        gap = difference(method.remember(face, backbone.to_latent), method.remember(slow, backbone.to_latent))
        assert (gap > 1e-3) if ordered else (gap < 1e-5)
