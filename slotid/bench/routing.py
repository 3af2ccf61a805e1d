"""Our routing against POT's solvers on the same problems, with as many iterations, so that all end with the same marginal error."""

from __future__ import annotations

from typing import Any

from slotid.bench.timing import measure, median
from slotid.types import SlotIDError

SIZES = ((1, 512), (16, 512), (64, 512), (64, 128), (16, 2048))  # clips, tokens


def routing(sizes: tuple[tuple[int, int], ...] = SIZES, slots: int = 8, iterations: int = 10, tau: float = 0.15, rounds: int = 5,
            device: str = "cpu") -> list[dict[str, Any]]:  # fmt: skip
    """One row per size: seconds of each solver, how much faster ours is, and every solver's worst marginal error.

    Rivals: ``ot.batch.solve_batch`` (its own choice of method, no gradients) and ``ot.bregman.sinkhorn_log`` clip by clip.
    """
    try:
        import ot
        from ot.batch import solve_batch
    except ImportError as error:
        raise SlotIDError("The routing bench compares with POT, which is not installed; run `pip install pot`.") from error
    import torch

    from slotid.identity.sinkhorn import marginal_error, sinkhorn

    rows = []
    for batch, tokens in sizes:
        g = torch.Generator().manual_seed(batch * tokens)
        cost = torch.rand(batch, tokens, slots, generator=g).to(device)
        a = torch.softmax(torch.randn(batch, tokens, generator=g), 1).to(device)
        b = torch.softmax(torch.randn(batch, slots, generator=g), 1).to(device)

        def clip_by_clip(cost=cost, a=a, b=b):
            plans = [
                ot.bregman.sinkhorn_log(x, y, m, tau, numItermax=iterations, stopThr=0, warn=False)
                for x, y, m in zip(a, b, cost, strict=True)
            ]
            return torch.stack(plans)

        def in_batches(cost=cost, a=a, b=b):
            return solve_batch(cost, tau, a, b, max_iter=iterations, tol=0.0, grad="detach").plan

        solvers = {
            "ours": lambda cost=cost, a=a, b=b: sinkhorn(cost, a, b, tau, iterations),
            "ours, in logarithms": lambda cost=cost, a=a, b=b: sinkhorn(cost, a, b, tau, iterations, log_space=True),
            "POT solve_batch": in_batches,
            "POT sinkhorn_log": clip_by_clip,
        }
        with torch.no_grad():
            seconds = measure(solvers, rounds, device=device)
            errors = {name: float(marginal_error(run(), a, b).max()) for name, run in solvers.items()}
        spent = {name: median(values) for name, values in seconds.items()}
        rows.append(
            {
                "clips": batch, "tokens": tokens, "slots": slots, "iterations": iterations, "seconds": spent, "marginal_error": errors,
                "faster_than_solve_batch": spent["POT solve_batch"] / spent["ours"],
                "faster_than_sinkhorn_log": spent["POT sinkhorn_log"] / spent["ours"],
            }
        )  # fmt: skip
    return rows
