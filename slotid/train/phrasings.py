"""Captions of clips, phrased and cut into tokens before training begins: in a step of many films nobody waits for words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Text = tuple[Tensor, Tensor]  # ids and mask (B, L), as ``Backbone.tokens`` gives them
COUNT = 24  # phrasings of a clip
UNTOLD = 0.1  # share of the films that are drawn without a word


def prompt_for(facts: dict[str, str], rng: np.random.Generator, still: bool) -> str:
    """A caption of the facts, newly phrased each time; a single frame does not show an act, so its act is not told.

    Half of the captions tell everything: what is told need not be guessed, and a word that always shows in the picture is learned sooner.
    The framing, always the same here, is not told.
    """
    from slotid.world.captions import caption

    told = {k: v for k, v in facts.items() if k != "framing" and not (still and k == "act")}
    return caption(told, int(rng.integers(2**31)), whole=rng.random() < 0.5)


class Phrasings:
    """``count`` captions of each of N clips as token ids."""

    def __init__(self, tokens: Callable[[Sequence[str]], Text], facts: Sequence[dict[str, str]], still: bool, count: int = COUNT):
        """``tokens``: of a backbone. ``facts``: of the clips. ``still``: they are single frames."""
        rng = np.random.default_rng([len(facts), still])
        prompts = [prompt_for(told, rng, still) for told in facts for _ in range(count)]
        ids, mask = tokens([*prompts, ""])
        self.ids, self.lengths, self.count = ids.to(torch.int16), mask.sum(1), count

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> Text:
        """One phrasing for each of the clips ``rows`` (B,), ids and mask (B, L); for some nothing is told."""
        places = np.asarray(rows) * self.count + rng.integers(self.count, size=len(rows))
        places = torch.from_numpy(np.where(rng.random(len(rows)) < UNTOLD, len(self.ids) - 1, places))
        ids = self.ids[places].long()
        return ids, (torch.arange(ids.shape[1])[None] < self.lengths[places, None]).long()
