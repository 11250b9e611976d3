"""Jobs in the order of their keys, a batch at a time; deleted ones are left out."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, takewhile
from typing import Any

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, reading
from app.keys import LARGEST, JobKey
from app.models import Chunk, Job, Kind, Spider
from app.services.joblist import LIVE
from app.services.records import COUNTERS

BATCH = 1000  # jobs that are read at once


def ids(project: int, spider: int | None, after: JobKey, limit: int) -> Iterator[list[int]]:
    """Row ids of jobs by key, some at a time, each in a transaction of its own.

    Args:
        spider: number of the spider; None: of all.
        after: the key before the first one.
        limit: of all together.

    """
    while limit > 0:
        with reading() as session:
            found = _by_key(session, project, spider, after, min(limit, BATCH), literal(1))
        if not found:
            return
        yield [row.id for row in found]
        limit -= len(found)
        after = JobKey(project, found[-1].spider_number, found[-1].number)


def with_records(
    session: Session, project: int, spider: int | None, kind: Kind, after: JobKey, limit: int
) -> Sequence[AnyRow]:
    """Jobs that have records of a kind: ``id``, ``number``, ``spider_number``, ``project_id``, and
    ``total``, the index after the last record.

    Args:
        spider: number of the spider; None: of all.
        after: the key before the first one.

    """
    # Not EXISTS, for which PostgreSQL may read the chunks of all jobs there are.
    any_chunk = select(literal(LARGEST)).where(col(Chunk.job_id) == col(Job.id), col(Chunk.kind) == kind)
    uncounted = func.coalesce(any_chunk.limit(1).correlate(Job).scalar_subquery(), 0)
    total = getattr(Job, COUNTERS[kind]) if kind in COUNTERS else uncounted
    return _by_key(session, project, spider, after, limit, total)


def _by_key(
    session: Session, project: int, spider: int | None, after: JobKey, limit: int, total: Any
) -> list[AnyRow]:
    """Jobs with a ``total`` above 0, by spider and number.

    1. A spider with many jobs is asked for by itself: its jobs are in an index in this order.
    2. Several that have few together are asked for at once, and sorted.
    Asked for in one, either database would read and sort all jobs of the project first.
    """
    columns = (col(Job.id), col(Job.number), col(Job.project_id), total.label("total"))
    passing = col(Job.state).in_(LIVE), total > 0
    found: list[AnyRow] = []
    first = after.spider
    while len(found) < limit and (some := _some(session, project, spider, first, limit)):
        if len(some) == 1:
            # Without a join or subquery, else PostgreSQL sorts them all.
            number, last = some[0].number, after.job if some[0].number == after.spider else 0
            statement = (
                select(*columns, literal(number).label("spider_number"))
                .where(col(Job.spider_id) == some[0].id, col(Job.number) > last, *passing)
                .order_by(col(Job.number))
            )
        else:
            place = tuple_(col(Spider.number), col(Job.number))
            statement = (
                select(*columns, col(Spider.number).label("spider_number"))
                .join(Spider, col(Spider.id) == col(Job.spider_id))
                .where(col(Job.spider_id).in_([each.id for each in some]), *passing)
                .where(place > tuple_(after.spider, after.job))
                .order_by(*place)
            )
        found += session.execute(statement.limit(limit - len(found)))
        first = some[-1].number + 1
    return found


def _some(session: Session, project: int, spider: int | None, first: int, limit: int) -> Sequence[AnyRow]:
    """The next spiders with jobs, from the number ``first`` on: one, or several with few jobs together."""
    wanted = [col(Spider.project_id) == project, col(Spider.number) >= first, col(Spider.jobs) > 0]
    if spider is not None:
        wanted.append(col(Spider.number) == spider)
    columns = (col(Spider.id), col(Spider.number), col(Spider.jobs))
    rows = session.execute(select(*columns).where(*wanted).order_by(col(Spider.number)).limit(limit)).all()
    small = sum(1 for _ in takewhile(lambda total: total <= limit, accumulate(row.jobs for row in rows)))
    return rows[: max(small, 1)]
