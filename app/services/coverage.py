"""What a job's records are like, as their chunks have counted it: fields of items, levels, statuses."""

from collections import Counter
from dataclasses import dataclass

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import reading
from app.errors import Refused
from app.models import Chunk, Kind
from app.services import reader, records
from app.services.records import STATUS

MOST_CHUNKS = 2000  # that are added up, the last ones
AT_ONCE = 500  # of all of them
MOST_FIELDS = 10_000  # different ones, that a table can have as columns


@dataclass(frozen=True)
class Coverage:
    """What was counted."""

    counts: dict[str, int]  # how many items have each field, requests each status, log entries each level
    seen: int  # records that were counted
    total: int  # records that there are

    @property
    def complete(self) -> bool:
        """Was every record counted?"""
        return self.seen >= self.total


def of_job(session: Session, job_id: int, kind: Kind) -> Coverage:
    """Of a very large job, that of its last records; chunks of earlier releases may not have been counted."""
    statement = (
        select(col(Chunk.count), col(Chunk.counts))
        .where(col(Chunk.job_id) == job_id, col(Chunk.kind) == kind)
        .order_by(col(Chunk.first).desc())
        .limit(MOST_CHUNKS)
    )
    counts: Counter[str] = Counter()
    seen = 0
    for number, fields in session.execute(statement):
        if kind == Kind.REQUESTS:
            fields = _statuses(fields or {})  # noqa: PLW2901
        if fields or (fields is not None and kind == Kind.ITEMS):
            counts.update(fields)
            seen += number
    return Coverage(dict(counts), seen, records.total(session, job_id, kind))


def fields(job_id: int) -> dict[str, int]:
    """How many of a job's items have each field, of all its items: those that were not counted are read.

    Raises:
        Refused: they have more than MOST_FIELDS different ones.

    """
    counts: Counter[str] = Counter()
    last = -1
    columns = (col(Chunk.first), col(Chunk.count), col(Chunk.counts))
    mine = (col(Chunk.job_id) == job_id, col(Chunk.kind) == Kind.ITEMS)
    while True:
        with reading() as session:
            some = select(*columns).where(*mine, col(Chunk.first) > last).order_by(col(Chunk.first))
            rows = session.execute(some.limit(AT_ONCE)).all()
        for first, number, counted in rows:
            counts.update(_counted(job_id, first, number) if counted is None else counted)
            if len(counts) > MOST_FIELDS:
                raise Refused(f"no table: the items have more than {MOST_FIELDS} different fields")
        if len(rows) < AT_ONCE:
            return dict(counts)
        last = rows[-1].first


def _counted(job_id: int, first: int, number: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for block in reader.read(job_id, Kind.ITEMS, first, first + number):
        counts.update(records.measure(Kind.ITEMS, [orjson.loads(line) for line in block.lines])[0])
    return counts


def _statuses(fields: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix(STATUS): number for name, number in fields.items() if name.startswith(STATUS)}
