"""The tiny text encoder's lesson, before the base: every token of a sentence tells all the facts that the sentence names.

A base that learns its text encoder from nothing through its own cross-attention uses clean tokens (the person's) long before it uses
words. Real T5 comes trained and stays frozen; ours learns here. Asking one query per fact to find its word was not enough: the mean of a
sentence's tokens then told the light to 0.25 and the act to 0.08 of their variance, and the base used a fifth of what words can tell. So
every single token must tell every fact, or that it is not told, to a linear head: then cross-attention need not search.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slotid.train.loop import Plan, fit
from slotid.world.performance import acts_of


def fact_values() -> dict[str, tuple[str, ...]]:
    """What a caption can tell, by name; two acts are told as two."""
    from slotid.world.performance import ACTS
    from slotid.world.scene import BACKGROUNDS, CLOTHINGS, FRAMINGS, LIGHTS

    return {"act": ACTS, "light": LIGHTS, "background": BACKGROUNDS, "clothing": CLOTHINGS, "framing": FRAMINGS}


class TextLearner(nn.Module):
    """A backbone's text encoder with one linear head per fact (dropped afterwards); the last class of each is "not told"."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.text_encoder = backbone.text_encoder.requires_grad_(True)
        width = backbone.spec.text_width
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(known) + 1) for name, known in fact_values().items()})

    def forward(self, prompts: list[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Logits by fact, (B, L, values + 1), and which tokens are real, (B, L)."""
        tokens = self.backbone.read(prompts)  # zeros beyond the sentence
        return {name: head(tokens) for name, head in self.heads.items()}, tokens.detach().abs().sum(-1) > 0


def train_text(backbone, plan: Plan, out: Path, **kwargs) -> dict[str, float]:
    """Trains the text encoder on random captions; logs the share of named facts that a sentence's tokens together tell ("right")."""
    from slotid.world.captions import caption
    from slotid.world.take import direct

    learner, values = TextLearner(backbone), fact_values()
    known = [direct(seed, clip, 2, 12.0).facts for seed in range(1500) for clip in range(2)]

    def batch_at(rng: np.random.Generator, step: int) -> tuple[list[str], dict[str, Tensor]]:
        prompts, told = [], {name: torch.zeros(plan.batch, len(v) + 1) for name, v in values.items()}
        for row in range(plan.batch):
            # facts of different clips are mixed, so that none can be guessed from another; some are not told
            facts = {name: known[int(rng.integers(len(known)))][name] for name in values}
            facts = {name: value for name, value in facts.items() if rng.random() > 0.35} or facts
            prompts.append(caption(facts, int(rng.integers(2**31)), whole=True))
            for name in values:
                parts = acts_of(facts[name]) if name == "act" and name in facts else [facts.get(name)]
                for part in parts:
                    told[name][row, -1 if part is None else values[name].index(part)] += 1 / len(parts)
        return prompts, told

    def loss_of(module: nn.Module, batch) -> tuple[Tensor, dict[str, float]]:
        prompts, told = batch
        (found, real), losses, right = module(prompts), [], []
        for name, logits in found.items():
            surely = F.log_softmax(logits.float(), -1)
            losses.append(-(surely * told[name][:, None]).sum(-1)[real].mean())
            together = (surely * real[..., None]).sum(1)
            named = told[name][:, -1] == 0
            right.append((told[name].gather(1, together.argmax(1, keepdim=True)) > 0)[named].float().mean())
        return torch.stack(losses).mean(), {"right": float(torch.stack(right).mean())}

    return fit(learner, plan, out, batch_at, loss_of, **kwargs)
