"""One line on stderr that says how far an evaluation is."""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import numpy as np


class Progress:
    """One line on stderr with what is left, learnt from how long each kind of film took."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = defaultdict(int)
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.live = sys.stderr.isatty()
        self.last = 0.0

    def expect(self, kinds: list[str]) -> None:
        """What is to come."""
        for kind in kinds:
            self.waiting[kind] += 1

    def show(self, what: str, done: int, of: int) -> None:
        """``what`` is at ``done`` of ``of``; at most every 5 s where stderr is no terminal."""
        if not self.live and time.monotonic() - self.last < 5:
            return
        self.last = time.monotonic()
        line = f"{what} {done}/{of}{self.left()}"
        print(f"\r{line:<78}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def left(self) -> str:
        """ ", 2:31 left", or nothing while unknown."""
        if not any(self.taken.values()):
            return ""
        usual = float(np.mean([second for seconds in self.taken.values() for second in seconds]))
        rest = sum(count * (float(np.mean(self.taken[kind])) if self.taken[kind] else usual) for kind, count in self.waiting.items())
        return f", {int(rest + 0.999) // 60}:{int(rest + 0.999) % 60:02d} left"

    def timed(self, kind: str) -> _Timed:
        """Context around one film."""
        return _Timed(self, kind)

    def done(self) -> None:
        """Ends the line."""
        if self.live:
            print(file=sys.stderr)


class _Timed:
    def __init__(self, progress: Progress, kind: str):
        self.progress, self.kind = progress, kind

    def __enter__(self) -> None:
        self.begun = time.monotonic()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            p = self.progress
            p.taken[self.kind].append(time.monotonic() - self.begun)
            p.waiting[self.kind] -= 1
            p.show(self.kind, len(p.taken[self.kind]), len(p.taken[self.kind]) + p.waiting[self.kind])
