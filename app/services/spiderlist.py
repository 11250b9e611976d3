"""The read side of spiders: a page of them with what their jobs were like; and their tags (contract 4.14)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, case, func, or_, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute
from app.errors import NotFound
from app.models import Job, JobState, Project, Spider
from app.services import projects

AVERAGED = 10  # the last finished jobs, of which the averages are


@dataclass(frozen=True)
class Wanted:
    """Which spiders of a project, and in which order."""

    project: int
    number: int | None = None  # only this one, even when no version has it any more
    search: str = ""  # in the name, whatever the case
    order: str = "name"  # name, jobq_id or last_run
    descending: bool = False


def _jobs(*columns: Any) -> Select[Any]:
    """Finished jobs of a spider of the outer query that have run, the last one first; by ix_job_spider."""
    return (
        select(*columns)
        .where(
            col(Job.spider_id) == col(Spider.id),
            col(Job.state) == JobState.FINISHED,
            col(Job.running_time).is_not(None),
        )
        .order_by(col(Job.state_time).desc(), col(Job.id).desc())
        .correlate(Spider)
    )


def _average(value: Any) -> Any:
    recent = _jobs(value.label("value")).limit(AVERAGED).subquery()
    return select(func.avg(recent.c.value)).scalar_subquery()


_PRESENT = or_(col(Spider.deployed), col(Spider.declared))
_LAST_RUN = _jobs(col(Job.running_time)).limit(1).scalar_subquery()
# Of the job with the lowest number, not the lowest of all times: that would read all jobs.
_FIRST_RUN = (
    select(col(Job.running_time))
    .where(col(Job.spider_id) == col(Spider.id), col(Job.running_time).is_not(None))
    .order_by(col(Job.number))
    .limit(1)
    .correlate(Spider)
    .scalar_subquery()
)
_SPIDER: list[Any] = [Spider.id, Spider.number, Spider.name, Spider.type, Spider.tags, Spider.project_id]
COLUMNS = (
    *_SPIDER,
    col(Project.name).label("project"),
    _PRESENT.label("present"),
    case((col(Spider.deployed), projects.current_version(col(Spider.project_id)))).label("version"),
    _FIRST_RUN.label("first_run"),
    _jobs(col(Job.id)).limit(1).scalar_subquery().label("last_job"),
    _average(col(Job.items)).label("items"),
    _average(col(Job.pages)).label("pages"),
    _average(col(Job.finished_time) - col(Job.running_time)).label("runtime"),
)
ORDERS = {"name": col(Spider.name), "jobq_id": col(Spider.number), "last_run": _LAST_RUN}


def _where(wanted: Wanted) -> Any:
    mine = col(Spider.project_id) == wanted.project
    if wanted.number is not None:
        return and_(mine, col(Spider.number) == wanted.number)
    return and_(mine, _PRESENT, col(Spider.name).icontains(wanted.search, autoescape=True))


def count(session: Session, wanted: Wanted) -> int:
    """How many spiders there are."""
    return session.scalar(select(func.count()).select_from(Spider).where(_where(wanted))) or 0


def page(session: Session, wanted: Wanted, limit: int, offset: int) -> list[tuple[AnyRow, AnyRow | None]]:
    """Spiders as ``COLUMNS``, each with its last finished job: ``number``, ``close_reason``, ``items``,
    ``pages``, ``errors``, ``running_time``; None when none has run yet.

    Times are ms. Averages are those of the last ``AVERAGED`` finished jobs. It takes two queries, however
    many spiders they are.
    """
    order = ORDERS[wanted.order]
    order = order.desc() if wanted.descending else order.asc()
    spiders = session.execute(
        select(*COLUMNS)
        .join(Project, col(Project.id) == col(Spider.project_id))
        .where(_where(wanted))
        .order_by(order.nulls_last(), col(Spider.number))
        .limit(limit)
        .offset(offset)
    ).all()
    columns: list[Any] = [
        Job.id, Job.number, Job.close_reason, Job.items, Job.pages, Job.errors, Job.running_time,
    ]  # fmt: skip
    last = select(*columns).where(col(Job.id).in_([row.last_job for row in spiders]))
    jobs = {job.id: job for job in session.execute(last)}
    return [(row, jobs.get(row.last_job)) for row in spiders]


def update_tags(
    session: Session, project_id: int, number: int, add: Sequence[str], remove: Sequence[str]
) -> None:
    """Remove tags of a spider, then add some at the end; those that are there, or absent, are passed over.

    1. The row is locked before it is read: of two who change it, the second one sees what the first one did.
    2. It is written as a whole, since the tags are one value.

    Raises:
        NotFound: the project has no such spider.

    """
    mine = and_(col(Spider.project_id) == project_id, col(Spider.number) == number)
    spider = session.execute(
        select(col(Spider.id), col(Spider.tags)).where(mine).with_for_update(key_share=True)
    ).one_or_none()
    if spider is None:
        raise unknown(project_id, number)
    kept = [tag for tag in spider.tags or () if tag not in set(remove)]
    tags = list(dict.fromkeys([*kept, *add]))
    execute(session, update(Spider).where(col(Spider.id) == spider.id).values(tags=tags or None))


def unknown(project_id: int, number: int) -> NotFound:
    """The error for a spider that is not there."""
    return NotFound(f"project {project_id} has no spider {number}")
