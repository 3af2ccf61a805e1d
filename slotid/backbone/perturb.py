"""Self-attention that is perturbed in one block of a transformer (arXiv 2403.17887), for guidance by it (``guidance.with_attention``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from slotid.types import SlotIDError


class PerturbedAttention:
    """What ``WanBackbone`` has of it. Both contexts hold the backbone's lock, and leave its modules as they were."""

    def _experts(self, block: int) -> list[nn.Module]:
        """The transformers, all of which have such a block. Raises SlotIDError where there is none."""
        depth = len(self.transformer.blocks)
        if not 0 <= block < depth:
            raise SlotIDError(f"Block {block} of '{self.spec.name}' was to be perturbed; it has blocks 0 to {depth - 1}.")
        return [net for net in (self.transformer, self.transformer_2) if net is not None]

    @contextmanager
    def begun(self, block: int) -> Iterator[list[Tensor]]:
        """Inside, what each forward brings to a block is kept, (B, N, width) in order: ``perturbed`` can begin there. Nothing is where a
        memory profile moves blocks in turn."""
        kept: list[Tensor] = []
        nets = self._experts(block)
        with self._lock, ExitStack() as stack:
            for net in nets if self.placement is None or self.placement.whole else ():
                stack.callback(net.blocks[block].register_forward_pre_hook(lambda _, given: kept.append(given[0])).remove)
            yield kept

    @contextmanager
    def perturbed(self, block: int, start: Tensor | None = None) -> Iterator[None]:
        """Inside, every token attends to itself alone in the self-attention of a block: only its value passes.

        Args:
            start: what an unperturbed forward of the same film, time and context brought to that block (``begun``): the blocks before it
                say the same again, and are not run. None: they are.
        """
        nets = self._experts(block)
        with self._lock, ExitStack() as stack:
            for net in nets:
                layer = net.blocks[block].attn1
                stack.enter_context(_instead(layer, _alone(layer)))
                for early in net.blocks[:block] if start is not None else ():
                    stack.enter_context(_instead(early, lambda hidden, *_, **__: start))
            yield


def _alone(layer: nn.Module):
    """The forward of a self-attention in which every token sees itself alone."""
    return lambda hidden, *_, **__: layer.to_out[1](layer.to_out[0](layer.to_v(hidden)))


@contextmanager
def _instead(module: nn.Module, forward) -> Iterator[None]:
    """Another ``forward`` for a module; one that stood there before, as a memory profile's hook may, comes back afterwards."""
    kept = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if kept is not None:
            module.forward = kept
