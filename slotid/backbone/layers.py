"""How a Conditioning enters a Wan transformer: tokens before the text, positions, clean references."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slotid.types import Conditioning, SlotIDError


@dataclass(frozen=True)
class Reference:
    """Clean latents beside the noisy video. ``see`` says what they may look at.

    "itself": references attend only to one another (Stand-In, arXiv 2508.07901), so they do not depend on the video.
    "all": references and video attend to each other (ST-DRC, arXiv 2606.02441).
    """

    latents: Tensor  # (B, C, R, h, w) normalised, clean
    offset: tuple[float, float, float]  # (t, h, w) position of the first token, in tokens; may be negative or fractional
    see: str = "itself"


@dataclass(frozen=True)
class ReferenceImages:
    """Pictures of the person for a backbone with control blocks (VACE, arXiv 2503.07598), as ``Conditioning.residual``."""

    images: np.ndarray  # (n, H, W, 3) uint8 RGB, n >= 1
    scale: float  # of the control blocks' residuals, 0 to 2
    grid: tuple[int, int, int]  # the film's latent (T', h, w), reference frames not counted


def refuse_unknown(given: Conditioning, supported: tuple[str, ...], name: str) -> None:
    """Refuse, by name, what a backbone cannot obey; ignoring it silently would make a film without the person."""
    asked = [field for field in ("context", "reference", "cross", "residual", "patch") if getattr(given, field) is not None]
    extra = [field for field in asked if field not in supported]
    if extra:
        raise SlotIDError(
            f"The conditioning asks for '{', '.join(extra)}', which backbone '{name}' cannot do; it can do {', '.join(supported)}. "
            "Choose another method or backbone."
        )


def put_before(context: Tensor | None, text: Tensor) -> Tensor:
    """Identity tokens before the text tokens, [context, text] along the token axis; the text itself when there is none.

    ``context`` (B or 1, N, W), ``text`` (B, L, W).
    """
    if context is None or context.shape[1] == 0:
        return text
    if context.shape[-1] != text.shape[-1]:
        raise SlotIDError(
            f"The identity tokens are {context.shape[-1]} wide, the backbone's text tokens {text.shape[-1]}; "
            "use the identity weights that were trained for this backbone."
        )
    return torch.cat([context.to(text).expand(text.shape[0], -1, -1), text], dim=1)


def grid_positions(grid: tuple[int, int, int], offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    """Positions (T*h*w, 3) float64 of a token grid, row-major, shifted by ``offset``."""
    axes = [torch.arange(n, dtype=torch.float64) + o for n, o in zip(grid, offset, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def rotary(positions: Tensor, head_dim: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Rotary cosines and sines (1, N, 1, head_dim) float32 at *real* positions (N, 3) (t, h, w), as Wan lays them out.

    Wan keeps a table for 0..1023 in which -1 silently reads the last row; a reference at t = -1 needs the real thing.
    Equal to the table, bitwise, at integers.
    """
    h = w = 2 * (head_dim // 6)
    cosines, sines = [], []
    for axis, dim in enumerate((head_dim - h - w, h, w)):
        frequency = 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim))
        angle = torch.outer(positions[:, axis].double(), frequency)
        cosines.append(angle.cos().repeat_interleave(2, dim=1).float())
        sines.append(angle.sin().repeat_interleave(2, dim=1).float())
    return torch.cat(cosines, 1)[None, :, None], torch.cat(sines, 1)[None, :, None]


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of channels of (B, N, heads, D) by the angles of ``rotary``."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    c, s = cos[..., 0::2], sin[..., 1::2]
    return torch.stack([even * c - odd * s, even * s + odd * c], dim=-1).flatten(-2).type_as(x)


def keys_values(block, hidden: Tensor, time: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Self-attention keys and values (B, M, heads, D) that a Wan block makes of reference tokens (B, M, width)."""
    attention = block.attn1
    shift, scale = (block.scale_shift_table + time.float()).chunk(6, dim=1)[:2]
    normed = (block.norm1(hidden.float()) * (1 + scale) + shift).type_as(hidden)
    keys = attention.norm_k(attention.to_k(normed)).unflatten(2, (attention.heads, -1))
    return turn(keys, *rope), attention.to_v(normed).unflatten(2, (attention.heads, -1))


def block_with_reference(block, hidden: Tensor, text: Tensor, time: Tensor, rope, reference: tuple[Tensor, Tensor]) -> Tensor:
    """One Wan block whose self-attention also reads the keys and values of the reference.

    A mask over [video, reference] would cost memory in the square of the tokens and switch flash attention off; the
    reference has its own call of the block instead and only its keys and values come here.
    """
    attention = block.attn1
    shift, scale, gate, f_shift, f_scale, f_gate = (block.scale_shift_table + time.float()).chunk(6, dim=1)
    normed = (block.norm1(hidden.float()) * (1 + scale) + shift).type_as(hidden)
    query = turn(attention.norm_q(attention.to_q(normed)).unflatten(2, (attention.heads, -1)), *rope)
    keys = turn(attention.norm_k(attention.to_k(normed)).unflatten(2, (attention.heads, -1)), *rope)
    values = attention.to_v(normed).unflatten(2, (attention.heads, -1))
    keys, values = torch.cat([keys, reference[0]], 1), torch.cat([values, reference[1]], 1)
    out = F.scaled_dot_product_attention(query.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2))
    out = attention.to_out[1](attention.to_out[0](out.transpose(1, 2).flatten(2)))
    hidden = (hidden.float() + out * gate).type_as(hidden)
    hidden = hidden + block.attn2(block.norm2(hidden.float()).type_as(hidden), text, None, None)
    normed = (block.norm3(hidden.float()) * (1 + f_scale) + f_shift).type_as(hidden)
    return (hidden.float() + block.ffn(normed).float() * f_gate).type_as(hidden)
