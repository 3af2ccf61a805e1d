"""Entropic optimal transport between the tokens of a clip and the slots (Sinkhorn; Cuturi, arXiv 1306.0895).

Shapes: cost (B, N, S), token masses a (B, N), slot masses b (B, S), both summing to the same. A token with a = 0 (a hidden
face) carries exactly zero mass. All of it in float32 and differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn(cost: Tensor, a: Tensor, b: Tensor, tau: float = 0.15, iterations: int = 8, log_space: bool = False) -> Tensor:
    """The plan (B, N, S) whose sums over tokens are ``b`` (exactly) and over slots are ``a`` (nearer with every iteration).

    Args:
        cost: any real numbers, lower attracts. a, b: >= 0. tau: temperature > 0 in units of cost.
        log_space: the reference, right for any cost/tau. The default works on exponentials with each token's lowest cost
            taken out first (which the token's scale absorbs): the same plan while the spread of cost/tau within a token stays under
            about 60, and several times faster.
    """
    cost, a, b = cost.float(), a.float(), b.float()
    return _in_logs(cost, a, b, tau, iterations) if log_space else _in_exponentials(cost, a, b, tau, iterations)


def _in_exponentials(cost: Tensor, a: Tensor, b: Tensor, tau: float, iterations: int) -> Tensor:
    kernel = torch.exp((cost.amin(dim=2, keepdim=True) - cost) / tau)  # (B, N, S) in (0, 1], 1 at each token's best slot
    v = torch.ones_like(b)
    for _ in range(iterations):
        u = a / torch.einsum("bns,bs->bn", kernel, v).clamp_min(1e-30)
        v = b / torch.einsum("bns,bn->bs", kernel, u).clamp_min(1e-30)
    return u[:, :, None] * kernel * v[:, None, :]


def _in_logs(cost: Tensor, a: Tensor, b: Tensor, tau: float, iterations: int) -> Tensor:
    hidden = a <= 0
    log_a = torch.where(hidden, torch.zeros_like(a), a).clamp_min(1e-38).log()
    log_b = b.clamp_min(1e-38).log()
    score = -cost / tau
    g = torch.zeros_like(b)
    for _ in range(iterations):
        f = log_a - torch.logsumexp(score + g[:, None, :], dim=2)
        f = f.masked_fill(hidden, -torch.inf)
        g = log_b - torch.logsumexp(score + f[:, :, None], dim=1)
    return torch.exp(score + f[:, :, None] + g[:, None, :])


def marginal_error(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(B,) total variation between the plan's marginals and what was asked, the larger of both sides; 0 is perfect, 1 the worst."""
    rows = (plan.sum(2) - a).abs().sum(1)
    columns = (plan.sum(1) - b).abs().sum(1)
    return torch.maximum(rows, columns) / (2 * a.sum(1).clamp_min(1e-30))
