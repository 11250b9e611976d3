"""Items, log entries and requests of a job: append, read, count, purge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import chunks
from app.db import AnyRow, execute, now_ms, reading
from app.models import Chunk, Job, JobState, Kind

MAX_RECORDS = 1000  # in one chunk
MAX_BYTES = 1 << 20  # of a chunk before compression, unless one record alone is larger


@dataclass(frozen=True)
class Batch:
    """Records of one kind that follow each other; ``first`` is the index of the first one in the job."""

    kind: Kind
    first: int
    times: Sequence[int]  # ms, when each was received
    lines: Sequence[bytes]  # JSON, without newlines
    errors: int = 0  # log entries of level ERROR or above among them


COUNTERS = {Kind.ITEMS: "items", Kind.REQUESTS: "pages", Kind.LOGS: "logs"}


def append(
    session: Session, job_id: int, token: str, batches: Sequence[Batch], stats: dict[str, Any] | None
) -> bool:
    """Store batches, counters and, when given, the Scrapy stats of a running job, all or nothing.

    False: the token is not the owner's any more, and nothing was written. The guarded UPDATE comes
    first: it holds the row until commit, so the job cannot end or be taken away under the insert.
    """
    values: dict[str, Any] = {"updated_time": now_ms(), "touched_time": now_ms()}
    for batch in batches:
        values[COUNTERS[batch.kind]] = batch.first + len(batch.lines)
        if batch.errors:
            values["errors"] = Job.errors + batch.errors
    if stats is not None:
        values["scrapystats"] = stats
    owned = (col(Job.id) == job_id, col(Job.token) == token, col(Job.state) == JobState.RUNNING)
    if execute(session, update(Job).where(*owned).values(values)).rowcount != 1:
        return False
    if batches:
        session.execute(insert(Chunk), [_row(job_id, batch) for batch in batches])
    return True


def _row(job_id: int, batch: Batch) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "kind": batch.kind,
        "first": batch.first,
        "count": len(batch.lines),
        "first_time": batch.times[0],
        "last_time": batch.times[-1],
        "size": sum(map(len, batch.lines)),
        "data": chunks.pack(batch.times, batch.lines),
    }


def total(session: Session, job_id: int, kind: Kind) -> int:
    """How many records of the kind the job has: the counter, which is written with the records."""
    counter = getattr(Job, COUNTERS[kind])
    return session.scalar(select(counter).where(col(Job.id) == job_id)) or 0


@dataclass(frozen=True)
class Block:
    """Neighbouring records as they are stored; ``first`` is the index of the first one in the job."""

    first: int
    lines: list[bytes]  # JSON, without newlines
    times: list[int]  # ms, when each was received


def read(job_id: int, kind: Kind, start: int, stop: int, *, times: bool = False) -> Iterator[Block]:
    """The records ``start`` … ``stop - 1`` in blocks; fewer when there are fewer.

    Args:
        times: fill in ``Block.times``, which cost unpacking them.

    One chunk is in memory at a time, fetched in a transaction of its own, so that a client that reads
    slowly holds nothing. Each is looked up by the position reached, never by a remembered list: chunks
    may be merged or purged meanwhile.

    """
    while start < stop:
        with reading() as session:
            row = session.execute(
                select(col(Chunk.first), col(Chunk.count), col(Chunk.data))
                .where(
                    col(Chunk.job_id) == job_id,
                    col(Chunk.kind) == kind,
                    col(Chunk.first) + col(Chunk.count) > start,
                    # No chunk is longer than MAX_RECORDS: this bound lets the primary key find it.
                    col(Chunk.first) > start - MAX_RECORDS,
                )
                .order_by(col(Chunk.first))
                .limit(1)
            ).one_or_none()
        if row is None or row.first >= stop:
            return
        wanted = slice(max(start - row.first, 0), stop - row.first)
        lines = chunks.lines(row.data)[wanted]
        yield Block(max(start, row.first), lines, chunks.times(row.data)[wanted] if times else [])
        start = row.first + row.count


def compact(session: Session, job_id: int) -> None:
    """Merge the neighbouring small chunks of a finished job, as a slow spider leaves them."""
    for kind in Kind:
        rows = session.execute(
            select(col(Chunk.first), col(Chunk.count), col(Chunk.size))
            .where(col(Chunk.job_id) == job_id, col(Chunk.kind) == kind)
            .order_by(col(Chunk.first))
        ).all()
        group: list[AnyRow] = []
        for row in rows:
            if group and (
                sum(each[1] for each in group) + row[1] > MAX_RECORDS
                or sum(each.size for each in group) + row.size > MAX_BYTES
                or group[-1].first + group[-1][1] != row.first
            ):
                _merge(session, job_id, kind, group)
                group = []
            group.append(row)
        _merge(session, job_id, kind, group)


def _merge(session: Session, job_id: int, kind: Kind, group: Sequence[AnyRow]) -> None:
    if len(group) < 2:
        return
    these = (
        col(Chunk.job_id) == job_id,
        col(Chunk.kind) == kind,
        col(Chunk.first).between(group[0].first, group[-1].first),
    )
    data = session.scalars(select(col(Chunk.data)).where(*these).order_by(col(Chunk.first))).all()
    times = [time for chunk in data for time in chunks.times(chunk)]
    lines = [line for chunk in data for line in chunks.lines(chunk)]
    session.execute(delete(Chunk).where(*these))
    session.execute(insert(Chunk), [_row(job_id, Batch(kind, group[0].first, times, lines))])


def purge(session: Session, job_ids: Sequence[int]) -> None:
    """Remove all records of jobs."""
    session.execute(delete(Chunk).where(col(Chunk.job_id).in_(job_ids)))
