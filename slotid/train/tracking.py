"""Numbers of a training run for TensorBoard or trackio, where one of them is installed; ``log.jsonl`` is written in any case."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slotid.types import SlotIDError

KINDS = ("none", "tensorboard", "trackio")


class Tracker:
    """``add`` of every line of the log; "none" does nothing."""

    def __init__(self, kind: str, out: Path, project: str):
        if kind not in KINDS:
            raise SlotIDError(f"Unknown tracker '{kind}'; expected one of {', '.join(KINDS)}.")
        if kind != "none" and find_spec(kind) is None:
            raise SlotIDError(
                f"--tracker {kind} needs the package {kind}; run `pip install {kind}`, or leave it out: log.jsonl is always written."
            )
        self.kind = kind
        self._writer: Any = None
        if kind == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(Path(out) / "tensorboard"))
        elif kind == "trackio":
            import trackio

            trackio.init(project=project)
            self._writer = trackio

    def add(self, line: dict[str, float]) -> None:
        """The numbers of a line, at its ``step``: a resumed run goes on where its curve ended."""
        step, numbers = int(line["step"]), {name: value for name, value in line.items() if name != "step"}
        if self.kind == "tensorboard":
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)
        elif self.kind == "trackio":
            self._writer.log(numbers, step=step)

    def close(self) -> None:
        """Write what is left."""
        if self.kind == "tensorboard":
            self._writer.close()
        elif self.kind == "trackio":
            self._writer.finish()
