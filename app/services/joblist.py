"""The read side of jobs: filters, pages, streams, counts; and tags of what a filter selects."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms, reading
from app.keys import JobKey
from app.models import Job, JobState, JobTag, Spider
from app.services import activity, jobmeta, jobs

LIVE = (JobState.PENDING, JobState.RUNNING, JobState.FINISHED)
RARE = 10_000  # a tag that no more jobs have is looked up by itself
BATCH = 1000  # jobs that a stream reads at once
TOLD_LENGTH = 255  # characters of the tags that one event tells

# What a row of a queue's list has besides key, ts, elapsed and state (contract 6.13).
ROW = (
    "spider", "pending_time", "running_time", "finished_time", "close_reason", "items", "pages", "logs",
    "errors", "version", "tags",
)  # fmt: skip

tags_of = jobmeta.tags_of


@dataclass(frozen=True)
class Filter:
    """Which jobs of a project (contract 3.1); an empty field does not narrow."""

    project: int
    keys: Sequence[JobKey] = ()
    spider: str | None = None
    states: Sequence[JobState] = ()
    has_tag: Sequence[str] = ()
    lacks_tag: Sequence[str] = ()
    spider_number: int | None = None
    startts: int | None = None  # ms: entered their state then or later
    endts: int | None = None  # ms: entered it before
    stop: JobKey | None = None  # before this one in the list, if it is in it

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
    return and_(_state(wanted.states or LIVE), *_conditions(session, wanted))


def _state(states: Sequence[JobState]) -> Any:
    return col(Job.state) == states[0] if len(states) == 1 else col(Job.state).in_(states)


def _conditions(session: Session, wanted: Filter) -> list[Any]:
    """All but the states.

    SQLite has no statistics and takes an index on the project for the best way to anything. Where the
    jobs are known otherwise, by their ids or by a tag that few have, adding nought keeps it from that;
    where the spider is known, from all but the index that begins with it.
    """
    tagged = select(col(JobTag.job_id)).where(col(JobTag.tag).in_(wanted.has_tag))
    rare = bool(wanted.has_tag) and not more_than(session, tagged, RARE)
    by_id = rare or bool(wanted.keys)
    of_spider = wanted.spider is not None or wanted.spider_number is not None
    project = col(Job.project_id) + 0 if by_id or of_spider else col(Job.project_id)
    conditions: list[Any] = [project == wanted.project]
    if wanted.keys:
        conditions.append(col(Job.id).in_(jobs.ids_of(session, wanted.keys)))
    for column, given in ((Spider.name, wanted.spider), (Spider.number, wanted.spider_number)):
        if given is not None:
            named = select(col(Spider.id)).where(
                col(Spider.project_id) == wanted.project, col(column) == given
            )
            spider = col(Job.spider_id) + 0 if by_id else col(Job.spider_id)
            conditions.append(spider == (session.scalar(named) or 0))
    if wanted.startts is not None:
        conditions.append(col(Job.state_time) >= wanted.startts)
    if wanted.endts is not None:
        conditions.append(col(Job.state_time) < wanted.endts)
    if wanted.has_tag:
        conditions.append(col(Job.id).in_(tagged) if rare else _tagged(wanted.has_tag))
    if wanted.lacks_tag:
        conditions.append(~_tagged(wanted.lacks_tag))
    if wanted.stop is not None:
        moment = select(col(Job.state_time), col(Job.id)).where(_state(wanted.states or LIVE), *conditions)
        last = session.execute(moment.where(col(Job.id) == jobs.find(session, wanted.stop))).one_or_none()
        if last is not None:
            conditions.append(tuple_(col(Job.state_time), col(Job.id)) > tuple_(*last))
    return conditions


def more_than(session: Session, rows: Any, limit: int) -> bool:
    """Are there more rows than that? It counts no further."""
    some = rows.limit(limit + 1).subquery()
    return (session.scalar(select(func.count()).select_from(some)) or 0) > limit


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
    return _by_id(session, newest(session, wanted, limit, offset))


def _asked(session: Session, wanted: Filter) -> list[int]:
    """Ids of the jobs asked for by key that pass the other filters, in the order asked."""
    named = jobs.ids_of(session, wanted.keys)
    passed = set(session.scalars(select(col(Job.id)).where(_where(session, wanted))))
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


def portions(chosen: Sequence[int]) -> Iterator[Sequence[int]]:
    """Row ids of jobs in portions for ``update_tags``, each a transaction of its own."""
    for start in range(0, len(chosen), BATCH):
        yield chosen[start : start + BATCH]


def update_tags(session: Session, chosen: Sequence[int], add: Sequence[str], remove: Sequence[str]) -> bool:
    """Remove, then add tags of jobs (contract 3.5); those that are gone are passed over.

    The rows are locked in the order of their ids, as everywhere: nobody waits crosswise.

    Returns: whether any job has other tags now.
    """
    changed = 0
    these = col(Job.id).in_(chosen)
    session.execute(select(col(Job.id)).where(these).order_by(col(Job.id)).with_for_update(key_share=True))
    session.execute(update(Job).where(these).values(touched_time=now_ms()))
    if remove:
        gone = delete(JobTag).where(col(JobTag.job_id).in_(chosen), col(JobTag.tag).in_(remove))
        changed += execute(session, gone).rowcount
    for tag in dict.fromkeys(add):
        last = select(func.coalesce(func.max(col(JobTag.position)), -1) + 1).where(
            col(JobTag.job_id) == col(Job.id)
        )
        lacking = select(col(Job.id), literal(tag), last.scalar_subquery()).where(these, ~_tagged([tag]))
        new = insert(JobTag).from_select(["job_id", "tag", "position"], lacking)
        # PostgreSQL's driver tells the row count of an INSERT only when it is asked to.
        changed += execute(session, new.execution_options(preserve_rowcount=True)).rowcount
    return changed > 0


def tell_of_tags(
    session: Session, project: int, by: str, add: Sequence[str], remove: Sequence[str], of: JobKey | int
) -> None:
    """Write into the activity log who changed tags: one event, however many jobs a call selects.

    Args:
        of: the job, or how many were selected.

    """
    what = {"job": str(of)} if isinstance(of, JobKey) else {"jobs": str(of)}
    tags = {"added": ", ".join(add)[:TOLD_LENGTH], "removed": ", ".join(remove)[:TOLD_LENGTH]}
    what |= {name: text for name, text in tags.items() if text}
    activity.happened_to(session, project, by, activity.TAGGED, **what)


# Lists of the storage API


def newest(session: Session, wanted: Filter, limit: int, offset: int = 0) -> list[int]:
    """Row ids of at most ``limit`` jobs after the first ``offset``: the latest to enter its state first."""
    # A part for each state: the ids of each are in an index in this order, and nothing is sorted or
    # passed over but the rows of the page.
    conditions = _conditions(session, wanted)
    states = wanted.states or LIVE
    parts = []
    for state in states:
        of_state = select(col(Job.id), col(Job.state_time)).where(_state([state]), *conditions)
        newest_first = of_state.order_by(col(Job.state_time).desc(), col(Job.id).desc())
        if len(states) == 1:
            one = newest_first.with_only_columns(col(Job.id)).limit(limit).offset(offset)
            return list(session.scalars(one))
        parts.append(select(newest_first.limit(limit + offset).subquery()))
    found = union_all(*parts).subquery().c
    statement = select(found.id).order_by(found.state_time.desc(), found.id.desc())
    return list(session.scalars(statement.limit(limit).offset(offset)))


def last_finished(
    session: Session, project: int, first: int, limit: int, spider: int | None = None
) -> list[int]:
    """Row ids of the most recently finished job of each spider that has one, by the spiders' numbers.

    Args:
        first: number of the spider to begin with.
        spider: number of the only one.

    """
    last = (
        select(col(Job.id))
        .where(col(Job.spider_id) == col(Spider.id), col(Job.state) == JobState.FINISHED)
        .order_by(col(Job.state_time).desc(), col(Job.id).desc())
        .limit(1)
        .correlate(Spider)
        .scalar_subquery()
    )
    of_each = select(col(Spider.number), last.label("job_id")).where(
        col(Spider.project_id) == project, col(Spider.number) >= first
    )
    if spider is not None:
        of_each = of_each.where(col(Spider.number) == spider)
    found = of_each.subquery()
    statement = select(found.c.job_id).where(found.c.job_id.is_not(None)).order_by(found.c.number)
    return list(session.scalars(statement.limit(limit)))


def summaries(session: Session, chosen: Sequence[int], names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a queue's list (contract 6.13) of jobs by row id, in that order; unknown ones are left out.

    Args:
        names: the metadata fields of a row; none: the usual ones.

    """
    found = jobmeta.by_id(session, chosen, {"state", *(names or ROW)})
    rows = []
    for job in (found[job_id] for job_id in chosen if job_id in found):
        # A client takes an age of nought for none at all.
        row = {"key": str(job.key), "ts": job.ts, "elapsed": max(job.age, 1), **job.fields}
        if not names and not row.get("tags"):
            row.pop("tags", None)
        rows.append(row)
    return rows


def queues(session: Session, projects: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many jobs of each project are pending, running, finished."""
    lengths = {project: dict.fromkeys(map(str, LIVE), 0) for project in projects}
    for start in range(0, len(projects), BATCH):
        mine = col(Job.project_id).in_(projects[start : start + BATCH])
        counted = select(col(Job.project_id), col(Job.state), func.count()).where(
            mine, col(Job.state).in_(LIVE)
        )
        for project, state, number in session.execute(counted.group_by(col(Job.project_id), col(Job.state))):
            lengths[project][state] = number
    return lengths


def running_units(session: Session, project: int) -> int:
    """The units of all running jobs of a project."""
    running = and_(col(Job.project_id) == project, col(Job.state) == JobState.RUNNING)
    return session.scalar(select(func.coalesce(func.sum(col(Job.units)), 0)).where(running)) or 0
