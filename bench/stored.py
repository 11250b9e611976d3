"""A job with any number of items, put into the database as a worker would, but each chunk packed once."""

from dataclasses import replace
from functools import cache

from sqlalchemy.orm import Session

from app.db import make_engine
from app.keys import JobKey
from app.models import Job, Kind
from app.services import jobs, records
from bench import typical

VARIETY = 20  # chunks of different items, which repeat
AT_ONCE = 500  # chunks in a transaction


def fill(url: str, job: str, count: int) -> None:
    """Store ``count`` typical items in a job that has none; the millions take seconds."""
    engine = make_engine(url)
    for first in range(0, count, AT_ONCE * records.MAX_RECORDS):
        with Session(engine.execution_options(writes=True)) as session:
            job_id = jobs.find(session, JobKey.parse(job))
            assert job_id is not None
            stop = min(first + AT_ONCE * records.MAX_RECORDS, count)
            batches = [_batch(start, stop) for start in range(first, stop, records.MAX_RECORDS)]
            records.add(session, job_id, batches)
            session.get_one(Job, job_id).items = stop
            session.commit()
    engine.dispose()


def _batch(first: int, stop: int) -> records.Batch:
    size = min(records.MAX_RECORDS, stop - first)
    return replace(_packed(first // records.MAX_RECORDS % VARIETY, size), first=first)


@cache
def _packed(kind: int, size: int) -> records.Batch:
    lines = typical.lines(size, kind * records.MAX_RECORDS).splitlines()
    return records.pack(Kind.ITEMS, 0, [1_700_000_000_000 + place for place in range(size)], lines)
