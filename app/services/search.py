"""Looking for records of a job with a bounded effort: a page of those that pass, and where to go on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlmodel import col

from app.db import AnyRow, reading
from app.models import Chunk, Kind
from app.services import reader
from app.services.records import MAX_RECORDS, STATUS

MOST_RECORDS = 15_000  # that one search unpacks, so that it ends soon …
MOST_BYTES = 8 << 20  # … unless they are large
MOST_CHUNKS = 5_000  # that it looks at in the index
AT_ONCE = 200


@dataclass(frozen=True)
class Record:
    """A record as it was found."""

    number: int  # index in the job
    line: bytes  # JSON
    value: Any


@dataclass(frozen=True)
class Page:
    """What a search found."""

    records: list[Record]
    start: int  # where it began
    stop: int  # where it would go on
    total: int  # records of the job

    @property
    def done(self) -> bool:
        """Was everything to the end looked at?"""
        return self.stop >= self.total


@dataclass(frozen=True)
class Wanted:
    """Which records; an empty field does not narrow."""

    level: int = 0  # log entries of this level or above
    status: str = ""  # of requests: "404", or "4xx"
    text: str = ""  # somewhere in the field, whatever the case
    field: str = ""  # where the text is looked for; empty: anywhere in the record

    @property
    def narrows(self) -> bool:
        """Does it select less than everything?"""
        return bool(self.level or self.status or self.text)

    def may_have(self, kind: Kind, counts: dict[str, int] | None) -> bool:
        """May a chunk with these counts hold such a record?"""
        if counts is None:  # stored by the first release
            return True
        if kind == Kind.LOGS and self.level:
            return any(not level.isdigit() or int(level) >= self.level for level in counts)
        if kind == Kind.REQUESTS and self.status:
            statuses = [name.removeprefix(STATUS) for name in counts if name.startswith(STATUS)]
            # Chunks of earlier releases did not count them.
            return not statuses or any(map(self._has_status, statuses))
        return True

    def _has_status(self, status: str) -> bool:
        return status == self.status or (self.status[1:] == "xx" and status[:1] == self.status[:1])

    def test(self) -> Callable[[bytes], Any]:
        """A function that gives the value of a line that passes, else None."""
        needle = self.text.casefold()
        # Most lines can be told apart as they are; only an escape may hide a letter.
        plain = needle.encode() if needle.isascii() and needle.isprintable() else b""

        def passes(line: bytes) -> Any:
            if plain and b"\\" not in line and line.isascii() and plain not in line.lower():
                return None
            value = orjson.loads(line)
            fields = value if isinstance(value, dict) else {}
            if self.level and not (isinstance(level := fields.get("level"), int) and level >= self.level):
                return None
            if self.status and not self._has_status(str(fields.get("status"))):
                return None
            if needle and needle not in self._searched(value).casefold():
                return None
            return value

        return passes

    def _searched(self, value: Any) -> str:
        if not isinstance(value, dict):
            return "" if self.field else _text(value)
        found = [value.get(self.field)] if self.field else value.values()
        return "\n".join(map(_text, found))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return "" if value is None else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads that deep
        return ""


def page(job_id: int, kind: Kind, total: int, start: int, count: int, wanted: Wanted) -> Page:
    """At most ``count`` records from the index ``start`` on that pass, of a job that has ``total``.

    A chunk is in memory at a time, and the search ends early when it was much work: the reader decides
    whether to go on. What the index of the chunks rules out is not even fetched.
    """
    found: list[Record] = []
    test = wanted.test()
    unpacked = size = looked = 0
    for chunk in _index(job_id, kind, start, total):
        if unpacked >= MOST_RECORDS or size >= MOST_BYTES or looked >= MOST_CHUNKS:
            return Page(found, start, chunk.first, total)
        looked += 1
        if not wanted.may_have(kind, chunk.counts):
            continue
        unpacked, size = unpacked + chunk[1], size + chunk.size
        for block in reader.read(job_id, kind, max(chunk.first, start), chunk.first + chunk[1]):
            for number, line in zip(block.numbers, block.lines, strict=True):
                value = test(line)
                if value is not None:
                    found.append(Record(number, line, value))
                    if len(found) == count:
                        return Page(found, start, number + 1, total)
    return Page(found, start, total, total)


def _index(job_id: int, kind: Kind, start: int, stop: int) -> Iterator[AnyRow]:
    """``first``, ``count``, ``size`` and ``counts`` of the chunks that overlap the range, some at a time."""
    mine = (col(Chunk.job_id) == job_id, col(Chunk.kind) == kind, col(Chunk.first) < stop)
    columns = (col(Chunk.first), col(Chunk.count), col(Chunk.size), col(Chunk.counts))
    first = start - MAX_RECORDS + 1  # none is longer
    while True:
        with reading() as session:
            rows = session.execute(
                select(*columns)
                .where(*mine, col(Chunk.first) >= first)
                .order_by(col(Chunk.first))
                .limit(AT_ONCE)
            ).all()
        yield from (row for row in rows if row.first + row[1] > start)
        if len(rows) < AT_ONCE:
            return
        first = rows[-1].first + 1
