"""Run by test_training.py in two processes: trains uninterrupted, trains with a stop, compares, and spreads the frozen weights."""

import json
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file

from slotid.train import loop
from slotid.train.wan_recipe import Scale, plan_wan13b, process, train


def main(wan: str, vision: str, cache: str, out: str) -> None:
    torch.set_num_threads(1)
    plan = plan_wan13b(steps=16, batch=2, lr=2e-2, warmup=1, accumulate=1, precision="no", ema=0.9)
    home = Path(out)

    def scale(name: str, samples: bool = False, spread: bool = False) -> Scale:
        return Scale(Path("unused"), Path(cache), home / name, wan, vision, width=32, rank=4, samples=samples, shard_frozen=spread)

    found = train(scale("whole", True), plan, log_every=4)
    rank, processes = process()
    if rank == 1:  # an hour passes whenever this one looks: it would save and stop by itself, and all would wait forever
        ticks = count()
        loop.time = SimpleNamespace(time=lambda: 3600.0 * next(ticks))
    train(scale("stopped"), plan, minutes=0.0, log_every=4)  # stops after its first step
    stopped = json.loads((home / "stopped" / "checkpoint" / "state.json").read_text())["step"]
    train(scale("stopped"), plan, minutes=60.0, log_every=4)
    loop.time = time
    train(scale("spread", spread=True), plan, log_every=4)
    far = {}
    if rank == 0:
        one = load_file(home / "whole" / "checkpoint" / "model.safetensors")
        for name in ("stopped", "spread"):
            two = load_file(home / name / "checkpoint" / "model.safetensors")
            far[name] = max(float((one[key] - two[key]).abs().max()) for key in one)
    spread = spread_equals_whole(wan)
    if rank == 0:
        report = {"processes": processes, "stopped_at": stopped, "steps": found["step"], "far": far, "spread": spread}
        (home / "report.json").write_text(json.dumps(report))


def spread_equals_whole(wan: str) -> dict:
    """Velocity and LoRA gradients with the frozen weights spread over the processes, against whole ones."""
    from slotid.backbone.backbone import LoraPlan
    from slotid.backbone.wan import load_wan
    from slotid.train.spread import spread_frozen
    from slotid.types import Conditioning

    results, kept = [], 0
    for spread in (False, True):
        backbone = load_wan(wan, device="cpu")
        torch.manual_seed(5)
        lora = backbone.adopt(LoraPlan(rank=2))
        with torch.no_grad():
            for weight in lora.parameters():
                weight.normal_(0, 0.2)
        if spread:
            spread_frozen(backbone, lora)
            weight = backbone.transformer.blocks[0].ffn.net[2].weight
            kept = weight.to_local().numel() / weight.numel()
        torch.manual_seed(6)
        x = torch.randn(1, 8, 2, 4, 4)
        v = backbone.velocity(x, 0.5, backbone.read(["a man talks"]), Conditioning(lora=1.0))
        v.square().mean().backward()
        results.append([v.detach(), *(p.grad for p in lora.parameters())])
    far = max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))
    return {"far": far, "share": kept}


if __name__ == "__main__":
    main(*sys.argv[1:])
