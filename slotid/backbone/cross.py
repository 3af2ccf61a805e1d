"""Cross-attention that reads its context once: keys and values of text and identity do not change from step to step.

A processor is diffusers' own place for this (``attention.set_processor``). Without a store it is the library's, bitwise; with one, the
context's keys and values are made at the first step and kept. The store belongs to the caller (one film), not to the model.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import Tensor, nn


class CrossMemory(WanAttnProcessor):
    """See above. ``store`` is set by the driver for one forward and taken away again."""

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Tensor] | None = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None) -> Tensor:
        """hidden_states (B, N, width); with a filled store ``encoder_hidden_states`` is not looked at."""
        if self.store is None or encoder_hidden_states is None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
        if not self.store:
            key = attn.norm_k(attn.to_k(encoder_hidden_states)).unflatten(2, (attn.heads, -1))
            self.store |= {"key": key, "value": attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))}
        query = attn.norm_q(projected(attn.to_q, hidden_states)).unflatten(2, (attn.heads, -1))
        out = dispatch_attention_fn(
            query, self.store["key"], self.store["value"], attn_mask=None, dropout_p=0.0, is_causal=False, backend=self._attention_backend
        )
        out = out.flatten(2, 3).type_as(query)
        return attn.to_out[1](projected(attn.to_out[0], out))


def projected(layer: nn.Module, x: Tensor) -> Tensor:
    """A linear layer, its LoRA folded into the weight for this call: x (W + s B A)^T.

    peft applies LoRA to the tokens, two more products and an addition over all of them; a film has thousands of times more tokens than
    the weight has rank, so adding to the weight is nearly free. The frozen weight itself is never changed. Layers that are quantised,
    stored in 8 bits or moved by hooks keep peft's way.
    """
    base = getattr(layer, "base_layer", None)
    if base is None or type(base) is not nn.Linear or torch.is_grad_enabled() or layer.disable_adapters or layer.merged:
        return layer(x)
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    hooked = hasattr(base, "_diffusers_hook") or hasattr(base, "_hf_hook") or hasattr(layer, "_hf_hook")
    if hooked or len(names) != 1 or base.weight.dtype != x.dtype or base.weight.is_meta:
        return layer(x)
    a, b, scale = layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight, layer.scaling[names[0]]
    weight = torch.addmm(base.weight.to(b.dtype), b, a, alpha=scale).to(x.dtype)
    return F.linear(x, weight, base.bias)


def attach(net: nn.Module) -> None:
    """Give every cross-attention of a Wan transformer the processor above (once)."""
    for block in net.blocks:
        if not isinstance(block.attn2.processor, CrossMemory):
            backend = getattr(block.attn2.processor, "_attention_backend", None)
            block.attn2.set_processor(CrossMemory())
            block.attn2.processor._attention_backend = backend


class remembering:
    """Context in which the blocks of ``net`` keep their keys and values in ``cache``; None leaves the library as it is."""

    def __init__(self, net: nn.Module, cache: dict[Any, Any] | None, which: str):
        self.net, self.cache, self.which = net, cache, which

    def __enter__(self) -> bool:
        """True when the cache is filled: the context need not be embedded again."""
        if self.cache is None:
            return False
        attach(self.net)
        filled = bool(self.cache.get((self.which, 0)))
        for k, block in enumerate(self.net.blocks):
            block.attn2.processor.store = self.cache.setdefault((self.which, k), {})
        return filled

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.cache is None:
            return
        for block in self.net.blocks:
            block.attn2.processor.store = None
        if kind is not None:  # half of it may be there
            self.cache.clear()


def belongs(cache: dict[Any, Any] | None, *what: Any) -> None:
    """Empty a cache that was made for other texts or another conditioning, so that a stale one can never be read."""
    if cache is None:
        return
    made_for = cache.get("for")
    if made_for is None or any(a is not b for a, b in zip(made_for, what, strict=True)):
        cache.clear()
        cache["for"] = what
