"""Between what cameras and files hold and what networks take: pictures in bytes, and floats in [-1, 1] with channels before rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def signed(pictures: np.ndarray) -> Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, -3).float() / 127.5 - 1


def in_bytes(x: Tensor) -> np.ndarray:
    """(..., 3, H, W), clipped to [-1, 1] -> uint8 (..., H, W, 3)."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).cpu().numpy()
