"""Memory profiles carried out: which part is on the accelerator when, and in how many bits it is kept.

Moves of whole parts are explicit (the driver says what it needs next); blocks and layers move by the hooks of diffusers and accelerate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slotid.backbone.memory import PROFILES, Profile
from slotid.types import SlotIDError


class BlockStack(nn.Module):
    """A transformer's blocks as one module, so that diffusers' group offloading sees where a pass through them begins."""

    def __init__(self, blocks: nn.ModuleList):
        super().__init__()
        self.blocks = blocks
        self.entrance = nn.Identity()  # something beside the blocks: only then diffusers fetches the next block ahead of time

    def forward(self, hidden: Tensor, context: Tensor, modulation: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """As the library's loop."""
        hidden = self.entrance(hidden)
        for block in self.blocks:
            hidden = block(hidden, context, modulation, rope)
        return hidden


class Placement:
    """One backbone's parts under one profile."""

    def __init__(self, parts: dict[str, nn.Module], profile: Profile, device: str | torch.device):
        self.parts, self.profile, self.device = parts, profile.name, torch.device(device)
        self.moves = profile.moves
        self.whole = profile.moves in ("none", "parts")  # the transformer can be reached into, block by block
        self._stacks: dict[int, nn.Module] = {}
        self._here: str | None = None
        self._started = False

    def words(self) -> str:
        """The profile for a person: its name and what it does."""
        return f"memory profile {self.profile}: {PROFILES[self.profile].says}"

    def need(self, name: str) -> None:
        """The part that computes next. Under "parts" the one before goes back to main memory first.

        Hooks are put on at the first need, when LoRA is in place: those that were put on before would not know its weights.
        """
        if not self._started:
            self._started = True
            self._start()
        if self.moves != "parts" or self._here == name:
            return
        if self._here is not None:
            self.parts[self._here].to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        self.parts[name].to(self.device)
        self._here = name

    def stack(self, net: nn.Module) -> nn.Module | None:
        """The module that runs all blocks, where blocks are moved by hooks."""
        return self._stacks.get(id(net))

    def check(self, device: str | torch.device) -> None:
        """Refuse another device: under a profile only a part at a time may be moved, and by the profile."""
        if torch.device(device).type != self.device.type:
            raise SlotIDError(
                f"The backbone was placed on '{self.device}' by memory profile '{self.profile}'; open it again for '{device}'."
            )

    def before_change(self) -> None:
        """Refuse new weights once blocks or layers are moved by hooks."""
        if self._started and not self.whole:
            raise SlotIDError(
                f"Memory profile '{self.profile}' is at work already; open the backbone again before weights are added to it."
            )

    def _start(self) -> None:
        if self.moves == "none":
            for part in self.parts.values():
                part.to(self.device)
        elif self.moves == "blocks":
            self._by_groups()
        elif self.moves == "layers":
            self._by_layers()

    def _by_groups(self) -> None:
        from diffusers.hooks import apply_group_offloading

        streams = {"use_stream": True, "record_stream": True} if self.device.type == "cuda" else {}
        to: dict[str, Any] = {"onload_device": self.device, "offload_device": torch.device("cpu"), **streams}
        for name, part in self.parts.items():
            if name == "vae":
                part.to(self.device)
            elif name == "text_encoder":
                apply_group_offloading(part, offload_type="leaf_level", **to)
            else:
                _all_but_blocks(part, self.device)
                self._stacks[id(part)] = stack = BlockStack(part.blocks)
                apply_group_offloading(stack, offload_type="block_level", num_blocks_per_group=1, **to)

    def _by_layers(self) -> None:
        from accelerate import cpu_offload

        for name, part in self.parts.items():
            if name.startswith("transformer"):  # its own forward is not called: hooks go on what is
                for child in part.children():
                    if any(True for _ in child.parameters()):
                        cpu_offload(child, execution_device=self.device, offload_buffers=True)
                    else:
                        child.to(self.device)
                part.scale_shift_table.data = part.scale_shift_table.data.to(self.device)
            else:
                cpu_offload(part, execution_device=self.device)


def _all_but_blocks(net: nn.Module, device: torch.device) -> None:
    for name, child in net.named_children():
        if name not in ("blocks", "vace_blocks"):
            child.to(device)
    net.scale_shift_table.data = net.scale_shift_table.data.to(device)


def place(backbone, profile: str | Profile, device: str | torch.device):
    """Put a loaded backbone under a profile; returns it. ``adopt`` LoRA after this and before the first use.

    Raises:
        SlotIDError: unknown profile, or the backbone is placed already.
    """
    if backbone.placement is not None:
        raise SlotIDError(f"The backbone is under memory profile '{backbone.placement.profile}' already; open it again for another.")
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise SlotIDError(f"Unknown memory profile '{profile}'; expected one of {', '.join(PROFILES)}.")
        profile = PROFILES[profile]
    if profile.tiling:
        backbone.vae.enable_tiling()
    if profile.bits == 8:
        from diffusers.hooks import apply_layerwise_casting

        for name, part in backbone.parts().items():
            if name.startswith("transformer"):
                skip = part._skip_layerwise_casting_patterns
                apply_layerwise_casting(part, torch.float8_e4m3fn, part.dtype, skip_modules_pattern=skip)
    backbone.placement = Placement(backbone.parts(), profile, device)
    return backbone
