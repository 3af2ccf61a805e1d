"""What a method costs: seconds, memory, parameters."""

from __future__ import annotations

import os
import platform
import sys
import threading
from pathlib import Path
from typing import Any

EVERY = 0.05  # seconds between two looks at the memory


class PeakMemory:
    """Context that watches this process: ``megabytes`` is the most it held inside, the models and the program included.

    On an accelerator what torch had allocated there is added. Where the system does not tell (no /proc), it is the peak since start.
    """

    def __enter__(self) -> PeakMemory:
        import torch

        self.megabytes, self._stop = resident(), threading.Event()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._stop.wait(EVERY):
            self.megabytes = max(self.megabytes, resident())

    def __exit__(self, *_: object) -> None:
        import torch

        self._stop.set()
        self._watch.join()
        self.megabytes = max(self.megabytes, resident())
        if torch.cuda.is_available():
            self.megabytes += torch.cuda.max_memory_allocated() / 2**20


def resident() -> float:
    """Megabytes of memory that this process holds now."""
    table = Path("/proc/self/statm")
    if table.exists():
        return int(table.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def parameters(studio: Any) -> dict[str, int]:
    """Numbers learnt: of the method with its LoRA, and of the backbone."""
    from torch import nn

    method = sum(p.numel() for p in studio.method.parameters()) if isinstance(studio.method, nn.Module) else 0
    lora, total, counted = 0, 0, set()
    parts = [part for part in vars(studio.backbone).values() if isinstance(part, nn.Module)]
    if isinstance(studio.backbone, nn.Module):
        parts = [studio.backbone]
    for part in parts:
        for name, p in part.named_parameters():
            if id(p) in counted:  # LoRA weights are named twice
                continue
            counted.add(id(p))
            total += p.numel()
            lora += p.numel() if "lora" in name else 0
    return {"method": method, "lora": lora, "backbone": total - lora}


def machine() -> dict[str, Any]:
    """Where it was measured, without naming it."""
    import numpy
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
