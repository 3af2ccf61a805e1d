"""Reading a reference against its length: the encoder's time and memory for clips of more and more frames, features given."""

from __future__ import annotations

from typing import Any

from slotid.bench.peak import peak_of
from slotid.bench.timing import measure, median, slope

LENGTHS = (6, 12, 24, 48, 96)


def reading(lengths: tuple[int, ...] = LENGTHS, batch: int = 1, rounds: int = 5, device: str = "cpu", **sizes: Any) -> dict[str, Any]:
    """Seconds and peak memory per length, and the exponents of their growth. ``sizes``: of ``SlotConfig``.

    ``remember`` reads at most 48 frames of a clip (``features.pick_frames``); the longer one here shows how the encoder itself grows.
    """
    import torch

    from slotid.identity.slots import SlotConfig, SlotID

    method = SlotID(SlotConfig(**sizes)).to(device).eval()
    config = method.config
    runs = {}
    for frames in lengths:
        latents = torch.randn(batch, frames, config.latent_channels, config.grid, config.grid, device=device)
        seconds = (torch.arange(frames, device=device).float() / 8).expand(batch, frames)
        seen, anchor = torch.ones(batch, frames, dtype=torch.bool, device=device), torch.zeros(batch, dtype=torch.long, device=device)

        crops = torch.rand(batch, frames, 3, config.crop, config.crop, device=device) * 2 - 1 if config.movement else None

        def run(latents=latents, seconds=seconds, seen=seen, anchor=anchor, crops=crops):
            with torch.no_grad():
                return method.encode(latents, seconds, seen, anchor, crops)

        runs[frames] = run
    spent = {int(name): median(values) for name, values in measure({str(k): run for k, run in runs.items()}, rounds, device=device).items()}
    peaks = {frames: peak_of(run, device) for frames, run in runs.items()}
    longer = [k for k in lengths if k >= 12]  # below, fixed costs hide the growth
    return {
        "frames": {k: {"seconds": spent[k], "ms_per_frame": 1000 * spent[k] / k, "peak_mib": peaks[k] / 2**20} for k in lengths},
        "time_exponent": slope(longer, [spent[k] for k in longer]),
        "memory_exponent": slope(longer, [float(peaks[k]) for k in longer]),
    }
