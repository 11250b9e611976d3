"""What a row needs of either side, so that it is written once."""

from collections.abc import Mapping
from typing import Protocol

from bench.load import Post


class Target(Protocol):
    """A running server with the measured project deployed."""

    name: str

    def schedules(self) -> Post:
        """The schedule request of the spider ``three``, another argument each time."""
        ...

    def schedule(self, spider: str, args: Mapping[str, str]) -> str:
        """Schedule one job; its id."""
        ...

    def finished(self) -> int:
        """How many jobs have ended so far."""
        ...

    def logged(self, job: str) -> bool:
        """Can the spider's own first log line be read?"""
        ...
