"""What makes a training step on a CPU quick: attention in float32 beside bfloat16 matrices, and Muon for the inner matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.train.loop import Plan, multiplies_bfloat16


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


class StackedMuon(torch.optim.Muon):
    """torch.optim.Muon with the matrices of one shape stacked, as ``muon`` asks for it: on a card a hundred small matrices one after the
    other take as long as the rest of a step. Where bfloat16 is only imitated it multiplies in float32, which the library's does not: its
    step of the tiny base took 28 s there."""

    def __init__(self, params, **options):
        super().__init__(params, **options)
        self.kind = torch.bfloat16 if multiplies_bfloat16() else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, alike in shapes.items():
                self._step(group, alike, 0.2 * max(shape) ** 0.5)  # match_rms_adamw

    def _step(self, group: dict, alike: list[Tensor], share: float) -> None:
        for p in alike:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        grads, kept = [p.grad for p in alike], [self.state[p]["momentum_buffer"] for p in alike]
        torch._foreach_lerp_(kept, grads, 1 - group["momentum"])
        x = torch.stack(kept)
        if group["nesterov"]:
            x = torch.stack(grads).lerp(x, group["momentum"])
        tall = x.shape[1] > x.shape[2]
        x = (x.mT if tall else x).to(self.kind)
        x = x / torch.linalg.matrix_norm(x.float(), keepdim=True).clamp(min=group["eps"]).to(self.kind)
        a, b, c = group["ns_coefficients"]
        for _ in range(group["ns_steps"]):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(alike, list((x.mT if tall else x).float().unbind()), alpha=-group["lr"] * share)


def muon(module: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024; torch's own) for the matrices inside of transformer blocks, AdamW for all else.

    ``match_rms_adamw`` (Liu et al. 2025, arXiv 2502.16982) scales Muon's steps to AdamW's size; at matrices as small as these that is
    timid (their steps have a spectral norm of 3 rates where speed runs use 0.02 to 0.05), so they take MUON_SHARE times the plan's rate.
    """
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    inner = [p for name, p in trained if p.ndim == 2 and "blocks." in name]
    rest = [p for name, p in trained if not (p.ndim == 2 and "blocks." in name)]
    return [
        StackedMuon([{"params": inner, "share": MUON_SHARE}], lr=plan.lr, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay, fused=True),
    ]
