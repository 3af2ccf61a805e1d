"""Real films through the VAE and back."""

from pathlib import Path

import numpy as np
import pytest
from small import small_backbone

from slotid.backbone.registry import open_backbone
from slotid.clip import read_clip
from slotid.evaluate.reconstruction import psnr, reconstruction, through_vae
from slotid.train.vae import inflate

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_psnr_of_a_known_error():
    film = np.full((3, 8, 8, 3), 100, np.uint8)
    assert psnr(film, film + 10) == pytest.approx(20 * np.log10(255 / 10)) and psnr(film, film) == pytest.approx(100)


def test_a_film_is_cut_to_what_the_vae_reads():
    backbone, film = small_backbone(), np.random.default_rng(0).integers(0, 256, (11, 64, 48, 3), dtype=np.uint8)
    back = through_vae(backbone, film)
    assert back.shape == (9, 64, 48, 3) and 0 <= back.min() < back.max() <= 255
    assert through_vae(backbone, film[:, :60]) is None and reconstruction(backbone, film[:, :60]) is None
    still = small_backbone(time=1)
    inflate(still.vae)
    frozen = reconstruction(still, np.repeat(film[:1], 5, axis=0))
    assert frozen["flicker"] == frozen["flicker_real"] == 0, "where time is left alone, what stands still stands still"


def test_the_embedded_vae_keeps_films_of_its_world():
    found = reconstruction(open_backbone("tiny"), read_clip(EXAMPLES / "beard" / "reference.mp4").frames[:6])
    assert found["psnr"] > 28 and found["flicker"] < 1.5 * found["flicker_real"]
