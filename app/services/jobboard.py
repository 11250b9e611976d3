"""The jobs of a project as a person looks at them: in sections by state, filtered, with why they wait.

Whatever the filter, no page reads more than ``LOOK`` rows of a state: what no index can answer is looked
for among the next so many, and the page says how far it has looked and goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, and_, exists, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, now_ms
from app.errors import BadParameter
from app.keys import DIGITS, JobKey
from app.models import Job, JobState, JobTag, Spider
from app.services import joblist, jobmeta, workers

LOOK = 5_000  # jobs of a state that one page looks through
COUNTED = 10_000  # no more are counted
IN_LINE = 1000  # places of the queue that are told
OUTCOMES = 50  # different ones of a project that are known


@dataclass(frozen=True)
class Wanted:
    """Which jobs of a project; an empty field does not narrow."""

    project: int
    spider: str = ""
    tags: Sequence[str] = ()  # all of them
    outcome: str = ""  # with ! in front: any other
    since: int | None = None  # ms: entered their state then or later
    args: Mapping[str, str | None] = field(default_factory=dict)  # None: has the argument, whatever its value

    @property
    def narrows(self) -> bool:
        """Does it select less than the whole project?"""
        return bool(self.spider or self.tags or self.outcome or self.since or self.args)


@dataclass(frozen=True)
class Count:
    """How many jobs there are, or at least are."""

    number: int
    exact: bool


NONE = Count(0, True)


@dataclass(frozen=True)
class Row:
    """A job of a page: its columns, and what they come to."""

    job: AnyRow
    tags: Sequence[str]
    why: str = ""  # it waits

    @property
    def key(self) -> JobKey:
        """The key of the job."""
        return JobKey(self.job.project_id, self.job.spider_number, self.job.number)

    @property
    def stopping(self) -> bool:
        """It was asked to stop and still runs."""
        return self.job.state == JobState.RUNNING and self.job.stop_time is not None

    @property
    def runtime(self) -> int | None:
        """How long it has run, ms; None when it never did."""
        if self.job.running_time is None:
            return None
        end = self.job.finished_time if self.job.state != JobState.RUNNING else self.job.now
        return None if end is None else max(end - self.job.running_time, 0)

    @property
    def rate(self) -> float | None:
        """Items per minute; None while that says nothing."""
        runtime = self.runtime
        return self.job.items * 60_000 / runtime if runtime and runtime >= 1000 else None


@dataclass(frozen=True)
class Section:
    """Jobs in one state."""

    state: JobState
    count: Count
    rows: Sequence[Row] = ()
    more: str = ""  # where the next page begins; "": there is none
    looked: int = 0  # at so many jobs, and there are more: go on at ``more``


_NAMES = (
    "id", "project_id", "number", "state", "close_reason", "priority", "spider_args", "version", "worker",
    "items", "pages", "errors", "logs", "pending_time", "running_time", "finished_time", "stop_time",
    "state_time", "scheduled_by", "lease_time",
)  # fmt: skip
_COLUMNS = (
    *(getattr(Job, name) for name in _NAMES),
    col(Spider.number).label("spider_number"),
    col(Spider.name).label("spider"),
    or_(col(Spider.deployed), col(Spider.declared)).label("present"),
    col(Spider.deployed).label("deployed"),
    now_ms().label("now"),
)


def section(session: Session, wanted: Wanted, state: JobState, after: str = "", limit: int = 50) -> Section:
    """A page of the jobs in a state: waiting ones in the order of the queue, others the newest first.

    Args:
        after: ``more`` of the page before.

    Raises:
        BadParameter: ``after`` is none.

    """
    beyond = [_beyond(state, after)] if after else []
    if wanted.outcome and state != JobState.FINISHED:
        return Section(state, NONE)  # they have none yet
    walk = _walks(session, wanted, state)
    plain, loose = _conditions(session, wanted, state, walk=walk)
    if loose:
        found, last = _window(session, state, [*plain, *beyond], loose, walk=walk)
        total = Count(len(found), last is None and not after)
    else:
        total, last = count(session, wanted, state), None
        found = session.execute(_in_order([*plain, *beyond], state, limit + 1, walk=walk)).all()
    more, looked = "", 0
    if len(found) > limit:
        more = _place(found[limit - 1])
    elif last is not None:
        more, looked = _place(last), LOOK
    return Section(state, total, _rows(session, [each.id for each in found[:limit]], state), more, looked)


def count(session: Session, wanted: Wanted, state: JobState) -> Count:
    """How many jobs in a state the filter selects."""
    if wanted.outcome and state != JobState.FINISHED:
        return NONE
    plain, loose = _conditions(session, wanted, state)  # counting needs no order
    if loose:
        walk = _walks(session, wanted, state)
        plain, _ = _conditions(session, wanted, state, walk=walk)
        found, last = _window(session, state, plain, loose, walk=walk)
        return Count(len(found), last is None)
    some = select(literal(1)).select_from(Job).where(*plain).limit(COUNTED + 1)
    number = session.scalar(select(func.count()).select_from(some.subquery())) or 0
    return Count(min(number, COUNTED), number <= COUNTED)


def keys(session: Session, wanted: Wanted, states: Sequence[JobState], most: int) -> list[JobKey]:
    """Keys of at most ``most`` jobs that the filter selects, the newest first."""
    found: list[int] = []
    for state in states:
        if wanted.outcome and state != JobState.FINISHED:
            continue
        walk = _walks(session, wanted, state)
        plain, loose = _conditions(session, wanted, state, walk=walk)
        if loose:
            chosen, _ = _window(session, state, plain, loose, walk=walk)
        else:
            chosen = session.execute(_in_order(plain, state, most, walk=walk)).all()
        found += [each.id for each in chosen]
    return [row.key for row in _rows(session, found[:most])]


# Which jobs


def _walks(session: Session, wanted: Wanted, state: JobState) -> bool:
    return state == JobState.PENDING and joblist.many_wait(session, wanted.project, COUNTED)


def _conditions(
    session: Session, wanted: Wanted, state: JobState, *, walk: bool = False
) -> tuple[list[Any], list[Any]]:
    """What an index answers, and what has to be looked at row by row.

    Args:
        walk: of waiting jobs: along the queue, whatever the project, since it has too many to be sorted.

    """
    plain: list[Any] = [col(Job.state) == state]
    loose: list[Any] = []
    tagged = {tag: select(col(JobTag.job_id)).where(col(JobTag.tag) == tag) for tag in wanted.tags}
    rare = [tag for tag, found in tagged.items() if not joblist.more_than(session, found, joblist.RARE)]
    # Adding nought keeps SQLite, which has no statistics, from an index that is not the best way.
    if wanted.spider:  # whose number says which project it is of
        named = select(col(Spider.id)).where(
            col(Spider.project_id) == wanted.project, col(Spider.name) == wanted.spider
        )
        spider = col(Job.spider_id) + 0 if rare or walk else col(Job.spider_id)
        plain.append(spider == (session.scalar(named) or 0))
    else:
        project = col(Job.project_id) + 0 if rare or walk else col(Job.project_id)
        plain.append(project == wanted.project)
    if wanted.since is not None:
        plain.append(col(Job.state_time) >= wanted.since)
    if wanted.outcome.startswith("!"):
        loose.append(func.coalesce(col(Job.close_reason), "") != wanted.outcome[1:])
    elif wanted.outcome:
        (loose if wanted.spider else plain).append(col(Job.close_reason) == wanted.outcome)
    plain += [col(Job.id).in_(tagged[tag]) for tag in rare]
    common = [tag for tag in tagged if tag not in rare]
    loose += [exists().where(col(JobTag.job_id) == col(Job.id), col(JobTag.tag) == tag) for tag in common]
    for name, value in wanted.args.items():
        argument: Any = col(Job.spider_args)[name].as_string()
        loose.append(argument.is_not(None) if value is None else argument == value)
    return plain, loose


def _order_columns(state: JobState) -> tuple[Any, Any]:
    return (col(Job.priority) if state == JobState.PENDING else col(Job.state_time)), col(Job.id)


def _order(state: JobState, walk: bool) -> tuple[Any, Any]:
    first, job_id = _order_columns(state)
    if state != JobState.PENDING:
        return first.desc(), job_id.desc()
    # With nought added, neither database passes over all that waits before.
    return (first if walk else first + 0).desc(), job_id.asc()


def _in_order(conditions: Sequence[Any], state: JobState, limit: int, *, walk: bool) -> Select[Any]:
    """Ids and places of jobs."""
    first, job_id = _order_columns(state)
    found = select(job_id.label("id"), first.label("first")).where(*conditions)
    return found.order_by(*_order(state, walk)).limit(limit)


def _window(
    session: Session, state: JobState, plain: Sequence[Any], loose: Sequence[Any], *, walk: bool
) -> tuple[Sequence[AnyRow], AnyRow | None]:
    """Look at the next ``LOOK`` jobs row by row.

    Returns: ids and places of those that the filter selects; and of the last one that was looked at, None
    when there are no more.
    """
    first, job_id = _order_columns(state)
    near = _in_order(plain, state, LOOK, walk=walk).subquery()
    found = select(job_id.label("id"), first.label("first")).join(near, near.c.id == job_id)
    chosen = session.execute(found.where(*loose).order_by(*_order(state, walk))).all()
    last = session.execute(_in_order(plain, state, 2, walk=walk).offset(LOOK - 1)).all()
    return chosen, last[0] if len(last) == 2 else None


def _place(row: AnyRow) -> str:
    return f"{row.first}.{row.id}"


def _beyond(state: JobState, after: str) -> Any:
    first, _, job_id = after.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= DIGITS + 5 for part in (first, job_id)):
        raise BadParameter(f"invalid value for after: {after[:50]}")
    place = (int(first), int(job_id))
    if state != JobState.PENDING:
        return tuple_(col(Job.state_time), col(Job.id)) < tuple_(*place)
    level, number = place
    return or_(col(Job.priority) < level, and_(col(Job.priority) == level, col(Job.id) > number))


# What they are like


def _rows(session: Session, ids: Sequence[int], state: JobState | None = None) -> list[Row]:
    statement = select(*_COLUMNS).join(Spider, col(Spider.id) == col(Job.spider_id))
    place = {job_id: position for position, job_id in enumerate(ids)}
    found = sorted(
        session.execute(statement.where(col(Job.id).in_(ids))), key=lambda row: place.get(row.id, 0)
    )
    tags = jobmeta.tags_of(session, ids)
    why = waits(session, found) if state == JobState.PENDING else {}
    return [Row(row, tags.get(row.id, ()), why.get(row.id, "")) for row in found]


def waits(session: Session, rows: Sequence[AnyRow]) -> dict[int, str]:
    """Why jobs wait, by row id, in words.

    Args:
        rows: with ``id``, ``deployed`` and ``present`` of pending jobs.

    """
    if not rows:
        return {}
    line = (
        select(col(Job.id))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.PENDING, col(Spider.deployed))
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(IN_LINE)
    )
    places = {job_id: place for place, job_id in enumerate(session.scalars(line), 1)}
    alive, drain = workers.alive(session, workers.WORKER), workers.all_drain(session)
    told = {}
    for row in rows:
        if not row.deployed:
            told[row.id] = (
                "runs outside, when a worker of yours takes it"
                if row.present
                else "no deployed version has this spider"
            )
        elif not alive:
            told[row.id] = "no worker is running"
        elif drain:
            told[row.id] = "all workers drain"
        else:
            place = places.get(row.id)
            told[row.id] = f"{ordinal(place)} in line" if place else f"behind more than {IN_LINE} others"
    return told


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th`` …"""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


# Outcomes


def outcomes(session: Session, project: int, since: int | None = None) -> list[tuple[str, int | None]]:
    """The outcomes that finished jobs of a project have had, in order, and how many had each since a time.

    One step of the index finds each: a project has millions of jobs, but few outcomes.

    Args:
        since: ms; those that no job has had since are left out. None: nothing is counted.

    """
    mine = and_(col(Job.project_id) == project, col(Job.state) == JobState.FINISHED)
    first = select(func.min(col(Job.close_reason)).label("reason")).where(mine).cte("known", recursive=True)
    following = select(func.min(col(Job.close_reason))).where(mine, col(Job.close_reason) > first.c.reason)
    known = first.union_all(select(following.scalar_subquery()).where(first.c.reason.is_not(None)))
    number: Any = literal(None)
    if since is not None:
        counted = select(func.count()).where(
            mine, col(Job.close_reason) == known.c.reason, col(Job.state_time) >= since
        )
        number = counted.correlate(known).scalar_subquery()
    statement = select(known.c.reason, number.label("number")).where(known.c.reason.is_not(None))
    found = session.execute(statement.limit(OUTCOMES)).all()
    return [(row.reason, row.number) for row in found if row.number != 0]
