"""Repair: what a lost message, a dead process or time has left undone. Every step may run anywhere, twice."""

import logging
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import now_ms, reading, transaction
from app.errors import StoreAway
from app.models import Job, JobState
from app.services import (
    collections,
    compaction,
    deliveries,
    firing,
    frontier,
    jobs,
    logins,
    payloads,
    records,
    versions,
    workers,
)
from app.services.transitions import hold, move

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # a longer wait for the database means that others waited too
MOST_WAKES = 1000  # messages of one sweep
PURGE_AFTER_MS = 60_000  # readers of a job that was just deleted may finish
BATCH = 20  # jobs whose records are merged or removed at once
COMPACT_SECONDS = 5.0  # merging may go through the chunk store, and silent owners must not wait for it
PARTS = 10  # of what is to be removed that one call removes, each in a transaction of its own
DAY_MS = 86_400_000

# In the words of the indexes: SQLite takes `purged = 0` for something else, and reads the whole table.
_UNPURGED, _UNCOMPACTED = text("NOT job.purged"), text("NOT job.compacted")


def sweep(reap: bool = True) -> None:
    """Finish what lost its owner, announce again what waits, fire schedules. Cheap; every few seconds.

    Args:
        reap: may jobs be taken from silent owners? Not when the database was away: they could not speak.

    """
    asked = time.monotonic()
    with transaction() as session:
        session.connection()  # begins here, and may wait for a lock that owners wait for too
        if reap and time.monotonic() - asked < PATIENCE_SECONDS:
            _reap(session)
        for job_id in jobs.end_stopped(session):
            log.warning("job row %s: %s", job_id, jobs.CANCEL_TIMEOUT)
    with reading() as session:
        builds = versions.waiting(session)
        priorities = workers.wanted(session, MOST_WAKES)
    for version_id in builds:
        broker.build(version_id)
    for priority in priorities:
        broker.wake(priority)
    firing.fire_due()


def _reap(session: Session) -> None:
    for job_id in jobs.reap(session):
        log.warning("job row %s: %s", job_id, jobs.WORKER_LOST)
    versions.reap_builds(session)


def tidy(retention_days: int) -> bool:
    """Retention, removal of what was deleted or has expired, merging of small chunks; some at a time.

    Returns: whether there may be more to do.
    """
    more = False
    with transaction() as session:
        workers.forget_dead(session)
        logins.forget_expired(session)
    if retention_days:
        more |= _in_parts(partial(_expire, days=retention_days))
    for purge_some in (_purge, collections.purge_some, frontier.purge_some, deliveries.purge_some):
        more |= _in_parts(purge_some)
    more |= payloads.sweep()
    try:
        more |= _compact()
    except StoreAway:
        log.warning("chunks are not merged now: the chunk store does not answer")
    return more


def _in_parts(do_some: Callable[[Session], bool]) -> bool:
    for _ in range(PARTS):
        with transaction() as session:
            if not do_some(session):
                return False
    return True


def _expire(session: Session, days: int) -> bool:
    old = col(Job.state_time) < now_ms() - days * DAY_MS
    oldest = select(col(Job.id)).where(col(Job.state) == JobState.FINISHED, old)
    oldest = oldest.order_by(col(Job.state_time)).limit(BATCH)
    rows = hold(session, col(Job.id).in_(oldest), col(Job.state) == JobState.FINISHED)
    move(session, rows, JobState.DELETED, "retention")
    return len(rows) == BATCH


def _purge(session: Session) -> bool:
    ids = list(
        session.scalars(
            select(col(Job.id))
            .where(
                col(Job.state) == JobState.DELETED,
                _UNPURGED,
                col(Job.deleted_time) < now_ms() - PURGE_AFTER_MS,
            )
            .limit(BATCH)
        )
    )
    if ids:
        records.purge(session, [found for found in ids if found is not None])
        session.execute(update(Job).where(col(Job.id).in_(ids)).values(purged=True))
    return len(ids) == BATCH


def _compact() -> bool:
    until = time.monotonic() + COMPACT_SECONDS
    while time.monotonic() < until:
        with reading() as session:
            ids = session.scalars(
                select(col(Job.id)).where(col(Job.state) == JobState.FINISHED, _UNCOMPACTED).limit(BATCH)
            ).all()
        done = all(compaction.compact(job_id, until) for job_id in ids if job_id is not None)
        if len(ids) < BATCH:
            return not done
    return True
