"""THE state machine of jobs: one function per arrow of the diagram in ``models.job``.

Each arrow is one UPDATE that names the state it leaves; who changed the row is told by what came back.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import bindparam, case, insert, or_, select, text, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import AnyRow, execute, insert_into, now_ms
from app.errors import AlreadyScheduled, NotFound
from app.keys import JobKey
from app.models import Job, JobState, JobTag, Project, Spider
from app.prepared import Prepared
from app.services import activity, projects, workers
from app.services.activity import ENTERED
from app.services.transitions import SPIDER_NUMBER, entered, hold, key_of, move, new_token, revoke

LEASE_MS = 20_000  # an owner not heard of for so long has lost its job
OUTSIDE_STOP_MS = 300_000  # a job without a lease has so long to end once it was asked to; contract 7.5
REASON_LENGTH = 255  # characters, contract 7.5

RUNNER, RECONCILER = "jobrunner", "reconciler"  # whose name is written when it was the platform
CANCELLED = "cancelled"
CANCEL_TIMEOUT = "cancel_timeout"
WORKER_LOST = "worker lost"


@dataclass(frozen=True)
class NewJob:
    """What somebody wants to run; contract 3.2 and 4.1 have the meaning of each field."""

    spider: str
    args: dict[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    priority: int = 2
    units: int = 1
    job_settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    job_cmd: list[str] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    state: JobState = JobState.PENDING


def duplicate_key(spider: str, args: dict[str, str], job_cmd: list[str] | None) -> str:
    """What two jobs share when the second one is refused (contract 7.6): spider, arguments, command line."""
    return hashlib.sha256(orjson.dumps([spider, sorted(args.items()), job_cmd])).hexdigest()


# Scheduling is the call that comes in thousands; putting its statements together each time costs
# more than executing them, so they are made once. Plain tables, because the ORM adds nothing here.
_JOB, _SPIDER = Job.__table__, Spider.__table__  # type: ignore[attr-defined]
_TAKE_NUMBER = Prepared(
    update(_SPIDER)
    .where(_SPIDER.c.project_id == bindparam("of_project"), _SPIDER.c.name == bindparam("named"))
    .where(or_(_SPIDER.c.deployed, _SPIDER.c.declared))
    .values(jobs=_SPIDER.c.jobs + 1)
    .returning(_SPIDER.c.id, _SPIDER.c.number, _SPIDER.c.jobs, _SPIDER.c.deployed)
)
_INSERTS: dict[tuple[str, JobState, bool], Prepared] = {}


def insert_row(session: Session, state: JobState, by: str, row: dict[str, Any]) -> int | None:
    """Insert a job that is born in ``state``; a job that is not ``pushed`` has the current version.

    Returns: its row id; None when its ``duplicate_key`` is that of a job that is pending or running. The
    transaction goes on then, so that the number that the job would have had can be used up (contract 7.2).
    """
    pushed = row["pushed"]
    kind = (session.get_bind().dialect.name, state, pushed)
    if kind not in _INSERTS:
        values = entered(state, bindparam("by_whom"))
        if not pushed:
            values["version"] = projects.current_version(bindparam("of_project"))
        _INSERTS[kind] = Prepared(
            insert_into(session, _JOB)
            .values(values)
            .on_conflict_do_nothing(
                index_elements=["project_id", "duplicate_key"],
                index_where=text("state IN ('pending', 'running')"),
            )
            .returning(_JOB.c.id)
        )
    made = _INSERTS[kind].first(session, {"by_whom": by, **row})
    return None if made is None else made.id


def schedule(session: Session, project_id: int, new: NewJob, by: str) -> JobKey:
    """Insert a job; a pending one is announced to a worker after commit, one born running has a token.

    Raises:
        NotFound: the project has no such spider: none that was deployed, or declared (contract 13.1).
        AlreadyScheduled: a job with the same spider and arguments is pending or running. Who commits all
            the same uses up the number of the job that was refused, as recorded (contract 7.2).

    """
    # The number is taken by the same statement that finds the spider, so no two jobs share one.
    named = {"of_project": project_id, "named": new.spider}
    spider = _TAKE_NUMBER.first(session, named)
    if spider is None:
        raise NotFound(f"Spider not found: {new.spider}")
    row = {
        "of_project": project_id,
        "project_id": project_id,
        "spider_id": spider.id,
        "number": spider.jobs,
        "priority": new.priority,
        "units": new.units,
        "duplicate_key": duplicate_key(new.spider, new.args, new.job_cmd),
        "spider_args": new.args or None,
        "job_settings": new.job_settings or None,
        "environment": new.environment or None,
        "job_cmd": new.job_cmd,
        "meta": new.meta or None,
        "token": new_token() if new.state == JobState.RUNNING else None,
        "pushed": False,
    }
    job_id = insert_row(session, new.state, by, row)
    if job_id is None:
        raise AlreadyScheduled(new.spider)
    key = JobKey(project_id, spider.number, spider.jobs)
    tags = list(dict.fromkeys(new.tags))
    if tags:
        rows = [{"job_id": job_id, "tag": tag, "position": place} for place, tag in enumerate(tags)]
        session.execute(insert(JobTag), rows)
    activity.happened(session, by, [(ENTERED[new.state], key)])
    if new.state == JobState.PENDING and spider.deployed:
        broker.wake_after_commit(session, new.priority)
    return key


@dataclass(frozen=True)
class Claimed:
    """A job and the right to run it."""

    id: int
    key: JobKey
    token: str
    spider: str
    version_id: int
    priority: int
    units: int
    args: dict[str, str]
    job_settings: dict[str, Any]
    environment: dict[str, str]
    job_cmd: list[str] | None
    tags: list[str]


def claim(session: Session, worker: str, task_id: str) -> Claimed | None:
    """Make the best pending job ours, or return None when none may run.

    1. The subquery picks the best row whose spider the current version has; none, when the worker drains.
       PostgreSQL locks it and passes over rows that another claim holds (SKIP LOCKED); SQLite has one
       writer anyway.
    2. The UPDATE names the state it leaves, so a row that changed in between is left alone.
    3. The random token makes every other process a stranger, a former owner on this machine included.
    """
    best = best_pending(col(Spider.deployed), workers.takes_jobs(worker))
    token = new_token()
    project = select(col(Project.version_id)).where(col(Project.id) == col(Job.project_id))
    current = project.correlate(Job).scalar_subquery()
    row = execute(
        session,
        update(Job)
        .where(col(Job.id) == best, col(Job.state) == JobState.PENDING)
        .values(
            token=token,
            lease_time=now_ms() + LEASE_MS,
            task_id=task_id,
            worker=worker,
            version=projects.current_version(col(Job.project_id)),
            **entered(JobState.RUNNING, RUNNER),
        )
        # In the same statement as its name above, so that both are of the same version.
        .returning(col(Job.id), current.label("version_id")),
    ).one_or_none()
    if row is None:
        return None
    job = _claimed(session, row.id, row.version_id, token)
    activity.happened(session, RUNNER, [(ENTERED[JobState.RUNNING], job.key)])
    return job


def best_pending(*conditions: Any, few: bool = False) -> Any:
    """A scalar subquery: the id of the pending job to start next, the highest priority, then the oldest.

    Args:
        few: fulfil the conditions; they are sorted, and others that wait are not passed over.

    """
    return (
        select(col(Job.id))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.PENDING, *conditions)
        .order_by((col(Job.priority) + 0 if few else col(Job.priority)).desc(), col(Job.id))
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
        .scalar_subquery()
    )


def _claimed(session: Session, job_id: int, version_id: int, token: str) -> Claimed:
    job, spider = session.execute(
        select(Job, Spider).join(Spider, col(Spider.id) == col(Job.spider_id)).where(col(Job.id) == job_id)
    ).one()
    tags = select(col(JobTag.tag)).where(col(JobTag.job_id) == job_id).order_by(col(JobTag.position))
    return Claimed(
        id=job_id,
        key=JobKey(job.project_id, spider.number, job.number),
        token=token,
        spider=spider.name,
        version_id=version_id,
        priority=job.priority,
        units=job.units,
        args=job.spider_args or {},
        job_settings=job.job_settings or {},
        environment=job.environment or {},
        job_cmd=job.job_cmd,
        tags=list(session.scalars(tags)),
    )


@dataclass(frozen=True)
class Beat:
    """What a heartbeat learned."""

    mine: bool
    stop: bool
    kill: bool = False  # stop, and grant no more time


def _owned(job_id: int, token: str) -> Any:
    return (col(Job.id) == job_id) & (col(Job.state) == JobState.RUNNING) & (col(Job.token) == token)


def heartbeat(session: Session, job_id: int, token: str) -> Beat:
    """Extend the lease; learn in the same statement whether the job is still ours and whether to stop it."""
    row = execute(
        session,
        update(Job)
        .where(_owned(job_id, token))
        .values(lease_time=now_ms() + LEASE_MS)
        .returning(col(Job.stop_time), col(Job.kill_time)),
    ).one_or_none()
    if row is None:
        return Beat(mine=False, stop=False)
    return Beat(mine=True, stop=row.stop_time is not None, kill=row.kill_time is not None)


def request_stop(session: Session, keys: Sequence[JobKey], by: str) -> int:
    """``stop`` of the jobs that exist among ``keys``."""
    return stop(session, hold(session, col(Job.id).in_(ids_of(session, keys))), by)


def stop(session: Session, rows: Sequence[AnyRow], by: str) -> int:
    """Stop jobs that are held: a pending one is finished here and now, a running one gets the mark, once.

    The mark is the truth. After commit the task is revoked, which only makes its owner look now. Who runs
    a job outside sees the mark in its metadata, or is overtaken by ``end_stopped`` (contract 6.11).

    Returns: how many jobs were pending or running.
    """
    pending = [row for row in rows if row.state == JobState.PENDING]
    running = [row for row in rows if row.state == JobState.RUNNING]
    fresh = [row for row in running if row.stop_time is None]
    mark = {"stop_time": now_ms(), "cancelled_by": by}
    move(session, pending, JobState.FINISHED, by, activity.CANCELLED, close_reason=CANCELLED, **mark)
    if fresh:
        marked = col(Job.id).in_([row.id for row in fresh]) & (col(Job.state) == JobState.RUNNING)
        session.execute(update(Job).where(marked).values(touched_time=now_ms(), **mark))
        activity.happened(session, by, [(activity.CANCELLED, key_of(row)) for row in fresh])
    revoke(session, running)
    return len(pending) + len(running)


_STOPPING = (col(Job.state) == JobState.RUNNING) & col(Job.stop_time).is_not(None)


def kill(session: Session, keys: Sequence[JobKey], by: str) -> int:
    """Grant no more time to running jobs that were asked to stop; others are left alone.

    It is a call of its own: clients repeat a stop whose answer was lost, and mean the same stop.

    Returns: how many jobs it were.
    """
    rows = hold(session, col(Job.id).in_(ids_of(session, keys)), _STOPPING)
    if rows:
        marked = col(Job.id).in_([row.id for row in rows]) & _STOPPING & col(Job.kill_time).is_(None)
        kills = update(Job).where(marked).values(touched_time=now_ms(), kill_time=now_ms())
        fresh = set(session.scalars(kills.returning(col(Job.id))))
        for key in (key_of(row) for row in rows if row.id in fresh):
            activity.happened_to(session, key.project, by, activity.KILLED, job=str(key))
    revoke(session, rows)
    return len(rows)


def outcome(reason: Any) -> Any:
    """The close reason of a job that ran: a stop that was asked for wins over ``reason`` (contract 7.5),
    but not over the fact that it had to be enforced.
    """
    if isinstance(reason, str) and reason == CANCEL_TIMEOUT:
        return reason
    return case((col(Job.stop_time).is_not(None), CANCELLED), else_=reason)


def finish(session: Session, job_id: int, token: str, reason: str) -> bool:
    """The owner's last word. False: the job is no longer ours, and nothing was changed."""
    row = execute(
        session,
        update(Job)
        .where(_owned(job_id, token))
        .values(
            close_reason=outcome(reason[:REASON_LENGTH]),
            token=None,
            lease_time=None,
            **entered(JobState.FINISHED, RUNNER),
        )
        .returning(col(Job.project_id), col(Job.number), SPIDER_NUMBER.label("spider_number")),
    ).one_or_none()
    if row is not None:
        activity.happened(session, RUNNER, [(ENTERED[JobState.FINISHED], key_of(row))])
    return row is not None


def reap(session: Session) -> list[int]:
    """Finish running jobs whose lease has expired: their owner is gone. Returns their row ids."""
    return _end(session, col(Job.lease_time) < now_ms(), outcome(WORKER_LOST))


def end_stopped(session: Session) -> list[int]:
    """Finish running jobs of outside workers that were asked to stop long ago, or may be waited for no
    longer. Returns their row ids.
    """
    late = or_(col(Job.stop_time) < now_ms() - OUTSIDE_STOP_MS, col(Job.kill_time).is_not(None))
    return _end(session, col(Job.lease_time).is_(None) & late, CANCEL_TIMEOUT)


def _end(session: Session, condition: Any, reason: Any) -> list[int]:
    rows = hold(session, col(Job.state) == JobState.RUNNING, condition, skip_locked=True)
    move(session, rows, JobState.FINISHED, RECONCILER, close_reason=reason)
    return [row.id for row in rows]


def delete(session: Session, keys: Sequence[JobKey], by: str) -> int:
    """Delete pending and finished jobs, never running ones (contract 13.4); returns how many it were."""
    gone = (JobState.PENDING, JobState.FINISHED)
    rows = hold(session, col(Job.id).in_(ids_of(session, keys)), col(Job.state).in_(gone))
    move(session, rows, JobState.DELETED, by)
    return len(rows)


def ids_of(session: Session, keys: Sequence[JobKey]) -> list[int]:
    """Row ids of the jobs that exist among ``keys``, in that order, each once."""
    numbers: dict[tuple[int, int], list[int]] = {}
    for key in keys:
        numbers.setdefault((key.project, key.spider), []).append(key.job)
    # A query per spider, not per job: thousands may be named while a transaction holds the writer.
    spiders = session.execute(
        select(col(Spider.id), col(Spider.project_id), col(Spider.number)).where(
            col(Spider.project_id).in_({key.project for key in keys}),
            col(Spider.number).in_({key.spider for key in keys}),
        )
    ).all()
    found: dict[JobKey, int] = {}
    for spider in spiders:
        wanted = col(Job.number).in_(numbers.get((spider.project_id, spider.number), ()))
        mine = select(col(Job.number), col(Job.id)).where(col(Job.spider_id) == spider.id, wanted)
        for number, job_id in session.execute(mine):
            found[JobKey(spider.project_id, spider.number, number)] = job_id or 0
    return [found[key] for key in dict.fromkeys(keys) if key in found]


_FIND = (
    select(col(Job.id))
    .join(Spider, col(Spider.id) == col(Job.spider_id))
    .where(
        col(Spider.project_id) == bindparam("project"),
        col(Spider.number) == bindparam("spider"),
        col(Job.number) == bindparam("job"),
    )
)
_RUNNING_WITH = _FIND.where(col(Job.state) == JobState.RUNNING, col(Job.token) == bindparam("token"))


def find(session: Session, key: JobKey) -> int | None:
    """The row id of a job, None when there is no such job."""
    return session.scalar(_FIND, vars(key))


def running_with(session: Session, key: JobKey, token: str) -> int | None:
    """The row id of a job that runs under this token, else None."""
    return session.scalar(_RUNNING_WITH, {**vars(key), "token": token})
