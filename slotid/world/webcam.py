"""What a cheap camera does to a film: exposure, low light, blur, noise, blocky compression, and a hand that passes before the face.

Everything is seeded; the same frames, ``Webcam`` and seed give the same bytes.
"""

from __future__ import annotations

import numpy as np

from slotid.types import SlotIDError
from slotid.world.backdrop import _blur
from slotid.world.scene import Webcam

# Luma and chroma quantisation of baseline JPEG (ITU-T T.81, annex K).
_LUMA = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62]
    + [
        18,
        22,
        37,
        56,
        68,
        109,
        103,
        77,
        24,
        35,
        55,
        64,
        81,
        104,
        113,
        92,
        49,
        64,
        78,
        87,
        103,
        121,
        120,
        101,
        72,
        92,
        95,
        98,
        112,
        100,
        103,
        99,
    ],
    np.float32,
).reshape(8, 8)
_CHROMA = np.full((8, 8), 99, np.float32)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_K = np.arange(8)
_DCT = (np.sqrt(np.where(_K == 0, 1, 2) / 8)[:, None] * np.cos((2 * _K[None] + 1) * _K[:, None] * np.pi / 16)).astype(np.float32)
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def compress(frames: np.ndarray, quality: int) -> np.ndarray:
    """Quantise 8x8 blocks as JPEG would at this quality (1..95), chroma at half size. (T, H, W, 3) float32 0..255 in and out."""
    t, h, w, _ = frames.shape
    scale = (5000 / quality if quality < 50 else 200 - 2 * quality) / 100
    ph, pw = -h % 16, -w % 16
    ycc = np.pad(frames, ((0, 0), (0, ph), (0, pw), (0, 0)), mode="edge") @ _YCC.T
    planes = []
    for c in range(3):
        plane = ycc[..., c] - (128 if c == 0 else 0)
        if c:
            plane = plane.reshape(t, plane.shape[1] // 2, 2, plane.shape[2] // 2, 2).mean((2, 4))
        a, b = plane.shape[1] // 8, plane.shape[2] // 8
        table = np.maximum(np.round((_LUMA if c == 0 else _CHROMA) * scale), 1)
        blocks = plane.reshape(t, a, 8, b, 8).transpose(0, 1, 3, 2, 4)
        blocks = _DCT.T @ (np.round(_DCT @ blocks @ _DCT.T / table) * table) @ _DCT
        plane = blocks.transpose(0, 1, 3, 2, 4).reshape(t, a * 8, b * 8)
        planes.append(plane + 128 if c == 0 else plane.repeat(2, 1).repeat(2, 2))
    rgb = np.stack(planes, -1) @ np.linalg.inv(_YCC).T.astype(np.float32)
    return rgb[:, :h, :w]


def _hand(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) 0..1 mask of a hand-like shape in the middle: a palm and four fingers."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    turn = rng.uniform(-0.6, 0.6)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    d = np.hypot(x / 0.15, (y - 0.08) / 0.17) - 1
    for k in range(4):
        lean, length = (k - 1.5) * 0.16, (0.20, 0.25, 0.24, 0.18)[k]
        bx, by = (k - 1.5) * 0.072, 0.0
        ex, ey = np.sin(lean) * length, -np.cos(lean) * length
        t = np.clip(((x - bx) * ex + (y - by) * ey) / (ex * ex + ey * ey), 0, 1)
        d = np.minimum(d, np.hypot(x - bx - t * ex, y - by - t * ey) / 0.036 - 1)
    thumb = np.clip(((x + 0.13) * -0.11 + (y - 0.10) * -0.12) / 0.0265, 0, 1)
    d = np.minimum(d, np.hypot(x + 0.13 + 0.11 * thumb, y - 0.10 + 0.12 * thumb) / 0.042 - 1)
    arm = np.where(y > 0.1, np.abs(x) / 0.095 - 1, 1.0)
    return np.clip(0.5 - np.minimum(d, arm) * 5, 0, 1)


def _cover(frames: np.ndarray, points5: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    t, size = frames.shape[0], frames.shape[1]
    big = 2 * size
    mask = _hand(big, rng)
    edge = np.clip(_blur(mask[..., None], big / 60)[..., 0], 0, 1)
    skin = np.array([214, 164, 136], np.float32) * rng.uniform(0.35, 1.05)
    length = max(int(round(share * t)), 2)
    start = int(rng.integers(0, max(t - length, 0) + 1))
    side = rng.choice([-1.0, 1.0])
    for k in range(length):
        if start + k >= t:
            break
        s = k / max(length - 1, 1)
        centre = points5[start + k].mean(0) + np.array(
            [side * size * 0.45 * (2 * s - 1) * abs(2 * s - 1), size * (0.10 + 0.5 * (2 * s - 1) ** 4)]
        )
        x, y = int(big / 2 - centre[0]), int(big / 2 - centre[1])
        rows, cols = np.clip(np.arange(size) + y, 0, big - 1), np.clip(np.arange(size) + x, 0, big - 1)
        m, e = mask[np.ix_(rows, cols)][..., None], edge[np.ix_(rows, cols)][..., None]
        frames[start + k] = frames[start + k] * (1 - m) + skin * (0.55 + 0.45 * e) * m
    return frames


def degrade(frames: np.ndarray, points5: np.ndarray, webcam: Webcam, seed: int) -> np.ndarray:
    """Film (T, H, W, 3) uint8 as this webcam would have sent it, same shape.

    points5 (T, 5, 2) says where the face is, so that the hand passes before it. Values of ``Webcam`` at 0 change nothing.
    """
    if frames.ndim != 4 or frames.dtype != np.uint8 or len(points5) != len(frames):
        raise SlotIDError(
            f"degrade got frames {frames.shape} {frames.dtype} and {len(points5)} points; give (T, H, W, 3) uint8 and (T, 5, 2)."
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), 3, 9])))
    film = frames.astype(np.float32)
    size = frames.shape[1]
    if webcam.cover > 0:
        film = _cover(film, np.asarray(points5, np.float32), webcam.cover, rng)
    if webcam.blur > 0:
        film = np.stack([_blur(f, webcam.blur * size / 128) for f in film])
    if webcam.exposure or webcam.low_light > 0:
        linear = (film / 255) ** 2.2 * np.float32(2**webcam.exposure * (1 - 0.75 * webcam.low_light))
        film = 255 * np.clip(linear, 0, 1) ** (1 / 2.2)
        if webcam.low_light > 0:  # weak light loses colour
            grey = film.mean(-1, keepdims=True)
            film = film + 0.45 * webcam.low_light * (grey - film)
    noise = webcam.noise + 9 * webcam.low_light
    if noise > 0:
        luma = rng.standard_normal((*film.shape[:3], 1), np.float32)
        colour = rng.standard_normal(film.shape, np.float32)
        film = film + np.float32(noise) * (0.8 * luma + 0.5 * colour) * (1.25 - film / 510)
    if webcam.quality > 0:
        film = compress(film.astype(np.float32), webcam.quality)
    return np.clip(np.round(film), 0, 255).astype(np.uint8)
