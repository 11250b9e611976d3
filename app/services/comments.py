"""Comments on items of jobs, and on single fields of them (contract 4.10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms
from app.errors import NotFound, NotYours, Refused
from app.keys import JobKey
from app.models import Comment, Job, JobState, Spider
from app.services import jobs

LONGEST = 10_000  # characters of a comment
# What the functions below answer of a comment; times are ms.
COLUMNS: list[Any] = [
    getattr(Comment, name)
    for name in ("id", "item", "field", "author", "text", "created_time", "archived_time")
]


@dataclass(frozen=True)
class Place:
    """What a comment is about."""

    job: JobKey
    item: int  # index in the job
    field: str | None = None  # None: the item as a whole


def add(session: Session, project_id: int, place: Place, text: str, author: str) -> AnyRow:
    """Write a comment; returns it as ``COLUMNS``.

    Raises:
        NotFound: there is no such job, or it has no such item.
        Refused: the job was deleted.

    """
    job_id = _find(session, place.job)
    job = session.execute(select(col(Job.state), col(Job.items)).where(col(Job.id) == job_id)).one()
    if job.state == JobState.DELETED:
        raise Refused(f"job {place.job} is deleted")
    if place.item >= job.items:
        raise NotFound(f"job {place.job} has no item {place.item}")
    row = insert(Comment).values(
        project_id=project_id,
        job_id=job_id,
        item=place.item,
        field=place.field,
        author=author,
        text=text,
        created_time=now_ms(),
    )
    return session.execute(row.returning(*COLUMNS)).one()


def _find(session: Session, job: JobKey) -> int:
    job_id = jobs.find(session, job)
    if job_id is None:
        raise NotFound(f"unknown job: {job}")
    return job_id


def of_job(session: Session, job: JobKey) -> Sequence[AnyRow]:
    """All comments on items of a job, archived ones too, by item, the oldest first.

    Raises:
        NotFound: there is no such job.

    """
    wanted = col(Comment.job_id) == _find(session, job)
    return session.execute(select(*COLUMNS).where(wanted).order_by(col(Comment.item), col(Comment.id))).all()


def at(session: Session, place: Place) -> Sequence[AnyRow]:
    """The comments on one item or field, archived ones too, the oldest first.

    Raises:
        NotFound: there is no such job.

    """
    return session.execute(select(*COLUMNS).where(*_at(session, place)).order_by(col(Comment.id))).all()


def _at(session: Session, place: Place) -> tuple[Any, ...]:
    field = col(Comment.field)
    return (
        col(Comment.job_id) == _find(session, place.job),
        col(Comment.item) == place.item,
        field.is_(None) if place.field is None else field == place.field,
    )


def commented_items(session: Session, project_id: int) -> dict[JobKey, int]:
    """How many items of each job have comments that are not archived; jobs without any are left out."""
    number = func.count(col(Comment.item).distinct())
    rows = session.execute(
        select(col(Spider.number), col(Job.number), number)
        .join_from(Comment, Job, col(Job.id) == col(Comment.job_id))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Comment.project_id) == project_id, col(Comment.archived_time).is_(None))
        .where(col(Job.state) != JobState.DELETED)
        .group_by(col(Spider.number), col(Job.number))
        .order_by(col(Spider.number), col(Job.number))
    )
    return {JobKey(project_id, spider, job): items for spider, job, items in rows}


def project_of(session: Session, comment_id: int) -> int | None:
    """The project of a comment; None when there is no such comment."""
    return session.scalar(select(col(Comment.project_id)).where(col(Comment.id) == comment_id))


def edit(session: Session, comment_id: int, text: str, author: str | None) -> AnyRow:
    """Change the text of a comment that exists; returns it as ``COLUMNS``.

    Args:
        author: whose comments may be changed; None: everybody's.

    Raises:
        NotYours: it is somebody else's; nothing was changed.

    """
    return _change(session, comment_id, author, text=text)


def archive(session: Session, comment_id: int, author: str | None) -> AnyRow:
    """Archive a comment that exists; one that is archived already keeps its time.

    Args:
        author: as in ``edit``.

    Raises:
        NotYours: it is somebody else's; nothing was changed.

    """
    return _change(
        session, comment_id, author, archived_time=func.coalesce(col(Comment.archived_time), now_ms())
    )


def _change(session: Session, comment_id: int, author: str | None, **values: Any) -> AnyRow:
    mine = [] if author is None else [col(Comment.author) == author]
    changed = update(Comment).where(col(Comment.id) == comment_id, *mine).values(values).returning(*COLUMNS)
    row = execute(session, changed).one_or_none()
    if row is None:
        raise NotYours(f"comment {comment_id} is somebody else's")
    return row


def archive_at(session: Session, place: Place, author: str | None) -> int:
    """Archive all comments on an item or field; returns how many were not archived yet.

    Args:
        author: as in ``edit``.

    Raises:
        NotFound: there is no such job.
        NotYours: one of them is somebody else's; the caller's transaction must not be committed.

    """
    archived = execute(
        session,
        update(Comment)
        .where(*_at(session, place), col(Comment.archived_time).is_(None))
        .values(archived_time=now_ms())
        .returning(col(Comment.id), col(Comment.author)),
    ).all()
    for row in archived:
        if author not in (None, row.author):
            raise NotYours(f"comment {row.id} is somebody else's")
    return len(archived)
