"""What every row is given, what it hands back, and rounds in which the pair takes turns."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.process import say

MARK = "the mark"  # in the peer's place: a limit that we set ourselves, nothing that was measured


class Absent(Exception):
    """A program that a row needs is not on this machine; the message says where it comes from."""


@dataclass
class Row:
    """One line of the table: our figure beside the peer's, or beside a mark."""

    what: str
    unit: str
    better: Literal["more", "less"]
    ours: float
    peer_name: str
    peer: float

    @property
    def ratio(self) -> float:
        """Our figure divided by the peer's."""
        return self.ours / self.peer if self.peer else float("nan")


@dataclass
class Lab:
    """How long to measure, and where."""

    folder: Path
    quick: bool
    rounds: int
    _places: int = field(default=0, repr=False)

    def of(self, full: int, quick: int) -> int:
        """A size of the full run, or of the quick one."""
        return quick if self.quick else full

    def place(self, name: str) -> Path:
        """A new folder."""
        self._places += 1
        return self.folder / f"{name}-{self._places}"

    def turns(
        self, what: str, sides: Sequence[Callable[[], float]], rounds: int | None = None
    ) -> list[list[float]]:
        """Measure the sides in turn, the first one first in every second round."""
        figures: list[list[float]] = [[] for _ in sides]
        for number in range(rounds or self.rounds):
            order = list(enumerate(sides))
            for place, measure in order if number % 2 == 0 else reversed(order):
                figures[place].append(measure())
            latest = " | ".join(f"{figure[-1]:.4g}" for figure in figures)
            say(f"{what}: round {number + 1}: {latest}")
        return figures


def median(figures: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(figures)


def rates(
    what: str,
    size: tuple[int, int],
    ours: Sequence[float],
    peer_name: str,
    theirs: Sequence[float],
) -> list[Row]:
    """Two lines from the seconds that each side took.

    Args:
        size: how many records, and how many bytes they have as JSON lines, whatever form they travelled in.
        ours: seconds of each round.
        theirs: the peer's.

    """
    mine, others = median(ours), median(theirs)
    return [
        Row(what, unit, "more", amount / mine, peer_name, amount / others)
        for unit, amount in (("records/s", size[0]), ("MB/s", size[1] / 1e6))
    ]
