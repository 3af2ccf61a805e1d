"""The tiny text encoder's first lesson: which facts a caption tells. Cheap, and it spares the base most of its early time.

A base that learns its text encoder from nothing through its own cross-attention uses clean tokens (the person's) long before it uses
words. Real T5 comes trained; ours learns here to hold every fact of a sentence where one look of attention finds it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.train.loop import Plan, fit


def fact_values() -> dict[str, tuple[str, ...]]:
    """What a caption can tell, by name; two acts are told as two."""
    from slotid.world.performance import ACTS
    from slotid.world.scene import BACKGROUNDS, CLOTHINGS, FRAMINGS, LIGHTS

    return {"act": ACTS, "light": LIGHTS, "background": BACKGROUNDS, "clothing": CLOTHINGS, "framing": FRAMINGS}


class TextLearner(nn.Module):
    """A backbone's text encoder with one query and one head per fact (both dropped afterwards)."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.text_encoder = backbone.text_encoder.requires_grad_(True)
        width, values = backbone.spec.text_width, fact_values()
        self.queries = nn.ParameterDict({name: nn.Parameter(0.1 * torch.randn(width)) for name in values})
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(known)) for name, known in values.items()})

    def forward(self, prompts: list[str]) -> dict[str, Tensor]:
        """Logits by fact, (B, values)."""
        tokens = self.backbone.read(prompts)  # (B, L, D), zeros beyond the sentence
        mask = tokens.detach().abs().sum(-1) == 0
        found = {}
        for name, head in self.heads.items():
            looks = (tokens @ self.queries[name]).masked_fill(mask, -1e4).softmax(1)
            found[name] = head((looks[..., None] * tokens).sum(1))
        return found


def train_text(backbone, plan: Plan, out: Path, **kwargs) -> dict[str, float]:
    """Trains the text encoder on random captions; logs the share of facts told rightly ("right")."""
    from slotid.world.captions import caption
    from slotid.world.take import direct

    learner, values = TextLearner(backbone), fact_values()
    known = [direct(seed, clip, 2, 12.0).facts for seed in range(1500) for clip in range(2)]

    def batch_at(rng: np.random.Generator, step: int) -> tuple[list[str], dict[str, Tensor]]:
        prompts, told = [], {name: torch.zeros(plan.batch, len(v)) for name, v in values.items()}
        for row in range(plan.batch):
            # facts of different clips are mixed, so that none can be guessed from another; some are not told
            facts = {name: known[int(rng.integers(len(known)))][name] for name in values}
            facts = {name: value for name, value in facts.items() if rng.random() > 0.15} or facts
            prompts.append(caption(facts, int(rng.integers(2**31))))
            for name, value in facts.items():
                parts = value.replace("+", ",").split(",") if name == "act" else [value]
                for part in parts:
                    told[name][row, values[name].index(part)] += 1 / len(parts)
        return prompts, told

    def loss_of(module: nn.Module, batch) -> tuple[Tensor, dict[str, float]]:
        prompts, told = batch
        found, losses, right = module(prompts), [], []
        for name, logits in found.items():
            rows = told[name].sum(1) > 0
            losses.append(F.cross_entropy(logits[rows].float(), told[name][rows]))
            right.append((told[name][rows].gather(1, logits[rows].argmax(1, keepdim=True)) > 0).float().mean())
        return torch.stack(losses).mean(), {"right": float(torch.stack(right).mean())}

    return fit(learner, plan, out, batch_at, loss_of, **kwargs)
