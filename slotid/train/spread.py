"""The frozen weights of a large backbone spread over the processes (FSDP2, ``torch.distributed.fsdp.fully_shard``).

Each process keeps its share of every block and gathers a block when it computes. The trained weights are few: they stay whole in every
process and are averaged as usual, so that checkpoints, EMA and the optimiser need to know nothing of it.
"""

from __future__ import annotations

from torch import nn


def spread_frozen(backbone, lora: nn.Module) -> None:
    """Shard every block of the backbone's transformers; the weights of ``lora`` are left alone. Needs a started process group."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from slotid.types import SlotIDError

    if not dist.is_available() or not dist.is_initialized():
        raise SlotIDError("Frozen weights can only be spread over processes; start with `accelerate launch` on more than one.")
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (dist.get_world_size(),))
    trained = set(lora.parameters())
    for name, part in backbone.parts().items():
        if name.startswith("transformer"):
            for block in part.blocks:
                fully_shard(block, mesh=mesh, ignored_params=trained & set(block.parameters()))
