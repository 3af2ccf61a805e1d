"""Methods by name. A new method is one file and one line here."""

from __future__ import annotations

from importlib import import_module

from slotid.types import SlotIDError

METHODS: dict[str, str] = {  # name -> module:class, imported when it is asked for
    "slots": "slotid.identity.slots:SlotID",
    "anchor": "slotid.identity.variants:AnchorOnly",
    "mean": "slotid.identity.variants:MeanPooled",
    "attention": "slotid.identity.variants:SoftAttention",
    "exemplars": "slotid.identity.exemplars:Exemplars",
    "none": "slotid.identity.method:Method",
}


def method_class(name: str) -> type:
    """The class of a method.

    Raises:
        SlotIDError: unknown name; lists the known ones.
    """
    if name not in METHODS:
        raise SlotIDError(f"Unknown method '{name}'; known are {', '.join(METHODS)}. Choose one of them.")
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def methods_for(supported: tuple[str, ...]) -> list[str]:
    """Names of the methods that a backbone can do (``backbone.supported``): what a page offers."""
    return [name for name in METHODS if set(method_class(name).asks) <= set(supported)]
