"""Memory at the peak of a call: asked of CUDA where there is a card, traced tensor by tensor elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def peak_of(run: Callable[[], Any], device: str = "cpu") -> int:
    """Bytes that ``run`` takes at its peak above what was taken before it."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    from slotid.backbone.weigh import LivePeak

    with LivePeak() as tracker:
        run()
    return tracker.peak
