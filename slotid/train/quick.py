"""What makes a training step on a CPU quick: attention in float32 beside bfloat16 matrices, and Muon for the inner matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.train.loop import Plan


@contextmanager
def float_attention() -> Iterator[None]:
    """Scaled dot-product attention computes in float32, whatever autocast says.

    Its backward in bfloat16 is five times slower than in float32 on CPUs (torch 2.13, AVX-512), more than bfloat16 saves elsewhere.
    On other devices nothing changes.
    """
    kept = F.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, *args, **kwargs) -> Tensor:
        if query.device.type != "cpu":
            return kept(query, key, value, *args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return kept(query.float(), key.float(), value.float(), *args, **kwargs).to(query.dtype)

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = kept


MUON_SHARE = 4.0


def muon(module: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024; torch's own) for the matrices inside of transformer blocks, AdamW for all else.

    ``match_rms_adamw`` (Liu et al. 2025, arXiv 2502.16982) scales Muon's steps to AdamW's size; at matrices as small as these that is
    timid (their steps have a spectral norm of 3 rates where speed runs use 0.02 to 0.05), so they take MUON_SHARE times the plan's rate.
    """
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    inner = [p for name, p in trained if p.ndim == 2 and "blocks." in name]
    rest = [p for name, p in trained if not (p.ndim == 2 and "blocks." in name)]
    return [
        torch.optim.Muon(
            [{"params": inner, "share": MUON_SHARE}], lr=plan.lr, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay, fused=True),
    ]
