"""The read side of jobs: filters, pages, streams, counts; and tags of what a filter selects."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Select, and_, delete, exists, func, insert, literal, select, tuple_, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms, reading
from app.keys import LARGEST, JobKey
from app.models import Job, JobState, JobTag, Kind, Spider
from app.services import jobs
from app.services.records import COUNTERS

LIVE = (JobState.PENDING, JobState.RUNNING, JobState.FINISHED)
BATCH = 1000  # jobs that a stream reads at once


@dataclass(frozen=True)
class Filter:
    """Which jobs of a project (contract 3.1); an empty field does not narrow."""

    project: int
    keys: Sequence[JobKey] = ()
    spider: str | None = None
    states: Sequence[JobState] = ()
    has_tag: Sequence[str] = ()
    lacks_tag: Sequence[str] = ()

    @property
    def narrows(self) -> bool:
        """Does it select less than the whole project?"""
        return bool(self.keys or self.spider is not None or self.states or self.has_tag or self.lacks_tag)


COLUMNS = (
    col(Job.id),
    col(Job.number),
    col(Spider.number).label("spider_number"),
    col(Spider.name).label("spider"),
    col(Spider.type).label("spider_type"),
    *(
        getattr(Job, name)
        for name in (
            "project_id", "state", "close_reason", "spider_args", "priority", "version", "state_time",
            "running_time", "updated_time", "touched_time", "items", "pages", "logs", "errors",
        )
    ),
)  # fmt: skip


def _tagged(tags: Sequence[str]) -> Any:
    return exists().where(col(JobTag.job_id) == col(Job.id), col(JobTag.tag).in_(tags))


def _where(session: Session, wanted: Filter) -> Any:
    conditions = [col(Job.project_id) == wanted.project, col(Job.state).in_(wanted.states or LIVE)]
    if wanted.keys:
        conditions.append(col(Job.id).in_(jobs.ids_of(session, wanted.keys)))
    if wanted.spider is not None:
        spider = session.scalar(
            select(col(Spider.id)).where(
                col(Spider.project_id) == wanted.project, col(Spider.name) == wanted.spider
            )
        )
        conditions.append(col(Job.spider_id) == (spider or 0))
    if wanted.has_tag:
        conditions.append(_tagged(wanted.has_tag))
    if wanted.lacks_tag:
        conditions.append(~_tagged(wanted.lacks_tag))
    return and_(*conditions)


def _select(condition: Any) -> Select[Any]:
    """Rows of ``COLUMNS``, the newest first: by the time they entered their state (contract 3.3)."""
    return (
        select(*COLUMNS, (now_ms() - col(Job.touched_time)).label("elapsed"))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(condition)
        .order_by(col(Job.state_time).desc(), col(Job.id).desc())
    )


def count(session: Session, wanted: Filter) -> int:
    """How many jobs the filter selects."""
    return session.scalar(select(func.count()).select_from(Job).where(_where(session, wanted))) or 0


def page(session: Session, wanted: Filter, limit: int, offset: int) -> Sequence[AnyRow]:
    """At most ``limit`` jobs after the first ``offset``; jobs asked for by key come in the order asked."""
    if wanted.keys:
        return _by_id(session, _asked(session, wanted)[offset : offset + limit])
    return session.execute(_select(_where(session, wanted)).limit(limit).offset(offset)).all()


def _asked(session: Session, wanted: Filter) -> list[int]:
    """Ids of the jobs asked for by key that pass the other filters, in the order asked."""
    named = jobs.ids_of(session, wanted.keys)
    others = _where(session, replace(wanted, keys=()))
    passed = set(session.scalars(select(col(Job.id)).where(others, col(Job.id).in_(named))))
    return [job_id for job_id in named if job_id in passed]


def _by_id(session: Session, chosen: Sequence[int]) -> Sequence[AnyRow]:
    place = {job_id: position for position, job_id in enumerate(chosen)}
    return sorted(session.execute(_select(col(Job.id).in_(chosen))), key=lambda row: place[row.id])


def last_offset(session: Session, wanted: Filter, limit: int) -> int:
    """The offset of the last ``limit`` jobs."""
    return max(count(session, wanted) - limit, 0)


def key_of(row: AnyRow) -> JobKey:
    """The key of a row of ``COLUMNS``."""
    return JobKey(row.project_id, row.spider_number, row.number)


def tags_of(session: Session, ids: Sequence[int]) -> dict[int, list[str]]:
    """The tags of each job that has any, in the order they were added."""
    found: dict[int, list[str]] = {}
    statement = select(col(JobTag.job_id), col(JobTag.tag)).where(col(JobTag.job_id).in_(ids))
    for job_id, tag in session.execute(statement.order_by(col(JobTag.job_id), col(JobTag.position))):
        found.setdefault(job_id, []).append(tag)
    return found


def ids(session: Session, wanted: Filter, limit: int, offset: int) -> Sequence[int]:
    """Row ids of what ``page`` would answer, however many; 8 bytes each."""
    if wanted.keys:
        return _asked(session, wanted)[offset : offset + limit]
    newest = _select(_where(session, wanted)).with_only_columns(col(Job.id)).limit(limit).offset(offset)
    return array("q", session.scalars(newest, execution_options={"yield_per": 10 * BATCH}))


def stream(chosen: Sequence[int]) -> Iterator[tuple[AnyRow, list[str]]]:
    """The jobs of ``ids`` with their tags, in that order, each as it is when its turn comes.

    The ids were chosen at one moment, so a job that changes its state, and with it its place in the
    list, meanwhile is neither lost nor doubled. Each batch is a short transaction of its own: none
    stays open while a client reads slowly.
    """
    for start in range(0, len(chosen), BATCH):
        with reading() as session:
            rows = _by_id(session, chosen[start : start + BATCH])
            tags = tags_of(session, [row.id for row in rows])
        for row in rows:
            yield row, tags.get(row.id, [])


def update_tags(
    session: Session, wanted: Filter, limit: int, offset: int, add: Sequence[str], remove: Sequence[str]
) -> int:
    """Remove, then add tags on the jobs of the filter; returns how many it selects (contract 3.5).

    The filter may ask for the very tags that change, so the ids are written down first.
    """
    chosen = ids(session, wanted, limit, offset)
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        session.execute(
            update(Job).where(col(Job.id).in_(batch)).values(touched_time=now_ms()),
        )
        if remove:
            execute(
                session,
                delete(JobTag).where(col(JobTag.job_id).in_(batch), col(JobTag.tag).in_(remove)),
            )
        for tag in dict.fromkeys(add):
            last = select(func.coalesce(func.max(col(JobTag.position)), -1) + 1).where(
                col(JobTag.job_id) == col(Job.id)
            )
            lacking = select(col(Job.id), literal(tag), last.scalar_subquery()).where(
                col(Job.id).in_(batch), ~_tagged([tag])
            )
            execute(session, insert(JobTag).from_select(["job_id", "tag", "position"], lacking))
    return len(chosen)


def with_records(
    session: Session, project: int, spider: int | None, kind: Kind, after: JobKey, limit: int = BATCH
) -> Sequence[AnyRow]:
    """Jobs that have records of a kind, in the order of their keys: ``id``, ``number``, ``spider_number``,
    ``project_id``, and ``total``, the index after the last record. Deleted ones are left out.

    Args:
        spider: number of the spider; None: of all.
        after: the key before the first one.

    """
    total = getattr(Job, COUNTERS[kind]) if kind in COUNTERS else literal(LARGEST)
    named = [col(Spider.number).label("spider_number"), total.label("total")]
    columns: list[Any] = [Job.id, Job.number, Job.project_id, *named]
    statement = (
        select(*columns)
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Spider.project_id) == project, col(Job.state).in_(LIVE))
        .where(tuple_(col(Spider.number), col(Job.number)) > tuple_(after.spider, after.job))
        .order_by(col(Spider.number), col(Job.number))
        .limit(limit)
    )
    if spider is not None:
        statement = statement.where(col(Spider.number) == spider)
    statement = statement.where(total > 0)
    return session.execute(statement).all()
