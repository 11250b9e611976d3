"""Reports: texts that a job, or somebody, leaves about a job (contract 4.9)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms
from app.errors import NotFound, Refused
from app.keys import JobKey
from app.models import Job, JobState, Project, Report, Spider
from app.services import jobs

TYPES = ("text/plain", "text/x-rst")


def put(
    session: Session, project_id: int, job: JobKey | None, key: str, content_type: str, content: str
) -> None:
    """Store a report; one of the same key and job is replaced.

    Args:
        job: of the project; None: the report is about the project itself.

    Raises:
        NotFound: there is no such job.
        Refused: the job was deleted.

    """
    job_id = None if job is None else _live(session, job)
    # No constraint covers reports without a job. All who write in a project queue at it, so that the
    # second of two with the same key finds what the first one wrote.
    session.execute(
        select(col(Project.id)).where(col(Project.id) == project_id).with_for_update(key_share=True)
    )
    values = {"content_type": content_type, "content": content, "created_time": now_ms()}
    same = (col(Report.project_id) == project_id, _about(job_id), col(Report.key) == key)
    if execute(session, update(Report).where(*same).values(values)).rowcount == 0:
        session.execute(insert(Report).values(project_id=project_id, job_id=job_id, key=key, **values))


def _live(session: Session, job: JobKey) -> int:
    job_id = jobs.find(session, job)
    if job_id is None:
        raise NotFound(f"unknown job: {job}")
    if session.scalar(select(col(Job.state)).where(col(Job.id) == job_id)) == JobState.DELETED:
        raise Refused(f"job {job} is deleted")
    return job_id


def _about(job_id: int | None) -> Any:
    return col(Report.job_id).is_(None) if job_id is None else col(Report.job_id) == job_id


def listing(
    session: Session, project_id: int, job: JobKey | None, count: int, offset: int
) -> Sequence[AnyRow]:
    """Reports, oldest first: ``key``, ``content_type``, ``content``, ``created_time`` in ms, and of their job
    ``spider`` and ``number``, both None when they are about the project.

    Args:
        job: only those of this job; None: all but those of deleted jobs.
        count: at most so many; negative: the last ones, whatever the offset.

    Raises:
        NotFound: there is no such job.

    """
    shown = col(Job.state).is_distinct_from(JobState.DELETED)
    if job is not None:
        job_id = jobs.find(session, job)
        if job_id is None:
            raise NotFound(f"unknown job: {job}")
        shown = _about(job_id)
    wanted = (col(Report.project_id) == project_id, shown)
    columns: list[Any] = [Report.key, Report.content_type, Report.content, Report.created_time]
    joined = (
        select(*columns, col(Spider.number).label("spider"), col(Job.number).label("number"))
        .outerjoin(Job, col(Job.id) == col(Report.job_id))
        .outerjoin(Spider, col(Spider.id) == col(Job.spider_id))
        .where(*wanted)
        .order_by(col(Report.id))
    )
    if count < 0:
        number = select(func.count()).select_from(Report).outerjoin(Job, col(Job.id) == col(Report.job_id))
        offset = max((session.scalar(number.where(*wanted)) or 0) + count, 0)
    return session.execute(joined.limit(abs(count)).offset(offset)).all()
