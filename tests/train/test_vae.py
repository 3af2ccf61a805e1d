"""The solved VAE: shortcuts of training equal the library bitwise or to rounding, and the closed form does what it claims."""

import numpy as np
import pytest
import torch
from small import small_backbone

from slotid.backbone.stills import StillConvs, frame_by_frame
from slotid.train.pairs import SolvedEncoder
from slotid.train.pictures import picture
from slotid.train.principal import solve_decoder, solve_encoder
from slotid.train.vae import build_vae, decode_unclamped, face_pixels, to_video
from slotid.types import SlotIDError


@pytest.fixture(scope="module")
def stills():
    rng = np.random.default_rng(0)
    return to_video(np.stack([picture(rng, 64) for _ in range(60)])[:, None])


@pytest.fixture(scope="module")
def solved(stills):
    torch.manual_seed(0)
    vae = build_vae(16)
    found = {"encoder": solve_encoder(vae, stills)}
    with StillConvs(vae):
        found["decoder"] = solve_decoder(vae, stills)
    return vae.eval(), found


@torch.no_grad()
def test_still_convolutions_equal_the_library(solved, stills):
    vae, _ = solved
    frame = stills[:4]
    latent = vae._encode(frame)
    film = vae._decode(latent[:, :16]).sample
    with StillConvs(vae):
        assert torch.allclose(vae._encode(frame), latent, atol=1e-4)
        assert torch.allclose(vae._decode(latent[:, :16]).sample, film, atol=1e-4)
    assert torch.equal(vae._encode(frame), latent)  # and they are gone afterwards


@torch.no_grad()
def test_skipping_zero_branches_is_exact(solved, stills):
    vae, _ = solved
    film = torch.cat([stills[k : k + 3] for k in range(5)], 2)
    latent = vae._encode(film)
    with SolvedEncoder(vae):
        assert torch.equal(vae._encode(film), latent)
    assert latent.shape == (3, 32, 5, 4, 4)


@torch.no_grad()
def test_a_film_is_coded_frame_by_frame(solved, stills):
    vae, _ = solved
    film = torch.cat([stills[k : k + 2] for k in range(5)], 2)
    latent = vae._encode(film)[:, :16]
    for at in range(5):
        assert torch.allclose(vae._encode(film[:, :, at : at + 1])[:, :16], latent[:, :, at : at + 1], atol=1e-4)
        assert torch.allclose(vae._decode(latent[:, :, at : at + 1]).sample, vae._decode(latent).sample[:, :, at : at + 1], atol=1e-4)


def test_only_such_a_codec_is_run_frame_by_frame(solved):
    vae, _ = solved
    assert frame_by_frame(vae)
    conv = vae.decoder.mid_block.resnets[0].conv1
    with torch.no_grad():
        kept = conv.weight[:, :, 0].clone()
        conv.weight[0, 0, 0, 0, 0] = 0.1
        assert not frame_by_frame(vae)
        conv.weight[:, :, 0] = kept
    assert not frame_by_frame(small_backbone().vae)


def test_half_precision_keeps_the_head(solved, stills):
    """The signal rides on a constant there: under autocast the picture stays within a hundredth of its range, also where it is light."""
    vae, _ = solved
    with torch.no_grad(), StillConvs(vae):
        latent = vae._encode(stills[:8])[:, :16]
        exact = decode_unclamped(vae, latent)
        with torch.autocast("cpu", torch.bfloat16):
            half = decode_unclamped(vae, latent)
    assert float((half - exact).square().mean().sqrt()) < 0.02


@torch.no_grad()
def test_decode_without_clamp_equals_the_library_inside_it(solved, stills):
    vae, _ = solved
    latent = vae._encode(stills[:2])[:, :16]
    assert torch.equal(decode_unclamped(vae, latent).clamp(-1, 1), vae._decode(latent).sample)


@torch.no_grad()
def test_the_closed_form_keeps_what_principal_components_keep(solved, stills):
    """Against a plain principal component analysis of the same 16x16 blocks, to within 1 dB (two levels instead of one, and the head)."""
    vae, found = solved
    blocks = stills[:, :, 0].reshape(60, 3, 4, 16, 4, 16).permute(0, 2, 4, 1, 3, 5).reshape(-1, 768)
    mean = blocks.mean(0)
    _, _, basis = torch.linalg.svd(blocks - mean, full_matrices=False)
    rest = (blocks - mean) - (blocks - mean) @ basis[:16].T @ basis[:16]
    best = float(-10 * torch.log10((rest / 2).square().mean()))
    assert best - 1.0 < found["encoder"] < best + 3.0
    deviation = vae._encode(stills)[:, :16].std((0, 2, 3, 4))
    assert ((deviation > 0.5) & (deviation < 2)).all()


def test_the_decoder_starts_far_above_a_grey_picture(solved, stills):
    _, found = solved
    grey = stills - stills.mean((0, 2, 3, 4), keepdim=True)
    assert found["decoder"] > float(-10 * torch.log10((grey / 2).square().mean())) + 2


def test_films_are_refused():
    with pytest.raises(SlotIDError, match="expected"):
        solve_encoder(build_vae(16), torch.zeros(2, 3, 4, 64, 64))


def test_pictures_are_varied_and_repeatable():
    a, b = (picture(np.random.default_rng(5), 64) for _ in range(2))
    assert np.array_equal(a, b) and a.dtype == np.uint8
    assert picture(np.random.default_rng(6), 64).std() > 1 and not np.array_equal(a, picture(np.random.default_rng(6), 64))


def test_face_weight_has_mean_one_and_peaks_on_the_face():
    points = np.array([[[70, 40], [58, 40], [64, 50], [68, 58], [60, 58]]], np.float32)
    weight = face_pixels(points, 128)
    assert weight.mean().item() == pytest.approx(1, abs=1e-5)
    peak = np.unravel_index(int(weight.argmax()), (128, 128))
    assert abs(peak[0] - 49) <= 2 and abs(peak[1] - 64) <= 2
