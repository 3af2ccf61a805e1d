"""Slot-ID with one part exchanged, trained with the same budget: what the paper's questions are answered with.

The same encoder, tokens and LoRA; only what the slots read, or how, differs. Each has weights of its own beside Slot-ID's.
"""

from __future__ import annotations

from slotid.identity.slots import SlotID


class AnchorOnly(SlotID):
    """One picture: every frame of the clip but the anchor is hidden. How much does the clip add?"""

    name = "anchor"
    reader = "anchor"


class MeanPooled(SlotID):
    """The clip without routing: each slot gets the same weighted mean of all tokens. How much does routing add?"""

    name = "mean"
    reader = "mean"


class SoftAttention(SlotID):
    """Each slot picks its tokens by softmax attention, nothing makes the slots share the face out. How much does transport add?"""

    name = "attention"
    reader = "attention"


VARIANTS: tuple[type[SlotID], ...] = (SlotID, AnchorOnly, MeanPooled, SoftAttention)
