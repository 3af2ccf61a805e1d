"""Laws 7, 8 and 2: the walk lands where calculus says, guidance is an average, strength 0 is nobody."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import small_backbone, small_face, small_studio, stir

from slotid import flow
from slotid.generate import Studio, _Forwards, generate
from slotid.guidance import ATTENTION_WITHIN, PLAN_KNOWN, guided, three_streams, two_streams, with_attention, with_plan
from slotid.identity.method import Method
from slotid.types import Conditioning, Request, Result, SlotIDError, Stream


def land(field, x, steps, method="second", shift=1.0):
    *_, (_, end, _) = flow.walk(x, field, flow.times(steps, shift), method)
    return end


def test_law_7_path_and_inverse():
    g = torch.Generator().manual_seed(0)
    x0, noise, t = torch.randn(4, 3, 2, generator=g), torch.randn(4, 3, 2, generator=g), torch.rand(4, generator=g)
    x, v = flow.at(x0, noise, t), flow.target(x0, noise)
    assert torch.allclose(flow.clean(x, v, t), x0, atol=1e-6) and torch.allclose(flow.noise_of(x, v, t), noise, atol=1e-6)
    assert torch.equal(flow.at(x0, noise, 0.0), x0) and torch.equal(flow.at(x0, noise, 1.0), noise)
    step = 1e-3
    slope = (flow.at(x0, noise, t + step) - flow.at(x0, noise, t - step)) / (2 * step)
    assert torch.allclose(slope, v, atol=1e-3), "the target is the path's derivative"


def test_law_7_noise_is_standard_around_a_mean_that_tells_places():
    plain = torch.randn((4000, 20, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    code = flow.place_code(20, (4, 4), 0.5)
    drawn = flow.placed(plain, 0.5)
    assert torch.allclose(drawn.mean(0)[None], code, atol=0.08)
    assert torch.allclose(drawn - code, flow.placed(plain, 0.0), atol=1e-6), "only the mean moves"
    assert (code[:, :5] == 0).all() and torch.allclose(code[0, 5:].square().mean((1, 2, 3)).sqrt(), torch.tensor(0.5))
    waves = code[0, 5:, 0].flatten(1)
    assert torch.allclose(waves @ waves.T, 16 * 0.25 * torch.eye(15), atol=1e-5), "each channel tells something of its own"
    apart = torch.cdist(waves.T, waves.T) + 9 * torch.eye(16)
    assert apart.min() > 1.9, "no two places look alike"


def test_law_7_shared_noise_tells_what_its_cells_would_together():
    plain = torch.randn((2000, 6, 2, 4, 4), generator=torch.Generator().manual_seed(0))
    drawn = flow.placed(plain, 0.0, shared=2)
    assert torch.equal(drawn[:, 2:], plain[:, 2:]) and torch.equal(flow.placed(plain, 0.0), plain)
    assert torch.equal(drawn[:, :2], drawn[:, :2, :, :1, :1].expand(-1, -1, -1, 4, 4)), "the same in every cell of a frame"
    assert torch.allclose(drawn[:, :2].mean((3, 4)), plain[:, :2].mean((3, 4)), atol=1e-6)
    assert drawn[:, :2].std() == pytest.approx(1 / 4, rel=0.05)
    ahead = flow.placed(plain, 0.0, shared=2, ahead=3.0)
    assert torch.allclose(ahead[:, :2], drawn[:, :2] / 3) and torch.equal(ahead[:, 2:], drawn[:, 2:]), "it alone is settled earlier"
    both = flow.placed(plain, 0.5, shared=2)
    assert torch.allclose(both - flow.place_code(6, (4, 4), 0.5), drawn, atol=1e-6)


def test_law_7_a_place_code_fits_any_size_and_few_channels():
    large, small = flow.place_code(48, (16, 24), 1.0), flow.place_code(48, (8, 12), 1.0)
    halved = torch.nn.functional.avg_pool2d(large[:, :, 0], 2)[:, :, None]
    assert torch.allclose(halved, small, atol=0.15), "a place in the picture is told alike at another resolution"
    assert flow.place_code(8, (2, 2), 0.5).isfinite().all() and (flow.place_code(8, (4, 4), 0.5) != 0).flatten(2).any(2).all()


@pytest.mark.parametrize("place", [0.0, 0.5])
def test_law_7_alike_tokens_stay_alike_unless_the_noise_tells_places(place):
    """Why ``place_code`` is there: rotary embedding knows distances, not places."""
    backbone = small_backbone(3)
    stir(backbone.transformer)
    x, text = flow.place_code(8, (4, 4), place).repeat(1, 1, 3, 1, 1), backbone.read(["a man talks"])
    with torch.no_grad():
        tokens = flow.clean(x, backbone.velocity(x, 1.0, text), 1.0)[0, :, :, ::2, ::2]
    spread = (tokens - tokens.mean((1, 2, 3), keepdim=True)).abs().max()
    assert spread > 1e-2 if place else spread < 1e-5, float(spread)


@pytest.mark.parametrize("method", ["euler", "second"])
def test_law_7_a_straight_field_lands_exactly_in_any_number_of_steps(method):
    x0, noise = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    for steps, shift in [(1, 1.0), (3, 3.0), (16, 5.0)]:
        assert torch.allclose(land(lambda x, t: noise - x0, noise, steps, method, shift), x0, atol=1e-12)


def test_law_7_a_growing_field_lands_where_calculus_says():
    """dx/dt = x + t from t = 1 to 0: x(0) = (x(1) + 2) / e - 1. Errors fall with the order of the walk."""
    x1 = torch.tensor([1.5], dtype=torch.float64)
    exact = (x1 + 2) / np.e - 1

    def error(method, steps, shift):
        return float((land(lambda x, t: x + t, x1, steps, method, shift) - exact).abs())

    for shift in (1.0, 3.0):
        assert 1.8 < error("euler", 40, shift) / error("euler", 80, shift) < 2.2
        assert 3.5 < error("second", 40, shift) / error("second", 80, shift) < 4.5
    assert error("second", 16, 3.0) < error("euler", 16, 3.0) / 4


def test_law_7_gaussian_data_are_transported_exactly():
    """For data N(m, s^2) the marginal velocity is known and the flow is linear: noise e ends at m + s e."""
    m, s = 0.7, 0.4
    e = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def field(x, t):
        variance = ((1 - t) * s) ** 2 + t**2
        clean = m + (1 - t) * s**2 / variance * (x - (1 - t) * m)
        noise = t / variance * (x - (1 - t) * m)
        return noise - clean

    assert (land(field, e, 400) - (m + s * e)).abs().max() < 2e-4
    coarse = {method: float((land(field, e, 16, method, 3.0) - (m + s * e)).abs().max()) for method in ("euler", "second")}
    assert coarse["second"] < coarse["euler"] / 4 and coarse["second"] < 0.03, "the walk that the films use, in 16 steps"


@pytest.mark.parametrize("method", ["euler", "second"])
def test_law_7_a_method_that_knows_the_clean_latent_is_obeyed(method):
    """refine() replaces the estimated clean latent, and the walk ends there; leaving it alone changes nothing."""
    noise, wrong, right = (torch.randn(3, dtype=torch.float64) for _ in range(3))
    steps = list(flow.walk(noise, lambda x, t: noise - wrong, flow.times(6, 3.0), method, refine=lambda x0, t: right))
    assert torch.allclose(steps[-1][1], right, atol=1e-9) and all(torch.equal(x0, right) for _, _, x0 in steps)
    left = list(flow.walk(noise, lambda x, t: noise - wrong, flow.times(6, 3.0), method, refine=lambda x0, t: x0))
    assert torch.equal(left[-1][1], land(lambda x, t: noise - wrong, noise, 6, method, 3.0))


def test_law_7_times_fall_from_one_to_zero():
    for steps, shift in [(1, 3.0), (16, 1.0), (50, 5.0)]:
        t = flow.times(steps, shift)
        assert len(t) == steps + 1 and t[0] == 1 and t[-1] == 0 and (t.diff() < 0).all()
    assert flow.times(2, 3.0)[1] == pytest.approx(0.75)  # 3 * 0.5 / (1 + 2 * 0.5)


def test_law_7_training_times_follow_their_law():
    t = flow.sample_times(20000, 3.0, torch.Generator().manual_seed(0))
    assert 0 < t.min() and t.max() < 1
    assert float((t < 0.75).float().mean()) == pytest.approx(0.5, abs=0.02)  # the median of the logit-normal is 0.5, shifted to 0.75


def test_law_7_loss_and_its_weight():
    v = torch.zeros(2, 3, 4)
    p = torch.ones(2, 3, 4)
    p[0] = 3
    assert float(flow.loss(p, v)) == pytest.approx(5.0)
    weight = torch.ones(2, 1, 1)
    weight[0] = 0
    assert float(flow.loss(p, v, weight)) == pytest.approx(1.0)
    assert float(flow.loss(p, v, 7 * torch.ones(1))) == pytest.approx(5.0)


@pytest.mark.parametrize("text", [1.0, 2.5, 7.0])
@pytest.mark.parametrize("identity", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.0])
def test_law_8_weights_sum_to_one_and_a_constant_field_passes(text, identity, strength):
    streams = three_streams(text, identity, strength)
    assert sum(s.weight for s in streams) == pytest.approx(1.0, abs=1e-9)
    constant = torch.randn(3)
    assert torch.allclose(guided(streams, lambda group: [constant] * len(group)), constant, atol=1e-5)


def test_law_8_equals_the_nested_formula():
    v = {(False, False): torch.randn(4), (False, True): torch.randn(4), (True, True): torch.randn(4)}
    g_t, g_i, s = 3.0, 1.7, 0.6
    got = guided(three_streams(g_t, g_i, s), lambda group: [v[x.text, x.identity] for x in group])
    none, person, both = v[False, False], v[False, True], v[True, True]
    assert torch.allclose(got, none + s * g_i * (person - none) + g_t * (both - person), atol=1e-5)


def test_law_8_streams_of_no_weight_are_dropped_and_the_rest_share_forwards():
    assert three_streams(4.0, 2.0, 0.0) == two_streams(4.0) == [Stream(-3.0, False, False), Stream(4.0, True, False)]
    assert two_streams(1.0) == [Stream(1.0, True, False)]
    assert three_streams(1.0, 1.0, 1.0) == [Stream(1.0, True, True)]
    groups = []
    guided(three_streams(4.0, 2.0), lambda group: groups.append(len(group)) or [torch.zeros(1)] * len(group))
    assert groups == [1, 2]


def film(studio, **wish) -> Result:
    *_, result = generate(
        studio, Request(**({"prompt": "a man talks", "reference": None, "steps": 3, "likeness": False, "preview_every": 0} | wish))
    )
    return result


def test_law_2_strength_zero_equals_no_identity_bitwise():
    studio, face = small_studio(), small_face()
    nobody = film(studio).clip.frames
    assert np.array_equal(film(studio, reference=face, strength=0.0).clip.frames, nobody)
    assert np.array_equal(film(studio, reference=face, strength=0.0, identity_guidance=5.0, slot_gain=(2.0,) * 8).clip.frames, nobody)
    assert np.array_equal(film(Studio(studio.backbone, Method()), reference=face).clip.frames, nobody), "method 'none' is nobody too"
    somebody = film(studio, reference=face, strength=1.0).clip.frames
    assert not np.array_equal(somebody, nobody)
    assert not np.array_equal(film(studio, reference=face, strength=0.5).clip.frames, somebody)


def test_law_2_streams_together_or_one_by_one_make_the_same_film():
    studio, face = small_studio(), small_face()
    apart = Studio(studio.backbone, studio.method, together=False)
    one, two = (film(s, reference=face).clip.frames.astype(int) for s in (studio, apart))
    assert np.abs(one - two).max() <= 1


@pytest.mark.parametrize("streams", [two_streams(3.0), three_streams(3.0, 3.0), three_streams(4.0, 1.5, 0.5), two_streams(1.0)])
def test_law_8_guidance_by_the_plan_is_an_average_too(streams):
    assert with_plan(streams, 0.0) == streams == with_plan(streams, 1.5, PLAN_KNOWN)
    planned = with_plan(streams, 1.5)
    assert sum(s.weight for s in planned) == pytest.approx(1.0, abs=1e-9)
    assert planned[-1] == Stream(-1.5, streams[-1].text, streams[-1].identity, planned=False) and all(s.planned for s in planned[:-1])
    constant = torch.randn(3)
    assert torch.allclose(guided(planned, lambda group: [constant] * len(group)), constant, atol=1e-5)


def latents_of(backbone, steps, **guidance):
    """What is decoded of a film without this guidance, with it, and with it stream by stream."""
    found = []
    for weight, together in ((0.0, True), (1.0, True), (1.0, False)):
        backbone.spec = replace(backbone.spec, **{name: weight * value for name, value in guidance.items()})
        seen = []
        kept, backbone.to_pixels = backbone.to_pixels, lambda x: seen.append(x) or kept(x)  # noqa: B023
        film(Studio(backbone, Method(), together=together), steps=steps)
        backbone.to_pixels = kept
        found.append(seen[-1])
    return found


def test_law_8_what_a_plan_changes_is_drawn_more_and_the_plan_itself_is_left_alone():
    """Of one step: channels of motion move as without this guidance, those of the picture do not."""
    backbone = small_backbone(3, motion=3)
    with torch.no_grad():
        backbone.transformer.patch_embedding.weight[:, :3] *= 20  # the plan is heard
    plain, planned, apart = latents_of(backbone, 2, plan_guidance=2.0)
    assert torch.allclose(plain[:, :3], planned[:, :3], atol=1e-4)
    assert (plain[:, 3:] - planned[:, 3:]).abs().max() > 1e-2
    assert torch.allclose(planned, apart, atol=1e-3)


@pytest.mark.parametrize("streams", [two_streams(3.0), three_streams(3.0, 3.0), three_streams(4.0, 1.5, 0.5), two_streams(1.0)])
def test_law_8_guidance_by_attention_is_an_average_too(streams):
    low, high = ATTENTION_WITHIN
    for asked in (streams, with_plan(streams, 0.5)):
        assert with_attention(asked, 0.0) == asked == with_attention(asked, 0.5, low - 0.01) == with_attention(asked, 0.5, high + 0.01)
        found = with_attention(asked, 0.5)
        assert sum(s.weight for s in found) == pytest.approx(1.0, abs=1e-9)
        perturbed = [s for s in found if not s.attentive]
        assert perturbed == [Stream(-0.5, streams[-1].text, streams[-1].identity, attentive=False)]  # beside what is told the most
        assert len(found) == len(asked) + 1


def test_law_8_attention_that_is_perturbed_changes_the_picture_and_leaves_the_plan_and_the_backbone_alone():
    backbone = small_backbone(3, motion=3)
    x, text = torch.randn(1, backbone.spec.channels, 3, 4, 4), backbone.read(["a person smiles"])
    before = backbone.velocity(x, 0.5, text)
    for block in range(backbone.spec.depth):
        with backbone.perturbed(block):
            assert (backbone.velocity(x, 0.5, text) - before).abs().max() > 1e-4
    assert torch.equal(backbone.velocity(x, 0.5, text), before)
    for context in (backbone.perturbed, backbone.begun):
        with pytest.raises(SlotIDError, match="has blocks 0 to"), context(backbone.spec.depth):
            pass
    alone = torch.randn(1, 1, backbone.spec.width)
    attention = backbone.transformer.blocks[0].attn1
    whole = attention(alone)  # a token that is alone attends to itself as it is
    with backbone.perturbed(0):
        assert torch.allclose(attention(alone), whole, atol=1e-5)
    plain, drawn, apart = latents_of(backbone, 4, attention_guidance=1.0)
    assert (plain[:, 3:] - drawn[:, 3:]).abs().max() > 1e-2
    assert torch.allclose(drawn, apart, atol=1e-3)
    forwards = _Forwards(Studio(backbone, Method()), *backbone.read(["", "a person smiles"]).split(1), Conditioning(), torch.Generator())
    plain, drawn = (forwards.guided(streams, x, 0.5) for streams in (two_streams(2.0), with_attention(two_streams(2.0), 1.0)))
    assert torch.allclose(plain[:, :3], drawn[:, :3], atol=1e-4) and (plain[:, 3:] - drawn[:, 3:]).abs().max() > 1e-3


def test_law_8_perturbed_attention_may_begin_where_the_plain_forward_of_the_same_film_stood():
    backbone = small_backbone(3, motion=3)
    x, text = torch.randn(1, backbone.spec.channels, 3, 4, 4), backbone.read(["a person smiles"])
    ran = []
    for number, block in enumerate(backbone.transformer.blocks):
        block.attn2.register_forward_hook(lambda *_, number=number: ran.append(number))
    for block in range(backbone.spec.depth):
        with backbone.begun(block) as kept:
            plain = backbone.velocity(x, 0.5, text)
        assert len(kept) == 1 and kept[0].shape[0] == 1
        with backbone.perturbed(block):
            whole = backbone.velocity(x, 0.5, text)
        ran.clear()
        with backbone.perturbed(block, kept[0]):
            assert torch.equal(backbone.velocity(x, 0.5, text), whole)
        assert ran == list(range(block, backbone.spec.depth))
        assert torch.equal(backbone.velocity(x, 0.5, text), plain) and len(kept) == 1


def test_law_7_a_film_without_its_plan_tells_nothing_of_it_and_all_of_the_picture():
    x = torch.ones(2, 5, 3, 4, 4)
    empty = flow.unplanned(x, 2, torch.Generator().manual_seed(0))
    assert torch.equal(empty[:, 2:], x[:, 2:]) and empty[:, :2].std() == pytest.approx(1, abs=0.1) and abs(float(empty[:, :2].mean())) < 0.2
    assert torch.equal(empty, flow.unplanned(x, 2, torch.Generator().manual_seed(0))) and torch.equal(flow.unplanned(x, 0), x)


def test_law_7_a_finished_film_trembles_less_and_only_where_it_is_asked():
    film = torch.randn(2, 4, 9, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flow.finished(film, None), film)
    done = flow.finished(film, (1.0, 1.0, 1.0, 1.5), steady=1, shared=1)
    assert torch.equal(done[:, [0, 2]], film[:, [0, 2]]) and torch.allclose(done[:, 3], 1.5 * film[:, 3])
    assert done[:, 1].diff(n=2, dim=1).square().mean() < 0.2 * film[:, 1].diff(n=2, dim=1).square().mean()
    line = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(1, 2, 7, 4, 4)
    assert torch.allclose(flow.steadied(line)[:, :, 1:-1], line[:, :, 1:-1]), "what moves evenly is left as it is"
    one = torch.randn(1, 2, 1, 4, 4)
    assert torch.allclose(flow.steadied(one), one), "a single moment has nothing to tremble against"
