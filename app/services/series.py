"""How a job went, minute by minute: rates and memory for its charts. Never unpacks what the job found.

Our workers note where a job stands about every minute (oftener while it is young) as samples of six
numbers: time in ms, items, requests, log entries and errors so far, and the most bytes of memory that its
processes used since the sample before. Jobs that have none (they ran elsewhere, or before there were
samples), or only one or two, are drawn from the index of their records instead, which after a job's end is
coarser: small chunks are merged then, and what a chunk holds is spread evenly over its time.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app import chunks
from app.db import now_ms
from app.errors import Unavailable
from app.models import Chunk, Job, JobState, Kind
from app.services import payloads

POINTS = 240  # of a chart, at most
MINUTE_MS = 60_000
FEW = 3  # with fewer points from samples the index tells more
SHORTEST_MS = 2000  # between two points that come from samples
# Between two that come from the index: what a clock shows.
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400)
WIDTHS = [1000 * each for each in _SECONDS]


@dataclass
class Series:
    """Points in time, and of each what happened between the one before and it."""

    time: list[int] = field(default_factory=list)  # ms
    items: list[float] = field(default_factory=list)  # per minute
    requests: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    memory: list[int | None] = field(default_factory=list)  # bytes; None: not known
    peak: int | None = None  # bytes, the most there ever was

    def add(self, time: int, items: float, requests: float, errors: float, memory: int | None) -> None:
        """Add a point."""
        self.time.append(time)
        self.items.append(items)
        self.requests.append(requests)
        self.errors.append(errors)
        self.memory.append(memory)


def of_job(session: Session, job_id: int) -> Series:
    """The series of a job up to its end, or now; without points when it has not started."""
    columns: list[Any] = [Job.state, Job.running_time, Job.finished_time, Job.items, Job.pages, Job.errors]
    job = session.execute(select(*columns, now_ms().label("now")).where(col(Job.id) == job_id)).one_or_none()
    if job is None or job.running_time is None:
        return Series()
    start = job.running_time
    end = max(job.now if job.state == JobState.RUNNING else job.finished_time or job.now, start)
    samples = [each for each in _samples(session, job_id) if start <= each[0] <= end]
    if not samples:
        return _from_index(session, job_id, start, end)
    last = [end, job.items, job.pages, 0, job.errors, None]
    series = _from_samples(start, [*samples, last])
    if len(series.time) >= FEW:
        return series
    index = _from_index(session, job_id, start, end)
    return _with_memory(index, samples) if len(index.time) > len(series.time) else series


def _samples(session: Session, job_id: int) -> list[list[int]]:
    """Samples of a job, when they are ours; every so many of a job that has very many.

    While a job runs, each is a chunk of its own; those of the first minutes are so many as the next hour's.
    """
    mine = (col(Chunk.job_id) == job_id, col(Chunk.kind) == Kind.SAMPLES)
    last = session.scalar(select(func.max(col(Chunk.first))).where(*mine))
    step = (last or 0) // (4 * POINTS) + 1
    some = or_(col(Chunk.count) > 1, col(Chunk.first) % step == 0)
    columns = (col(Chunk.data), col(Chunk.object_url))
    rows = session.execute(select(*columns).where(*mine, some).order_by(col(Chunk.first))).all()
    try:
        samples = [orjson.loads(line) for row in rows for line in chunks.lines(payloads.read(row))]
    except Unavailable:  # a chart is not worth an error
        return []
    # A spider can write samples of its own, of whatever it likes.
    return [each for each in samples if len(each) == 6 and all(isinstance(value, int) for value in each)]


def _from_samples(start: int, samples: Sequence[Sequence[Any]]) -> Series:
    # What is left after the last full point would be drawn as wild as it is short.
    gap = max((samples[-1][0] - start) // POINTS, SHORTEST_MS)
    series = Series(peak=max((each[5] for each in samples if each[5] is not None), default=None))
    before: Sequence[Any] = [start, 0, 0, 0, 0]
    memory: list[int] = []
    for sample in samples:
        memory += [sample[5]] if sample[5] is not None else []
        if sample[0] - before[0] < gap and (sample is not samples[-1] or series.time):
            continue
        minutes = max(sample[0] - before[0], 1) / MINUTE_MS
        items, requests, _, errors = (
            round(max(now - then, 0) / minutes, 2) for now, then in zip(sample[1:5], before[1:5], strict=True)
        )
        series.add(sample[0], items, requests, errors, max(memory, default=None))
        before, memory = sample, []
    return series


def _with_memory(series: Series, samples: Sequence[Sequence[int]]) -> Series:
    series.peak = max(each[5] for each in samples)
    for sample in samples:
        place = max(bisect(series.time, sample[0]) - 1, 0)
        series.memory[place] = max(series.memory[place] or 0, sample[5])
    return series


def _from_index(session: Session, job_id: int, start: int, end: int) -> Series:
    width = next((width for width in WIDTHS if (end - start) / width <= POINTS), (end - start) // POINTS + 1)
    number = (end - start) // width + 1
    counted = {
        kind: _binned(session, job_id, kind, start, width, number)
        for kind in (Kind.ITEMS, Kind.REQUESTS, Kind.LOGS)
    }
    series = Series()
    for place in range(number if any(map(any, counted.values())) else 0):
        items, requests, errors = (round(counts[place] * MINUTE_MS / width, 2) for counts in counted.values())
        series.add(start + place * width, items, requests, errors, None)
    return series


def _binned(session: Session, job_id: int, kind: Kind, start: int, width: int, number: int) -> list[float]:
    """How many records (of log entries: errors) fall into each of ``number`` stretches of ``width`` ms."""
    first, last = ((time - start) // width for time in (col(Chunk.first_time), col(Chunk.last_time)))
    counted: Any = col(Chunk.count)
    if kind == Kind.LOGS:
        levels: Any = Chunk.counts
        counted = sum(func.coalesce(levels[str(level)].as_integer(), 0) for level in (40, 50))
    statement = (
        select(first.label("first"), last.label("last"), func.sum(counted).label("sum"))
        .where(col(Chunk.job_id) == job_id, col(Chunk.kind) == kind)
        .group_by(first, last)
    )
    bins = [0.0] * number
    for row in session.execute(statement):
        low, high = (min(max(int(place), 0), number - 1) for place in (row.first, row.last))
        for place in range(low, high + 1):
            bins[place] += float(row.sum) / (high - low + 1)
    return bins
