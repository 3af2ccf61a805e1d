"""How the VAE of the embedded pipeline is made: its encoder solved, its decoder learned (``recipes`` runs both)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotid.types import SlotIDError

if TYPE_CHECKING:
    from slotid.train.loop import Plan
    from slotid.train.recipes import Job


def load_vae(vae, job: Job) -> None:
    """The furthest trained VAE there is."""
    from safetensors.torch import load_file

    from slotid.train.loop import load_weights

    solved = job.out / "vae" / "solved.safetensors"
    if not solved.exists():
        raise SlotIDError(f"No solved VAE at {solved}; run `python -m slotid train vae_solve` first.")
    vae.load_state_dict(load_file(solved))
    if (job.out / "vae" / "stills" / "checkpoint").exists():
        load_weights(vae, job.out / "vae" / "stills" / "checkpoint")


def vae_solve(job: Job, plan: Plan | None) -> dict[str, Any]:
    """Encoder and decoder's start in closed form, from some hundred frames of the world and pictures from nothing."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from slotid.backbone.stills import StillConvs
    from slotid.train.pictures import picture
    from slotid.train.principal import solve_decoder, solve_encoder
    from slotid.train.recipes import LATENT_CHANNELS
    from slotid.train.vae import build_vae, to_video
    from slotid.world.shards import read_shards

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    records = read_shards(job.clips) + read_shards(job.stills)
    single = [records[i].frames()[int(rng.integers(len(records[i].seconds)))] for i in rng.permutation(len(records))[:900]]
    vae = build_vae(LATENT_CHANNELS)
    found = {"encoder": solve_encoder(vae, to_video(np.stack([*single, *(picture(rng, 128) for _ in range(100))])[:, None]))}
    with StillConvs(vae):
        found["decoder"] = solve_decoder(vae, to_video(np.stack([*single[:220], *(picture(rng, 128) for _ in range(30))])[:, None]))
    (job.out / "vae").mkdir(parents=True, exist_ok=True)
    save_file({n: t.detach().contiguous() for n, t in vae.state_dict().items()}, job.out / "vae" / "solved.safetensors")
    return found


def vae_stills(job: Job, plan: Plan | None) -> dict[str, Any]:
    """The decoder on single frames, with float32 around its head (see ``backbone.stills``)."""
    from slotid.train.recipes import LATENT_CHANNELS
    from slotid.train.vae import build_vae, train_decoder

    vae = build_vae(LATENT_CHANNELS)
    load_vae(vae, job)
    return train_decoder(vae, [job.clips, job.stills, *job.also], plan, job.out / "vae" / "stills", minutes=job.minutes)
