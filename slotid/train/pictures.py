"""Pictures from nothing: the domain randomisation that teaches the VAE edges, gradients and textures no rendered head has.

A VAE trained on rendered heads alone paints rendered heads over real faces. A fifth of its diet is therefore made of layered
gradients, blobs, strokes and band-limited noise in random colours, after the dead-leaves models of natural image statistics
(Lee, Mumford and Huang 2001, "Occlusion models for natural images").
"""

from __future__ import annotations

import numpy as np


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-1, 1, size, dtype=np.float32)
    return np.meshgrid(line, line)


def noise_field(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
    """A (size, size) field in [-1, 1] whose amplitude falls as frequency ** -slope (natural images: about 1)."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    f[0, 0] = 1.0
    spectrum = (rng.standard_normal(f.shape) + 1j * rng.standard_normal(f.shape)) * f**-slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return np.clip(field / (2.5 * field.std() + 1e-8), -1, 1)


def picture(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """One random picture, (size, size, 3) uint8: dead leaves over a gradient, textured, sometimes blurred by construction."""
    x, y = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (0.5 + 0.5 * np.clip(x * np.cos(angle) + y * np.sin(angle), -1, 1))[..., None]
    canvas = rng.random(3, dtype=np.float32) * ramp + rng.random(3, dtype=np.float32) * (1 - ramp)
    for _ in range(rng.integers(3, 16)):
        cx, cy = rng.uniform(-1, 1, 2)
        turn = rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = -(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)
        a = np.exp(rng.uniform(np.log(0.03), np.log(0.7)))
        b = a * np.exp(rng.uniform(np.log(0.15), 0))
        power = rng.choice([2.0, 2.0, 6.0])  # ellipse or soft box
        distance = (np.abs(u / a) ** power + np.abs(v / b) ** power) ** (1 / power) - 1
        edge = np.exp(rng.uniform(np.log(0.01), np.log(0.3)))
        mask = np.clip(0.5 - distance * b / (edge * 0.3 + 0.02), 0, 1)[..., None].astype(np.float32)
        leaf = rng.random(3, dtype=np.float32)
        if rng.random() < 0.5:  # shaded like a round thing
            leaf = leaf * (1 + 0.6 * np.clip(u / a * np.cos(angle) + v / b * np.sin(angle), -1, 1)[..., None])
        if rng.random() < 0.3:  # striped like hair or cloth
            leaf = leaf * (1 + rng.uniform(0.1, 0.5) * np.sin(v * rng.uniform(10, 90) + rng.uniform(0, 6))[..., None])
        canvas = canvas * (1 - mask) + leaf * mask
    if rng.random() < 0.6:
        canvas = canvas + rng.uniform(0.02, 0.25) * noise_field(rng, size, rng.uniform(0.6, 1.6))[..., None] * rng.uniform(0.6, 1.0, 3)
    gain, lift = rng.uniform(0.5, 1.2), rng.uniform(-0.1, 0.15)
    return (np.clip(canvas * gain + lift, 0, 1) * 255).astype(np.uint8)
