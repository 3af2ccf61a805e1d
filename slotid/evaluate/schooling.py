"""A small training loop for small judges: AdamW, moving average of the weights, checkpoints that are whole or not there."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slotid.types import SlotIDError

SAVE_SECONDS = 60.0
WARM_UP = 50


def school(
    module: nn.Module,
    loss_at: Callable[[np.random.Generator, int], tuple[Tensor, dict[str, float]]],
    out: Path,
    *,
    steps: int,
    lr: float,
    minutes: float | None = None,
    decay: float = 0.998,
    seed: int = 0,
) -> int:
    """Trains all parameters of ``module`` and leaves the moving average of its weights in it.

    ``loss_at(rng, step)``: everything random of a step comes from ``rng`` and from torch's generator, which is seeded by the step. The
    checkpoint in ``out`` is gone on with. Stops after ``steps`` steps, or after ``minutes``, with the rate cooling down as a cosine
    over the last half of whichever comes first. Returns the steps taken in all. Raises SlotIDError when the loss stops being a number.
    """
    from safetensors.torch import load_file, save_file

    out.mkdir(parents=True, exist_ok=True)
    path, parameters = out / "judge.safetensors", dict(module.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), lr=lr, betas=(0.9, 0.99), weight_decay=0.02)
    mean = {name: p.detach().clone() for name, p in parameters.items()}
    first = 0
    if path.exists():
        stored = load_file(path)
        wrong = [
            name for name, p in parameters.items() if stored.get(f"weight/{name}") is None or stored[f"weight/{name}"].shape != p.shape
        ]
        if wrong:
            raise SlotIDError(f"the checkpoint {path} is of another judge ({wrong[0]} differs); delete it or give another --out.")
        first = int(stored["step"])
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(stored[f"weight/{name}"])
                mean[name].copy_(stored[f"mean/{name}"])
                optimizer.state[p] = {k: stored[f"{k}/{name}"] for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}/{name}" in stored}
    begun = saved = told = time.monotonic()
    module.train()

    def keep(step: int) -> None:
        table = {"step": torch.tensor(step)}
        for name, p in parameters.items():
            table |= {f"weight/{name}": p.detach().clone(), f"mean/{name}": mean[name].clone()}
            table |= {f"{k}/{name}": torch.as_tensor(v).clone() for k, v in optimizer.state.get(p, {}).items()}
        save_file(table, str(path) + ".part")
        Path(str(path) + ".part").replace(path)

    sums: dict[str, float] = {}
    count, done = 0, first
    for step in range(first, steps):
        spent = time.monotonic() - begun
        progress = max((step - first) / max(1, steps - first), spent / (60 * minutes) if minutes else 0.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / WARM_UP) * max(0.01, 0.5 - 0.5 * math.cos(math.pi * min(1.0, 2 - 2 * progress)))
        torch.manual_seed(seed * 1_000_003 + step)
        loss, numbers = loss_at(np.random.default_rng([seed, step]), step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise SlotIDError(f"the judge's loss became {value} at step {step}; go on from {path} with another --seed.")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        keep_share = min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, p in parameters.items():
                mean[name].lerp_(p, 1 - keep_share)
        count, done = count + 1, step + 1
        for name, number in {"loss": value, **numbers}.items():
            sums[name] = sums.get(name, 0.0) + number
        now = time.monotonic()
        late = minutes is not None and now - begun > 60 * minutes
        if late or now - told > 20 or done == steps:
            line = {"step": done, "minutes": round((now - begun) / 60, 2)} | {k: round(v / count, 4) for k, v in sums.items()}
            print(json.dumps(line), file=sys.stderr, flush=True)
            sums, count, told = {}, 0, now
        if late or now - saved > SAVE_SECONDS or done == steps:
            keep(done)
            saved = now
        if late:
            break
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(mean[name])
    return done
