"""Which seeds are whom. A person is one integer; this is the only place that says who may be trained on."""

from __future__ import annotations

from slotid.types import SlotIDError

SPLITS: dict[str, range] = {
    "train": range(0, 100_000),
    "validation": range(1_000_000, 1_100_000),
    "test": range(2_000_000, 2_100_000),
    "judges": range(3_000_000, 3_100_000),  # the judges' own training people: never shown to a method
}


def split_of(seed: int) -> str:
    """Name of the split that a person's seed belongs to; a seed in none of them raises SlotIDError."""
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    ranges = ", ".join(f"{name} {seeds.start}..{seeds.stop - 1}" for name, seeds in SPLITS.items())
    raise SlotIDError(f"person {seed} belongs to no split; take a seed from: {ranges}.")


def split_range(start: int, stop: int) -> str:
    """Name of the one split that holds all of start..stop-1; SlotIDError when the range is empty or crosses splits."""
    if start >= stop:
        raise SlotIDError(f"people {start}:{stop} is an empty range; write FIRST:LAST+1, for example 0:100.")
    first, last = split_of(start), split_of(stop - 1)
    if first != last:
        raise SlotIDError(f"people {start}:{stop} mixes the splits {first} and {last}; render each split on its own.")
    return first
