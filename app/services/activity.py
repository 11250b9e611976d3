"""The activity log: what happened in a project, the platform's own events and those that users add.

An event of the platform is written in the transaction of the transition it tells of (contract 6.22): it
is there when the call is answered, and never comes after what somebody adds later.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import orjson
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, now_ms, reading
from app.keys import JobKey
from app.models import Activity, JobState, Project

# What is written when a job enters a state.
ENTERED = {
    JobState.PENDING: "job:scheduled",
    JobState.RUNNING: "job:started",
    JobState.FINISHED: "job:completed",
    JobState.DELETED: "job:deleted",
}
CANCELLED = "job:cancelled"  # when a stop is asked for

PAGE_ROWS = 1000  # events that are read at once …
PAGE_CHARACTERS = 1 << 20  # … unless they are long
FETCH = 50  # rows that the driver has in memory

_ACTIVITY = Activity.__table__  # type: ignore[attr-defined]
# Made once: scheduling and claiming write one each. Nobody asks for the row's id.
_INSERT = insert(_ACTIVITY).values(time=now_ms()).inline()


def happened(session: Session, user: str, events: Iterable[tuple[str, JobKey]]) -> None:
    """Record what ``user`` did to jobs, in that order, with one INSERT."""
    rows = [
        {
            "project_id": key.project,
            "event": orjson.dumps({"event": event, "job": str(key), "user": user}).decode(),
        }
        for event, key in events
    ]
    if rows:
        session.execute(_INSERT, rows if len(rows) > 1 else rows[0])


def add(session: Session, project_id: int, events: Sequence[bytes]) -> None:
    """Record events of a user's own: JSON objects, the last one is the most recent."""
    if events:
        now = session.scalar(select(now_ms()))  # one call, one time
        rows = [{"project_id": project_id, "time": now, "event": event.decode()} for event in events]
        session.execute(insert(_ACTIVITY).inline(), rows)


def newest(
    projects: Sequence[int], most: int | None = None, keep: Callable[[AnyRow], bool] | None = None
) -> Iterator[AnyRow]:
    """The events of projects, the newest first: ``id``, ``project_id``, ``time`` (ms), ``event`` (JSON).

    Args:
        most: of each project; None: all.
        keep: which ones.

    A page of each project is in memory, fetched in a transaction of its own, so that a client that reads
    slowly holds nothing. The first one is fetched when the project's newest event is due.

    """
    size = max(PAGE_ROWS // max(len(projects), 1), 10)
    due: list[tuple[int, int, AnyRow | None, Iterator[AnyRow]]] = []
    for project, last in _last(projects):
        events = _of(project, last, size)
        due.append((-last, project, None, islice(filter(keep, events) if keep else events, most)))
    heapq.heapify(due)
    while due:
        _, project, row, older = heapq.heappop(due)
        if row is not None:
            yield row
        following = next(older, None)
        if following is not None:
            heapq.heappush(due, (-following.id, project, following, older))


def _last(projects: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Of each project that has events: its id, and that of the newest one."""
    last = (
        select(func.max(col(Activity.id)))
        .where(col(Activity.project_id) == col(Project.id))
        .correlate(Project)
        .scalar_subquery()
    )
    for start in range(0, len(projects), PAGE_ROWS):
        mine = col(Project.id).in_(projects[start : start + PAGE_ROWS])
        with reading() as session:
            found = session.execute(select(col(Project.id), last).where(mine)).all()
        yield from ((project, newest_id) for project, newest_id in found if newest_id is not None)


def _of(project: int, last: int, size: int) -> Iterator[AnyRow]:
    """The events of a project from the id ``last`` downwards."""
    while rows := _page(project, last, size):
        yield from rows
        last = rows[-1].id - 1


def _page(project: int, last: int, size: int) -> list[AnyRow]:
    statement = (
        select(col(Activity.id), col(Activity.project_id), col(Activity.time), col(Activity.event))
        .where(col(Activity.project_id) == project, col(Activity.id) <= last)
        .order_by(col(Activity.id).desc())
        .limit(size)
    )
    rows: list[AnyRow] = []
    characters = 0
    some = {"yield_per": FETCH}
    with reading() as session, session.execute(statement, execution_options=some) as found:
        for row in found:
            rows.append(row)
            characters += len(row.event)
            if characters > PAGE_CHARACTERS:
                break
    return rows
