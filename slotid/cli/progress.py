"""A progress bar on stderr: one line that is rewritten on a terminal, one line per stage in a log."""

from __future__ import annotations

import sys
from typing import TextIO

STAGES = {
    "face": "finding the face",
    "remember": "reading the identity",
    "read": "reading the prompt",
    "denoise": "dreaming the film",
    "decode": "developing the film",
    "likeness": "measuring likeness",
}


def clock(seconds: float) -> str:
    """``0:07`` or ``2:31``: minutes and seconds, rounded up so that a wait is never understated."""
    whole = max(0, int(seconds + 0.999))
    return f"{whole // 60}:{whole % 60:02d}"


class Progress:
    """Draws ``stage [#####-----] 5/16 0:07 left``. Silent when ``quiet``; never writes to stdout."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False, width: int = 24):
        self.stream = sys.stderr if stream is None else stream
        self.live = bool(getattr(self.stream, "isatty", lambda: False)())
        self.quiet, self.width = quiet, width
        self._stage: str | None = None
        self._drawn = False

    def update(self, stage: str, step: int = 0, steps: int = 0, seconds_left: float | None = None) -> None:
        """Shows ``step`` of ``steps`` done in ``stage``; ``steps`` 0 shows the stage's name alone."""
        if self.quiet:
            return
        name = STAGES.get(stage, stage)
        if not self.live:
            if stage != self._stage:
                print(f"{name} ...", file=self.stream, flush=True)
            self._stage = stage
            return
        if stage != self._stage:
            self.finish()
        self._stage = stage
        line = f"{name:<22}"
        if steps:
            done = round(self.width * min(step, steps) / steps)
            line += f"[{'#' * done}{'-' * (self.width - done)}] {step}/{steps}"
        if seconds_left is not None:
            line += f"  {clock(seconds_left)} left"
        print(f"\r{line:<72}", end="", file=self.stream, flush=True)
        self._drawn = True

    def finish(self) -> None:
        """Ends the current line, so that what follows starts on its own."""
        if self._drawn:
            print(file=self.stream, flush=True)
        self._drawn, self._stage = False, None
