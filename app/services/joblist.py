"""The read side of jobs: filters, pages, streams, counts; and tags of what a filter selects."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    String,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, among, engine, insert_into, now_ms, reading, transaction
from app.keys import JobKey
from app.models import Job, JobState, JobTag, JobTagged, Spider
from app.prepared import Prepared
from app.services import activity, jobmeta, jobs

LIVE = (JobState.PENDING, JobState.RUNNING, JobState.FINISHED)
RARE = 10_000  # a tag that no more jobs have is looked up by itself
BATCH = 1000  # jobs that a stream reads at once
FEW = 10_000  # ids that are read at once
PORTION = 500  # jobs that get other tags in one transaction: others who write wait for its end
WRITERS = 2  # such transactions at a time on PostgreSQL
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


class Listed(NamedTuple):
    """A job as lists show it; times are ms. Of a million, making and reading each of these counts."""

    id: int
    project_id: int
    spider_number: int
    number: int
    state: str
    spider: str
    spider_type: str
    spider_args: dict[str, str] | None
    priority: int
    version: str | None
    close_reason: str | None
    running_time: int | None
    updated_time: int
    elapsed: int  # since anything of it changed
    items: int
    pages: int
    logs: int
    errors: int


# A subquery: of a join PostgreSQL reads all rows there are.
_TAGGED = select(col(JobTagged.time)).where(
    col(JobTagged.job_id) == col(Job.id), col(JobTagged.time) > col(Job.touched_time)
)
_OTHERS: dict[str, Any] = {
    "spider_number": col(Spider.number),
    "spider": col(Spider.name),
    "spider_type": col(Spider.type),
    "elapsed": now_ms() - func.coalesce(_TAGGED.scalar_subquery(), col(Job.touched_time)),
}
_BY_ID = Prepared(
    select(*(_OTHERS[name] if name in _OTHERS else getattr(Job, name) for name in Listed._fields))
    .join(Spider, col(Spider.id) == col(Job.spider_id))
    .where(among(Job.id, "chosen")),
    Listed,
)


def _tagged(tags: Sequence[str]) -> Any:
    return exists().where(col(JobTag.job_id) == col(Job.id), col(JobTag.tag).in_(tags))


def _where(session: Session, wanted: Filter) -> Any:
    return and_(_state(wanted.states or LIVE), *_conditions(session, wanted)[1])


def _state(states: Sequence[JobState]) -> Any:
    return col(Job.state) == states[0] if len(states) == 1 else col(Job.state).in_(states)


def _conditions(session: Session, wanted: Filter) -> tuple[bool, list[Any]]:
    """Are the jobs known by their ids, few of them? And all conditions but the states."""
    tagged = select(col(JobTag.job_id)).where(col(JobTag.tag).in_(wanted.has_tag))
    rare = bool(wanted.has_tag) and not more_than(session, tagged, RARE)
    by_id = rare or bool(wanted.keys)
    conditions = _owned(session, wanted, by_id)
    if wanted.keys:
        conditions.append(col(Job.id).in_(jobs.ids_of(session, wanted.keys)))
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
    return by_id, conditions


def _owned(session: Session, wanted: Filter, by_id: bool) -> list[Any]:
    """Whose jobs: the spider's, else the project's.

    A spider is one of the project's, so with it nothing is said of the project: to say it twice makes
    PostgreSQL take the jobs to be fewer than they are, and begin processes to find them. SQLite has no
    statistics and takes these indexes for the best way to anything: where the ids are known, adding nought
    keeps it from that.
    """

    def of(column: Any, id_: int) -> Any:
        return (column + 0 if by_id else column) == id_

    spiders = [
        select(col(Spider.id)).where(col(Spider.project_id) == wanted.project, col(column) == given)
        for column, given in ((Spider.name, wanted.spider), (Spider.number, wanted.spider_number))
        if given is not None
    ]
    if not spiders:
        return [of(col(Job.project_id), wanted.project)]
    return [of(col(Job.spider_id), session.scalar(each) or 0) for each in spiders]


def more_than(session: Session, rows: Any, limit: int) -> bool:
    """Are there more rows than that? The first column of none is NULL."""
    return session.scalar(rows.offset(limit).limit(1)) is not None


def many_wait(session: Session, project: int, limit: int) -> bool:
    """Has a project more waiting jobs than that? Fewer are sorted; else the queue is walked in its order."""
    mine = (col(Job.project_id) == project) & (col(Job.state) == JobState.PENDING)
    return more_than(session, select(col(Job.id)).where(mine), limit)


def count(session: Session, wanted: Filter) -> int:
    """How many jobs the filter selects."""
    return session.scalar(select(func.count()).select_from(Job).where(_where(session, wanted))) or 0


def page(session: Session, wanted: Filter, limit: int, offset: int) -> list[Listed]:
    """At most ``limit`` jobs after the first ``offset``; jobs asked for by key come in the order asked."""
    return _by_id(session, ids(session, wanted, limit, offset))


def _by_id(session: Session, chosen: Sequence[int]) -> list[Listed]:
    """Jobs by row id, in that order; those that are gone are left out."""
    found = {row.id: row for row in _BY_ID(session, {"chosen": chosen})}
    return [found[job_id] for job_id in chosen if job_id in found]


def last_offset(session: Session, wanted: Filter, limit: int) -> int:
    """The offset of the last ``limit`` jobs."""
    return max(count(session, wanted) - limit, 0)


def key_of(row: AnyRow | Listed) -> JobKey:
    """The key of a row that has its three numbers."""
    return JobKey(row.project_id, row.spider_number, row.number)


def ids(session: Session, wanted: Filter, limit: int, offset: int) -> Sequence[int]:
    """Row ids of what ``page`` would answer, however many; 8 bytes each."""
    if not wanted.keys:
        return newest(session, wanted, limit, offset)
    passed = set(session.scalars(select(col(Job.id)).where(_where(session, wanted))))
    asked = [job_id for job_id in jobs.ids_of(session, wanted.keys) if job_id in passed]
    return asked[offset : offset + limit]


def newest(session: Session, wanted: Filter, limit: int, offset: int = 0) -> Sequence[int]:
    """Row ids of at most ``limit`` jobs after the first ``offset``: the latest to enter its state first
    (contract 3.3); 8 bytes each.
    """
    # A part for each state: the ids of each are in an index in this order.
    by_id, conditions = _conditions(session, wanted)
    states = list(dict.fromkeys(wanted.states or LIVE))
    parts = [
        select(col(Job.id), col(Job.state_time)).where(_state(each), *conditions)
        for each in ([states] if by_id else [[state] for state in states])
    ]
    few = limit + offset <= FEW
    if few and len(parts) > 1:  # PostgreSQL would not see that it need not read the parts to their ends
        parts = [select(_in_order(part).limit(limit + offset).subquery()) for part in parts]
    some = _in_order(union_all(*parts) if len(parts) > 1 else parts[0]).limit(limit).offset(offset)
    return array("q", session.scalars(some if few else some.execution_options(yield_per=FEW)))


def _in_order(found: Any) -> Any:
    columns = found.selected_columns
    return found.order_by(columns.state_time.desc(), columns.id.desc())


def stream(chosen: Sequence[int]) -> Iterator[tuple[Listed, list[str]]]:
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
    for start in range(0, len(chosen), PORTION):
        yield chosen[start : start + PORTION]


_THESE = among(Job.id, "these")
_LOCK = select(col(Job.id)).where(_THESE).order_by(col(Job.id)).with_for_update(key_share=True)
_NOW = select(col(Job.id), now_ms()).where(_THESE)
_REMOVE = (
    delete(JobTag)
    .where(among(JobTag.job_id, "these"), col(JobTag.tag).in_(bindparam("tags", expanding=True)))
    .returning(col(JobTag.job_id))
)
_NEXT = select(func.coalesce(func.max(col(JobTag.position)), -1) + 1).where(col(JobTag.job_id) == col(Job.id))
_TAG = bindparam("tag", type_=String)
# Counted for each job: of jobs that do not exist PostgreSQL made a join, which read all that have the tag.
_HAS = select(func.count()).where(col(JobTag.job_id) == col(Job.id), col(JobTag.tag) == _TAG)
_ADD = (
    insert(JobTag)
    .from_select(
        ["job_id", "tag", "position"],
        select(col(Job.id), _TAG, _NEXT.scalar_subquery()).where(_THESE, _HAS.scalar_subquery() == 0),
    )
    .returning(col(JobTag.job_id))
)


def update_tags(session: Session, chosen: Sequence[int], add: Sequence[str], remove: Sequence[str]) -> bool:
    """Remove, then add tags of jobs (contract 3.5); those that are gone are passed over.

    The rows are locked in the order of their ids, as everywhere: nobody waits crosswise.

    Returns: whether any job has other tags now.
    """
    connection = session.connection()
    connection.execute(_LOCK, {"these": chosen})
    changed: set[int] = set()
    if remove:
        changed.update(connection.scalars(_REMOVE, {"these": chosen, "tags": remove}))
    for tag in dict.fromkeys(add):
        changed.update(connection.scalars(_ADD, {"these": chosen, "tag": tag}))
    if changed:
        touch = insert_into(session, JobTagged).from_select(["job_id", "time"], _NOW)
        latest = touch.on_conflict_do_update(index_elements=["job_id"], set_={"time": touch.excluded.time})
        connection.execute(latest, {"these": sorted(changed)})
    return bool(changed)


def update_tags_of(portions: Iterable[Sequence[int]], add: Sequence[str], remove: Sequence[str]) -> None:
    """Remove, then add tags of jobs portion by portion, each in a transaction of its own.

    Raises:
        DatabaseBusy: as ``transaction``. Some portions have other tags then, the others do not.

    On PostgreSQL a transaction is mostly the server's work, so there are several at a time: of different
    jobs, of which none waits for another. SQLite's writers take turns.

    """

    def change(portion: Sequence[int]) -> None:
        with transaction() as session:
            update_tags(session, portion, add, remove)

    with ThreadPoolExecutor(1 if engine().dialect.name == "sqlite" else WRITERS, "tags") as pool:
        for _ in pool.map(change, portions):  # should one fail, those that have not begun are given up
            pass


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
