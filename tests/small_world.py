"""A head world of latents in which a person's skin is the level of a channel: enough to learn from, known in every number."""

import numpy as np
import torch

from slotid.train.base import PersonEmbedder
from slotid.train.pairs import Latents
from slotid.world.person import PERSON_SIZE

FACTS = {"act": "smile", "light": "warm_lamp", "background": "garden", "clothing": "red_shirt", "framing": "close_up"}


def world(sparse: bool, people: int = 6, seed: int = 0) -> Latents:
    """Latents in which a person's skin is the level of channel 0 and the first of three curves of motion that of channel 2."""
    rng, moves, more = np.random.default_rng(seed), np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    vectors, films, crops, motion, crop_motion = [], [], [], [], []
    for _ in range(people):
        told = rng.standard_normal(PERSON_SIZE).astype(np.float32)
        for _ in range(2):
            vectors.append(told)
            film = 0.3 * rng.standard_normal((8, 4 if sparse else 3, 4, 4))
            film[0] += told[100]
            curves = moves.standard_normal((film.shape[1], 3)).astype(np.float32)
            film[2] += 2 * curves[:, 0, None, None]
            motion.append(curves)
            seen = 0.3 * rng.standard_normal((4 if sparse else 10, 8, 4, 4))
            seen[:, 0] += told[100]
            curves = more.standard_normal((len(seen), 3)).astype(np.float32)
            seen[:, 2] += 2 * curves[:, :1, None]
            crop_motion.append(curves)
            films.append(film)
            crops.append(seen)
    count = len(films)
    return Latents(
        films=torch.tensor(np.stack(films)).half(),
        crops=torch.tensor(np.stack(crops)).half(),
        seconds=torch.arange(4 if sparse else 10).float().expand(count, -1) / (1.5 if sparse else 8.0),
        focus=torch.full((count, 4 if sparse else 1, 2), 2.0),
        reach=torch.full((count, 4 if sparse else 1), 0.5),
        vectors=torch.tensor(np.stack(vectors)),
        people=np.repeat(np.arange(people), 2),
        index=np.tile([0, 1], people),
        reference=np.tile([False, True], people),
        facts=[FACTS] * count,
        sparse=sparse,
        motion=torch.tensor(np.stack(motion)),
        crop_motion=torch.tensor(np.stack(crop_motion)),
    )


def embedder():
    torch.manual_seed(0)
    return PersonEmbedder(width=32)
