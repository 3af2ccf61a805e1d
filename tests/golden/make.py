"""Makes golden.json: numbers of the whole core at small size, end to end, with gradients and one optimiser step.

Run `python tests/golden/make.py` after a *meant* change of the computation, look at the difference, and say why in LOG.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

FILE = Path(__file__).with_name("golden.json")


def numbers() -> dict[str, float | list[float]]:
    """Every number is a mean square or a loss, so that it moves with any weight or step of the way."""
    from small import clip_tensors, small_backbone, small_face, small_method, stir

    from slotid import flow
    from slotid.backbone.backbone import LoraPlan
    from slotid.generate import Studio, generate
    from slotid.types import Conditioning, Request

    def size(x) -> float:
        return float(x.detach().double().square().mean())

    backbone, method = small_backbone(11), small_method(11)
    torch.manual_seed(11)  # peft starts its A matrices at random
    lora = backbone.adopt(LoraPlan(rank=2))
    stir(lora, 11)
    out: dict[str, float | list[float]] = {}
    text = backbone.read(["a man talks to the camera", ""])
    out["text"] = size(text)

    generator = torch.Generator().manual_seed(11)
    x0, noise = (torch.randn(2, 8, 3, 4, 4, generator=generator) for _ in range(2))
    t = flow.sample_times(2, 3.0, generator)
    out["times"] = t.tolist()
    weights = [*method.parameters(), *lora.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)

    def loss() -> torch.Tensor:
        encoded = method.encode(*clip_tensors(11))
        given = Conditioning(context=method.tokens(encoded), lora=1.0)
        v = backbone.velocity(flow.at(x0, noise, t), t, text, given)
        if "velocity" not in out:
            out["velocity"], out["slots"], out["anchors"] = size(v), size(encoded.slots), size(encoded.anchors)
            out["plan"] = size(encoded.plans[-1] * encoded.plans[-1].numel())
            out["gates"] = encoded.gates[0].tolist()
            out["tokens"] = size(method.tokens(encoded))
        return flow.loss(v, flow.target(x0, noise))

    first = loss()
    first.backward()
    out["loss"] = float(first.detach())
    out["gradient_method"] = float(torch.stack([p.grad.norm() for p in method.parameters()]).norm())
    out["gradient_lora"] = float(torch.stack([p.grad.norm() for p in lora.parameters()]).norm())
    optimizer.step()
    out["loss_after_one_step"] = float(loss().detach())

    *_, result = generate(
        Studio(backbone, method), Request("a woman nods", small_face(11), steps=4, seed=5, likeness=False, preview_every=0)
    )
    frames = result.clip.frames.astype(float)
    out["film_mean"], out["film_deviation"] = float(frames.mean()), float(frames.std())
    return out


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
    FILE.write_text(json.dumps(numbers(), indent=2) + "\n")
    print(FILE.read_text())
