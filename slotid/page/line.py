"""The line before the models: first come, first served, and everybody who waits is told his place and the time left.

The page's own, not the framework's queue: that one tells a place only in a corner of the component, and times only from past runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(eq=False)
class Ticket:
    """One piece of work. ``seconds_left``: what it is thought to need yet, without the waiting."""

    seconds_left: float
    since: float = field(default_factory=time.monotonic)

    def expect(self, seconds: float) -> None:
        """A new estimate, from now on."""
        self.seconds_left, self.since = seconds, time.monotonic()


class Line:
    """``places`` pieces of work run at a time, the others wait in order. Thread-safe."""

    def __init__(self, places: int = 1):
        self.places = places
        self._tickets: list[Ticket] = []
        self._moved = threading.Condition()

    def enter(self, seconds: float) -> Ticket:
        """Takes the last place; leave with ``leave``, whatever happens. ``seconds``: what the work is thought to need."""
        ticket = Ticket(seconds)
        with self._moved:
            self._tickets.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Gives the place free; the next ones move up. Leaving twice does no harm."""
        with self._moved:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
            self._moved.notify_all()

    def place(self, ticket: Ticket) -> tuple[int, float]:
        """(how many must finish before it starts, seconds until then as far as is known)."""
        with self._moved:
            before = self._tickets[: self._tickets.index(ticket)]
        now = time.monotonic()
        running = [max(0.0, one.seconds_left - (now - one.since)) for one in before[: self.places]]
        seconds = sum(running) + sum(one.seconds_left for one in before[self.places :])
        return max(0, len(before) - self.places + 1), seconds / self.places

    def wait(self, ticket: Ticket, given_up: Callable[[], bool] = lambda: False, every: float = 1.0) -> Iterator[tuple[int, float]]:
        """Until it is this ticket's turn: yields ``place`` at once and then about ``every`` seconds. Ends early when ``given_up()``."""
        while (place := self.place(ticket))[0] > 0 and not given_up():
            yield place
            with self._moved:
                self._moved.wait(every)
        if not given_up():
            ticket.since = time.monotonic()


def waiting_words(place: int, seconds: float) -> str:
    """``place`` 1: next."""
    from slotid.cli.progress import clock

    who = "One visitor is before you" if place == 1 else f"{place} visitors are before you"
    return f"Waiting in line: {who}, your turn {f'in about {clock(seconds)}' if seconds >= 1 else 'any moment'}."
