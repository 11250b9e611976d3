"""Repair: what a lost message, a dead process or time has left undone. Every step may run anywhere, twice."""

import logging
import time

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import execute, now_ms, reading, transaction
from app.models import Job, JobState, Spider
from app.services import jobs, records, versions, workers

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # a longer wait for the database means that others waited too
PURGE_AFTER_MS = 60_000  # readers of a job that was just deleted may finish
BATCH = 20  # jobs whose records are merged or removed in one transaction
DAY_MS = 86_400_000


def sweep(reap: bool = True) -> None:
    """Finish what lost its owner, announce again what waits. Cheap; every few seconds.

    Args:
        reap: may jobs be taken from silent owners? Not when the database was away: they could not speak.

    """
    asked = time.monotonic()
    with transaction() as session:
        session.connection()  # begins here, and may wait for a lock that owners wait for too
        if reap and time.monotonic() - asked < PATIENCE_SECONDS:
            _reap(session)
    with reading() as session:
        builds = versions.waiting(session)
        priorities = _waiting(session, workers.free_slots(session))
    for version_id in builds:
        broker.build(version_id)
    for priority in priorities:
        broker.wake(priority)


def _reap(session: Session) -> None:
    for job_id in jobs.reap(session):
        log.warning("job row %s: %s", job_id, jobs.WORKER_LOST)
    versions.reap_builds(session)


def _waiting(session: Session, free: int) -> list[int]:
    """Priorities of the jobs that the free slots would claim next."""
    if free == 0:
        return []
    statement = (
        select(col(Job.priority))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.PENDING, col(Spider.deployed))
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(free)
    )
    return list(session.scalars(statement))


def tidy(retention_days: int) -> bool:
    """Retention, removal of deleted jobs' records, merging of small chunks; some jobs at a time.

    Returns: whether there may be more to do.
    """
    more = False
    if retention_days:
        with transaction() as session:
            more |= _expire(session, retention_days)
    with transaction() as session:
        more |= _purge(session)
        workers.forget_dead(session)
    with transaction() as session:
        more |= _compact(session)
    return more


def _expire(session: Session, days: int) -> bool:
    old = (
        select(col(Job.id))
        .where(
            col(Job.state) == JobState.FINISHED,
            col(Job.state_time) < now_ms() - days * DAY_MS,
        )
        .limit(BATCH)
    )
    now = now_ms()
    return (
        execute(
            session,
            update(Job)
            .where(col(Job.id).in_(old.scalar_subquery()), col(Job.state) == JobState.FINISHED)
            .values(
                state=JobState.DELETED,
                state_time=now,
                deleted_time=now,
                touched_time=now,
                deleted_by="retention",
            ),
        ).rowcount
        == BATCH
    )


def _purge(session: Session) -> bool:
    ids = list(
        session.scalars(
            select(col(Job.id))
            .where(
                col(Job.state) == JobState.DELETED,
                ~col(Job.purged),
                col(Job.deleted_time) < now_ms() - PURGE_AFTER_MS,
            )
            .limit(BATCH)
        )
    )
    if ids:
        records.purge(session, [found for found in ids if found is not None])
        session.execute(update(Job).where(col(Job.id).in_(ids)).values(purged=True))
    return len(ids) == BATCH


def _compact(session: Session) -> bool:
    ids = list(
        session.scalars(
            select(col(Job.id)).where(col(Job.state) == JobState.FINISHED, ~col(Job.compacted)).limit(BATCH)
        )
    )
    for job_id in ids:
        if job_id is not None:
            records.compact(session, job_id)
    if ids:
        session.execute(update(Job).where(col(Job.id).in_(ids)).values(compacted=True))
    return len(ids) == BATCH
