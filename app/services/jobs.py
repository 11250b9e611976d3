"""THE state machine of jobs: one function per arrow of the diagram in ``models.job``.

Each arrow is one UPDATE that names the state it leaves; who changed the row is told by what came back.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from sqlalchemy import and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import after_commit, execute, now_ms
from app.errors import AlreadyScheduled, NotFound
from app.keys import JobKey
from app.models import Job, JobState, JobTag, Project, Spider
from app.services import projects

LEASE_MS = 20_000  # an owner not heard of for so long has lost its job
REASON_LENGTH = 255  # characters, contract 7.5

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


def _entered(state: JobState, by: Any) -> dict[str, Any]:
    """The columns that entering ``state`` writes: the state itself, times, and who did it (contract 7.3)."""
    now = now_ms()
    who = {
        JobState.PENDING: "scheduled_by",
        JobState.RUNNING: "started_by",
        JobState.FINISHED: "completed_by",
        JobState.DELETED: "deleted_by",
    }
    changed = dict.fromkeys(("state_time", "updated_time", "touched_time", f"{state}_time"), now)
    return {"state": state, **changed, who[state]: by}


# Scheduling is the call that comes in thousands; putting its statements together each time costs
# more than executing them, so they are made once. Plain tables, because the ORM adds nothing here.
_JOB, _SPIDER = Job.__table__, Spider.__table__  # type: ignore[attr-defined]
_TAKE_NUMBER = (
    update(_SPIDER)
    .where(_SPIDER.c.project_id == bindparam("of_project"), _SPIDER.c.name == bindparam("named"))
    .where(_SPIDER.c.deployed)
    .values(jobs=_SPIDER.c.jobs + 1)
    .returning(_SPIDER.c.id, _SPIDER.c.number, _SPIDER.c.jobs)
)
_INSERT = {
    state: insert(_JOB)
    .values(
        version=projects.current_version(bindparam("of_project")), **_entered(state, bindparam("by_whom"))
    )
    .returning(_JOB.c.id)
    for state in JobState
}


def schedule(session: Session, project_id: int, new: NewJob, by: str) -> JobKey:
    """Insert a job; a pending one is announced to a worker after commit.

    Raises:
        NotFound: the project's current version has no such spider (contract 13.1).
        AlreadyScheduled: a job with the same spider and arguments is pending or running.

    """
    # The number is taken by the same statement that finds the spider, so no two jobs share one.
    named = {"of_project": project_id, "named": new.spider}
    spider = session.execute(_TAKE_NUMBER, named).one_or_none()
    if spider is None:
        raise NotFound(f"Spider not found: {new.spider}")
    row = {
        "of_project": project_id,
        "by_whom": by,
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
    }
    try:
        job_id = session.execute(_INSERT[new.state], row).scalar_one()
    except IntegrityError as error:
        # PostgreSQL names the index, SQLite its columns.
        if "uq_job_active" in str(error.orig) or "job.duplicate_key" in str(error.orig):
            raise AlreadyScheduled(new.spider) from None
        raise
    tags = list(dict.fromkeys(new.tags))
    if tags:
        rows = [{"job_id": job_id, "tag": tag, "position": place} for place, tag in enumerate(tags)]
        session.execute(insert(JobTag), rows)
    if new.state == JobState.PENDING:
        broker.wake_after_commit(session, new.priority)
    return JobKey(project_id, spider.number, spider.jobs)


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

    1. The subquery picks the best row whose spider the current version has. PostgreSQL locks it and
       passes over rows that another claim holds (SKIP LOCKED); SQLite has one writer anyway.
    2. The UPDATE names the state it leaves, so a row that changed in between is left alone.
    3. The random token makes every other process a stranger, a former owner on this machine included.
    """
    best = (
        select(col(Job.id))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.PENDING, col(Spider.deployed))
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
    )
    token = secrets.token_hex(16)
    project = select(col(Project.version_id)).where(col(Project.id) == col(Job.project_id))
    current = project.correlate(Job).scalar_subquery()
    row = execute(
        session,
        update(Job)
        .where(col(Job.id) == best.scalar_subquery(), col(Job.state) == JobState.PENDING)
        .values(
            token=token,
            lease_time=now_ms() + LEASE_MS,
            task_id=task_id,
            worker=worker,
            version=projects.current_version(col(Job.project_id)),
            **_entered(JobState.RUNNING, "jobrunner"),
        )
        # In the same statement as its name above, so that both are of the same version.
        .returning(col(Job.id), current.label("version_id")),
    ).one_or_none()
    return None if row is None else _claimed(session, row.id, row.version_id, token)


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


def _owned(job_id: int, token: str) -> Any:
    return (col(Job.id) == job_id) & (col(Job.state) == JobState.RUNNING) & (col(Job.token) == token)


def heartbeat(session: Session, job_id: int, token: str) -> Beat:
    """Extend the lease; learn in the same statement whether the job is still ours and whether to stop it."""
    row = execute(
        session,
        update(Job)
        .where(_owned(job_id, token))
        .values(lease_time=now_ms() + LEASE_MS)
        .returning(col(Job.stop_time)),
    ).one_or_none()
    return Beat(mine=row is not None, stop=row is not None and row.stop_time is not None)


def request_stop(session: Session, keys: Sequence[JobKey], by: str) -> int:
    """Stop jobs: a pending one is finished here and now, of a running one the task is revoked after commit.

    1. Pending rows are finished first. A row that a claim takes meanwhile is running when we see it.
       So are running ones that nobody runs: they were only declared to be running (contract 4.1, meta).
    2. Running rows get the mark, once. The mark is the truth; the revoke only makes its owner look now.

    Returns: how many jobs were pending or running.
    """
    ids = ids_of(session, keys)
    ended = execute(
        session,
        update(Job)
        .where(
            col(Job.id).in_(ids),
            or_(
                col(Job.state) == JobState.PENDING,
                and_(col(Job.state) == JobState.RUNNING, col(Job.token).is_(None)),
            ),
        )
        .values(
            close_reason=CANCELLED, cancelled_by=by, stop_time=now_ms(), **_entered(JobState.FINISHED, by)
        ),
    ).rowcount
    marked = execute(
        session,
        update(Job)
        .where(col(Job.id).in_(ids), col(Job.state) == JobState.RUNNING)
        .values(
            stop_time=func.coalesce(col(Job.stop_time), now_ms()),
            cancelled_by=func.coalesce(col(Job.cancelled_by), by),
            touched_time=now_ms(),
        )
        .returning(col(Job.task_id)),
    ).all()
    tasks = [row.task_id for row in marked if row.task_id is not None]
    if tasks:
        after_commit(session, partial(broker.revoke, tasks))
    return ended + len(marked)


def finish(session: Session, job_id: int, token: str, reason: str) -> bool:
    """The owner's last word. False: the job is no longer ours, and nothing was changed.

    A stop that was asked for wins over what the spider reports (contract 7.5), but not over the fact
    that it had to be killed.
    """
    kept = reason == CANCEL_TIMEOUT
    outcome = (
        reason if kept else case((col(Job.stop_time).is_not(None), CANCELLED), else_=reason[:REASON_LENGTH])
    )
    changed = execute(
        session,
        update(Job)
        .where(_owned(job_id, token))
        .values(
            close_reason=outcome, token=None, lease_time=None, **_entered(JobState.FINISHED, "jobrunner")
        ),
    )
    return changed.rowcount == 1


def reap(session: Session) -> list[int]:
    """Finish running jobs whose lease has expired: their owner is gone. Returns their row ids."""
    rows = execute(
        session,
        update(Job)
        .where(col(Job.state) == JobState.RUNNING, col(Job.lease_time) < now_ms())
        .values(
            close_reason=case((col(Job.stop_time).is_not(None), CANCELLED), else_=WORKER_LOST),
            token=None,
            lease_time=None,
            **_entered(JobState.FINISHED, "reconciler"),
        )
        .returning(col(Job.id)),
    )
    return [row.id for row in rows]


def delete(session: Session, keys: Sequence[JobKey], by: str) -> int:
    """Delete pending and finished jobs, never running ones (contract 13.4); returns how many it were."""
    return execute(
        session,
        update(Job)
        .where(
            col(Job.id).in_(ids_of(session, keys)),
            col(Job.state).in_((JobState.PENDING, JobState.FINISHED)),
        )
        .values(_entered(JobState.DELETED, by)),
    ).rowcount


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
