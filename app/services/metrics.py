"""What a monitor asks about the whole platform: each from an index that knows it, no long counts."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, now_ms
from app.models import (
    Delivery,
    DeliveryState,
    Job,
    JobState,
    PeriodicJob,
    PeriodicRun,
    RunState,
    Worker,
)
from app.services.firing import PUT_OFF_MS

MOST = 10_000  # rows that are counted one by one; there may be more when it is reached
MOST_FINISHED = 50_000  # the same of finished jobs
MOST_STARTED = 5_000  # starts from which the latency is taken
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
LATELY_MS = 900_000
OVERDUE_MS = 120_000  # a schedule whose time, with its jitter, is so long ago did not run
MOST_OVERDUE = 100  # schedules that are named
OUTCOMES = 50  # close reasons that are told apart: spiders make up their own
PRIORITIES = range(5)


def _count(session: Session, *conditions: Any, by: Any) -> int:
    """How many rows there are, at most MOST.

    Args:
        by: a column of the index to count in. Left to itself, SQLite would rather scan a larger one.

    """
    found = select(by).where(*conditions).order_by(by).limit(MOST).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def queue(session: Session) -> dict[int, int]:
    """Pending jobs by priority, of each at most MOST."""
    pending = col(Job.state) == JobState.PENDING
    return {each: _count(session, pending, col(Job.priority) == each, by=Job.id) for each in PRIORITIES}


def running(session: Session) -> int:
    """Running jobs, at most MOST."""
    return _count(session, col(Job.state) == JobState.RUNNING, by=Job.id)


def finished(session: Session) -> list[tuple[str, int, int]]:
    """How jobs ended lately: outcome, how many within an hour, within a day; the most frequent first.

    The newest MOST_FINISHED are looked at.
    """
    columns: list[Any] = [func.coalesce(col(Job.close_reason), "").label("outcome"), col(Job.state_time)]
    lately = (
        select(*columns)
        .where(col(Job.state) == JobState.FINISHED, col(Job.state_time) > now_ms() - DAY_MS)
        .order_by(col(Job.state_time).desc())
        .limit(MOST_FINISHED)
        .subquery()
    )
    day = func.count()
    hour = func.count(case((lately.c.state_time > now_ms() - HOUR_MS, 1)))
    grouped = select(lately.c.outcome, hour, day).group_by(lately.c.outcome).order_by(day.desc())
    rows = [(outcome, int(hours), int(days)) for outcome, hours, days in session.execute(grouped)]
    if rest := rows[OUTCOMES:]:
        rows[OUTCOMES:] = [("other", sum(row[1] for row in rest), sum(row[2] for row in rest))]
    return rows


def start_latencies(session: Session) -> list[int]:
    """How long jobs waited that started lately, and run or have finished since: ms, ascending."""
    since = now_ms() - LATELY_MS
    waited = (col(Job.running_time) - col(Job.pending_time)).label("waited")
    found: list[int] = []
    for state, limit in ((JobState.RUNNING, MOST_STARTED), (JobState.FINISHED, MOST_STARTED)):
        statement = (
            select(waited)
            .where(col(Job.state) == state, col(Job.running_time) > since, col(Job.pending_time).is_not(None))
            .limit(limit)
        )
        if state == JobState.FINISHED:
            statement = statement.where(col(Job.state_time) > since).order_by(col(Job.state_time).desc())
        found += session.scalars(statement)
    return sorted(found)


def processes(session: Session) -> Sequence[AnyRow]:
    """Workers and schedulers heard of within the hour: ``name``, ``kind``, ``slots``, ``silent`` ms."""
    columns: list[Any] = [getattr(Worker, name) for name in ("name", "kind", "slots")]
    silent = (now_ms() - col(Worker.seen_time)).label("silent")
    return session.execute(select(*columns, silent).order_by(col(Worker.name))).all()


def overdue(session: Session) -> Sequence[AnyRow]:
    """Schedules that did not run when they should have: ``id``, ``project_id``, ``late`` ms; MOST_OVERDUE.

    One that fails is put off again and again: ``due_time`` finds it by the index, ``next_time`` stands still.
    """
    columns: list[Any] = [getattr(PeriodicJob, name) for name in ("id", "project_id")]
    due = col(PeriodicJob.due_time)
    latest = col(PeriodicJob.next_time) + col(PeriodicJob.jitter_seconds) * 1000
    return session.execute(
        select(*columns, (now_ms() - latest).label("late"))
        .where(col(PeriodicJob.enabled), due <= now_ms() + PUT_OFF_MS, latest < now_ms() - OVERDUE_MS)
        .order_by(due)
        .limit(MOST_OVERDUE)
    ).all()


def runs_gone_wrong(session: Session) -> dict[str, int]:
    """Fire times of the last day that were missed, and that failed."""
    lately = col(PeriodicRun.time) > now_ms() - DAY_MS
    return {
        state: _count(session, col(PeriodicRun.state) == state, lately, by=PeriodicRun.time)
        for state in (RunState.MISSED, RunState.FAILED)
    }


def waiting_deliveries(session: Session) -> int:
    """Deliveries to webhooks that are still to be made, at most MOST."""
    return _count(session, col(Delivery.state) == DeliveryState.PENDING, by=Delivery.next_time)


def failed_deliveries(session: Session) -> int:
    """Deliveries that were given up within the last day, at most MOST."""
    lately = col(Delivery.tried_time) > now_ms() - DAY_MS
    return _count(session, col(Delivery.state) == DeliveryState.FAILED, lately, by=Delivery.tried_time)
