"""The small chunks of a finished job become fewer, as a slow spider leaves them."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import and_, select, update
from sqlmodel import col

from app import chunks
from app.db import AnyRow, reading, transaction
from app.errors import ObjectLost
from app.models import Chunk, Job, JobState, Kind
from app.services import payloads, records

log = logging.getLogger(__name__)


def compact(job_id: int, until: float | None = None) -> bool:
    """Merge the neighbouring small chunks of a finished job.

    Args:
        until: stop then, on the clock of ``time.monotonic``; what was done stays done.

    1. Chunks are read, merged and placed without a transaction: that may be slow.
    2. The transaction that puts the merged one in their place holds the job, so that uploads wait, and looks
       whether the chunks are still those that were read, to the byte; else it leaves them.
    3. The job is marked once nothing is left, unless it was touched since; a kill before repeats the rest.

    Returns: False when there may be more to do.

    Raises:
        StoreAway: the chunk store did not answer.

    """
    unmarked = [col(Job.id) == job_id, col(Job.state) == JobState.FINISHED]
    with reading() as session:
        touched = session.scalar(select(col(Job.touched_time)).where(*unmarked))
    for kind in Kind:
        for group in _groups(job_id, kind):
            if until is not None and time.monotonic() >= until:
                return False
            try:
                _merge(job_id, kind, group)
            except ObjectLost:
                log.error("job row %s: %s from %s on stay as they are", job_id, kind, group[0].first)
    with transaction() as session:
        session.execute(update(Job).where(*unmarked, col(Job.touched_time) == touched).values(compacted=True))
    return True


def _groups(job_id: int, kind: Kind) -> Iterator[list[AnyRow]]:
    """Neighbours that fit into one chunk."""
    columns: Sequence[Any] = (Chunk.first, col(Chunk.count).label("number"), Chunk.size)
    with reading() as session:
        rows = session.execute(
            select(*columns).where(records.of(job_id, kind)).order_by(col(Chunk.first))
        ).all()
    group: list[AnyRow] = []
    for row in rows:
        if group and (
            sum(each.number for each in group) + row.number > records.MAX_RECORDS
            or sum(each.size for each in group) + row.size > records.MAX_BYTES
            or group[-1].first + group[-1].number != row.first
        ):
            if len(group) > 1:
                yield group
            group = []
        group.append(row)
    if len(group) > 1:
        yield group


def _merge(job_id: int, kind: Kind, group: Sequence[AnyRow]) -> None:
    these = and_(records.of(job_id, kind), col(Chunk.first).between(group[0].first, group[-1].first))
    stored = select(*payloads.COLUMNS).where(these).order_by(col(Chunk.first))
    with reading() as session:
        rows = session.execute(stored).all()
    if [(row.first, row.number) for row in rows] != [(row.first, row.number) for row in group]:
        return
    times, lines = [], []
    for row in rows:
        data = payloads.read(row)
        times += payloads.times(row, data)
        lines += chunks.lines(data)
    merged = records.placed([records.pack(kind, rows[0].first, times, lines)])
    with transaction() as session:
        held = select(col(Job.id)).where(col(Job.id) == job_id, col(Job.state) == JobState.FINISHED)
        if session.scalar(held.with_for_update(key_share=True)) is None:
            return
        if session.execute(stored).all() == rows:
            payloads.remove(session, these)
            records.add(session, job_id, merged)
