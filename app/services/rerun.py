"""Running a job again, and changing the priority of one that waits."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import execute, now_ms
from app.errors import NotFound, Refused
from app.keys import JobKey
from app.models import Job, JobState, Spider
from app.services import activity, jobmeta, jobs
from app.services.jobs import NewJob


def same(session: Session, key: JobKey) -> NewJob:
    """What to schedule for a job like this one.

    Raises:
        NotFound: there is no such job.

    """
    columns = (
        "id", "spider_args", "priority", "units", "job_settings", "environment", "job_cmd",
    )  # fmt: skip
    job_id = jobs.find(session, key)
    statement = select(col(Spider.name).label("spider"), *(getattr(Job, name) for name in columns))
    job = session.execute(
        statement.join(Spider, col(Spider.id) == col(Job.spider_id)).where(col(Job.id) == job_id)
    ).one_or_none()
    if job is None:
        raise NotFound(f"unknown job: {key}")
    return NewJob(
        spider=job.spider,
        args=job.spider_args or {},
        tags=jobmeta.tags_of(session, [job.id]).get(job.id, ()),
        priority=job.priority,
        units=job.units,
        job_settings=job.job_settings or {},
        environment=job.environment or {},
        job_cmd=job.job_cmd,
    )


def again(session: Session, key: JobKey, by: str) -> JobKey:
    """Schedule a job like this one; returns the new one's key.

    Raises:
        NotFound: there is no such job, or its spider is gone.
        AlreadyScheduled: as ``jobs.schedule``; the transaction can go on.

    """
    return jobs.schedule(session, key.project, same(session, key), by)


def set_priority(session: Session, key: JobKey, priority: int, by: str) -> None:
    """Change the priority of a job while it waits: one UPDATE, which names that state.

    Args:
        priority: 0 … 4.

    Raises:
        NotFound: there is no such job.
        Refused: it does not wait any more.

    """
    job_id = jobs.find(session, key)
    if job_id is None:
        raise NotFound(f"unknown job: {key}")
    changed = execute(
        session,
        update(Job)
        .where(col(Job.id) == job_id, col(Job.state) == JobState.PENDING)
        .values(priority=priority, updated_time=now_ms(), touched_time=now_ms()),
    )
    if changed.rowcount == 0:
        raise Refused(f"job {key} does not wait any more, its priority stays what it is")
    activity.happened_to(session, key.project, by, activity.PRIORITY, job=str(key), priority=str(priority))
    broker.wake_after_commit(session, priority)
