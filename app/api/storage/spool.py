"""Rows that wait for their transaction: checked as they come, stored all at once."""

import struct
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import TypeVar

MEMORY = 8 << 20  # bytes that wait in memory; more of them in a file
ROWS = 1000  # of one portion, and
BYTES = 4 << 20  # of these, unless one row alone is larger

T = TypeVar("T")


class RowSpool:
    """Rows of byte strings, all of the same number; whatever their size, they take little memory."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._lengths = struct.Struct(f"<{width}I")
        self._file = tempfile.SpooledTemporaryFile(MEMORY)  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> "RowSpool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, *parts: bytes) -> None:
        """Take one row."""
        self._file.write(self._lengths.pack(*map(len, parts)))
        for part in parts:
            self._file.write(part)
        self.count += 1

    def rows(self) -> Iterator[tuple[bytes, ...]]:
        """All rows, from the first."""
        self._file.seek(0)
        while lengths := self._file.read(self._lengths.size):
            yield tuple(map(self._file.read, self._lengths.unpack(lengths)))

    def portions(self) -> Iterator[list[tuple[bytes, ...]]]:
        """All rows, as many together as one statement takes."""
        portion: list[tuple[bytes, ...]] = []
        size = 0
        for row in self.rows():
            length = sum(map(len, row))
            if portion and (len(portion) == ROWS or size + length > BYTES):
                yield portion
                portion, size = [], 0
            portion.append(row)
            size += length
        if portion:
            yield portion


def portions(values: Iterable[T]) -> Iterator[list[T]]:
    """Small values, as many together as one statement takes."""
    left = iter(values)
    while portion := list(islice(left, ROWS)):
        yield portion
