"""Encoded takes in tar shards laid out as webdataset does: files of one sample share a name, ``KEY.json`` and ``KEY.safetensors``.

Any webdataset reader can stream them. We read them by position instead: pairs need the takes of one person from anywhere, and a
stream's order is the order on disk. So the standard library's tarfile is enough and nothing is added to what must be installed.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from slotid.types import SlotIDError

FORMAT = "slotid-takes-1"


class ShardWriter:
    """Writes ``takes-RANK-NUMBER.tar``; a shard gets its name when it is full or closed, so that a broken-off one is never read.

    Args:
        rank: of this process; each writes shards of its own. about: what every sample was made with; must agree when training reads.
    """

    def __init__(self, folder: str | Path, about: dict[str, Any], rank: int = 0, per_shard: int = 64):
        self.folder, self.rank, self.per_shard = Path(folder), rank, per_shard
        self.about = {"format": FORMAT, **about}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tar: tarfile.TarFile | None = None
        self._count = 0

    def add(self, key: str, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """One sample. ``key`` becomes a file name: no dots or slashes."""
        from safetensors.torch import save

        if self._tar is None:
            self._tar = tarfile.open(self._part, "w")
        plain = json.dumps({**self.about, **told}).encode()
        for suffix, data in (("json", plain), ("safetensors", save({k: v.contiguous() for k, v in tensors.items()}))):
            entry = tarfile.TarInfo(f"{key}.{suffix}")
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))
        self._count += 1
        if self._count >= self.per_shard:
            self.close()

    def close(self) -> None:
        """Finish the shard at hand."""
        if self._tar is None:
            return
        self._tar.close()
        number = 0
        while (target := self.folder / f"takes-{self.rank:03d}-{number:05d}.tar").exists():
            number += 1
        self._part.rename(target)
        self._tar, self._count = None, 0

    @property
    def _part(self) -> Path:
        return self.folder / f"takes-{self.rank:03d}.part"

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Entry:
    """Where a sample lies."""

    shard: Path
    offset: int
    size: int
    told: dict[str, Any]


class Shards:
    """All finished shards of a folder, read by position; ``told`` of every sample is in memory, tensors are not.

    Raises:
        SlotIDError: no shards, a damaged one, or one made with something else (``about``).
    """

    def __init__(self, folder: str | Path, about: dict[str, Any] | None = None):
        self.entries = [entry for shard in sorted(Path(folder).glob("takes-*.tar")) for entry in _index(shard)]
        if not self.entries:
            raise SlotIDError(f"{folder} holds no finished shards; run the recipe with --prepare first.")
        for key, value in (about or {}).items():
            found = self.entries[0].told.get(key)
            other = next((e for e in self.entries if e.told.get(key) != value), None)
            if other is not None:
                raise SlotIDError(
                    f"The shards in {folder} were made with {key} '{other.told.get(key, found)}'; this run has '{value}'. "
                    "Name another folder with --cache, or prepare again."
                )

    def __len__(self) -> int:
        return len(self.entries)

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The tensors of a sample, read from disk now."""
        from safetensors.torch import load

        entry = self.entries[row]
        with open(entry.shard, "rb") as file:
            file.seek(entry.offset)
            return load(file.read(entry.size))


def _index(shard: Path) -> list[Entry]:
    entries, told = [], {}
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if suffix == "json":
                    told[key] = json.loads(tar.extractfile(member).read())
                elif suffix == "safetensors":
                    entries.append(Entry(shard, member.offset_data, member.size, told[key]))
    except (tarfile.TarError, ValueError, KeyError, OSError) as error:
        raise SlotIDError(f"{shard} cannot be read ({error}); delete it and prepare again.") from error
    if any(entry.told.get("format") != FORMAT for entry in entries):
        raise SlotIDError(f"{shard} was not written by this program (format {FORMAT}); name another folder with --cache.")
    return entries


def known_keys(folder: str | Path) -> set[str]:
    """Sources already in finished shards: preparing again goes on where it stopped."""
    return {entry.told["source"] for shard in sorted(Path(folder).glob("takes-*.tar")) for entry in _index(shard)}
