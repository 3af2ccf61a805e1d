"""Fair comparisons on a machine that does other things too: candidates take turns, processor time counts, medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def measure(candidates: dict[str, Callable[[], Any]], rounds: int = 5, warmup: int = 1, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of every round of every candidate; in each round each one runs once, in turn.

    On a CPU these are seconds of processor time of this process over all its threads; on CUDA, of the device, between events.
    """
    clock = _cuda_seconds if device.startswith("cuda") else _cpu_seconds
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        order = list(candidates) if number % 2 == 0 else list(candidates)[::-1]  # nobody always runs on a warm cache
        for name in order:
            spent = clock(candidates[name])
            if number >= warmup:
                found[name].append(spent)
    return found


def _cpu_seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _cuda_seconds(run: Callable[[], Any]) -> float:
    import torch

    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> tuple[float, float, float]:
    """(median, lower quartile, upper quartile) over the rounds of ``name``'s time over ``base``'s in the same round."""
    pairs = [a / b for a, b in zip(seconds[name], seconds[base], strict=True)]
    if len(pairs) < 2:
        return pairs[0], pairs[0], pairs[0]
    low, middle, high = statistics.quantiles(pairs, n=4, method="inclusive")
    return middle, low, high


def slope(lengths: list[int], seconds: list[float]) -> float:
    """Exponent p of seconds ~ length^p (least squares in logarithms): 1 is linear, 2 is quadratic."""
    import numpy as np

    return float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])
