"""How much memory a network takes, by running the real classes without any data: weights counted, the peak of a forward traced.

Under torch's fake tensors every operation is carried out in shape only; each storage is counted while something holds it. So the
figures are computed from the configs, not guessed. Not counted: what CUDA itself, cuDNN's workspaces and the allocator's gaps take
(``memory.OVERHEAD``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LivePeak(TorchDispatchMode):
    """Bytes of the tensors made inside that are alive at once; ``peak`` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in inputs and key not in self._seen:
                    self._seen.add(key)
                    self.live += storage.nbytes()
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(storage, self._free, key, storage.nbytes())
        return result

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


@contextmanager
def _pretending(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def peak_bytes(build: Callable[[], nn.Module], run: Callable[[nn.Module], Any], dtype: torch.dtype) -> int:
    """Most bytes alive while ``run(build())`` works in ``dtype``, the weights not counted, what it returns counted."""
    with _pretending(dtype):
        net = build().eval()
        with LivePeak() as tracker:
            kept = run(net)
        peak = tracker.peak
        del kept
    return peak


def sizes_of(build: Callable[[], nn.Module]) -> dict[str, int]:
    """Numbers of weights: in all, in the largest layer, in one block, outside the blocks, and those kept in 8 bits under that setting."""
    with torch.device("meta"):
        net = build()
    patterns = getattr(net, "_skip_layerwise_casting_patterns", None) or []
    largest = eight = 0
    for name, module in net.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        largest = max(largest, own)
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d) and not any(pattern in name for pattern in patterns):
            eight += own
    total = sum(p.numel() for p in net.parameters())
    blocks = [sum(p.numel() for p in block.parameters()) for block in getattr(net, "blocks", [])]
    extra = sum(p.numel() for p in getattr(net, "vace_blocks", nn.ModuleList()).parameters())
    return {"all": total, "largest": largest, "block": max(blocks, default=0), "rest": total - sum(blocks) - extra, "eight": eight}
