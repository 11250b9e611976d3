"""The activity log: what happened in a project, the platform's own events and those that users add.

An event of the platform is written in the transaction of the transition it tells of (contract 6.22): it
is there when the call is answered, and never comes after what somebody adds later.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, now_ms, reading
from app.keys import JobKey
from app.models import Activity, JobState, Project
from app.prepared import Prepared
from app.services import outbox

# What is written when a job enters a state.
ENTERED = {
    JobState.PENDING: "job:scheduled",
    JobState.RUNNING: "job:started",
    JobState.FINISHED: "job:completed",
    JobState.DELETED: "job:deleted",
}
CANCELLED = "job:cancelled"  # when a stop is asked for
# What a person did to jobs beside that; webhooks are not told.
KILLED, PRIORITY, TAGGED = "job:killed", "job:priority", "job:tagged"
# What is written of a project itself.
DEPLOYED, VERSION, RENAMED = "project:deployed", "project:version", "project:renamed"
SETTINGS, SETTING_REMOVED = "project:settings", "project:setting_removed"
MEMBER_ADDED, MEMBER_REMOVED = "member:added", "member:removed"
KEY_CREATED, KEY_ROTATED, KEY_REVOKED = "key:created", "key:rotated", "key:revoked"
PASSWORD_SET, PASSWORD_REMOVED = "key:password", "key:password_removed"
WEBHOOK_CREATED, WEBHOOK_CHANGED, WEBHOOK_DELETED = "webhook:created", "webhook:changed", "webhook:deleted"
WEBHOOK_ENABLED, WEBHOOK_DISABLED = "webhook:enabled", "webhook:disabled"
PERIODIC_CREATED, PERIODIC_CHANGED, PERIODIC_DELETED = (
    "periodic:created",
    "periodic:changed",
    "periodic:deleted",
)
PERIODIC_PAUSED, PERIODIC_RESUMED = "periodic:paused", "periodic:resumed"

PAGE_ROWS = 1000  # events that are read at once …
PAGE_CHARACTERS = 1 << 20  # … unless they are long
SCANNED = 20_000  # events that are looked at for those of one kind or user
FETCH = 50  # rows that the driver has in memory

_ACTIVITY = Activity.__table__  # type: ignore[attr-defined]
# Made once: scheduling and claiming write one each. Nobody asks for the row's id.
_INSERT = insert(_ACTIVITY).values(time=now_ms()).inline()
_INSERT_ONE = Prepared(_INSERT)


def happened(session: Session, user: str, events: Iterable[tuple[str, JobKey]]) -> None:
    """Record what ``user`` did to jobs, in that order, with one INSERT; webhooks are told of it."""
    events = list(events)
    rows = [
        {
            "project_id": key.project,
            "event": orjson.dumps({"event": event, "job": str(key), "user": user}).decode(),
        }
        for event, key in events
    ]
    if len(rows) == 1:
        _INSERT_ONE(session, rows[0])
    elif rows:
        session.execute(_INSERT, rows)
    kinds = dict.fromkeys((key.project, event) for event, key in events)  # one, as a rule
    for project, kind in kinds:
        told = [
            {"job": str(key), "user": user}
            for event, key in events
            if (key.project, event) == (project, kind)
        ]
        outbox.emit(session, project, kind, *told)


def add(session: Session, project_id: int, events: Sequence[bytes]) -> None:
    """Record events of a user's own: JSON objects, the last one is the most recent."""
    if events:
        now = session.scalar(select(now_ms()))  # one call, one time
        rows = [{"project_id": project_id, "time": now, "event": event.decode()} for event in events]
        session.execute(insert(_ACTIVITY).inline(), rows)


def happened_to(session: Session, project_id: int, user: str, event: str, **what: str) -> None:
    """Record what ``user`` did to the project itself; ``what`` is told beside it."""
    happened_in(session, [project_id], user, event, **what)


def happened_in(session: Session, projects: Sequence[int], user: str, event: str, **what: str) -> None:
    """Record what ``user`` did that concerns several projects. No secret is ever part of ``what``."""
    told = orjson.dumps({"event": event, "user": user, **what}).decode()
    rows = [{"project_id": project_id, "event": told} for project_id in projects]
    if rows:
        session.execute(_INSERT, rows if len(rows) > 1 else rows[0])


@dataclass(frozen=True)
class Part:
    """Some events, the newest first."""

    events: Sequence[AnyRow]  # ``id``, ``time`` (ms), ``event`` (JSON)
    next: int | None  # the id to go on below; None: these were the oldest


def part(
    session: Session, project_id: int, limit: int, below: int | None = None, *, kind: str = "", user: str = ""
) -> Part:
    """Events of a project with smaller ids than ``below``, at most ``limit``.

    Args:
        kind: only events whose name begins so, as "job:".
        user: only what this user did.

    No index knows these two: SCANNED events are looked at, and the next part goes on where that ended.

    """
    mine = [col(Activity.project_id) == project_id]
    if below is not None:
        mine.append(col(Activity.id) < below)
    newest_first = col(Activity.id).desc()
    if not kind and not user:
        columns = (col(Activity.id), col(Activity.time), col(Activity.event))
        rows = session.execute(select(*columns).where(*mine).order_by(newest_first).limit(limit + 1)).all()
        return Part(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)
    looked = select(col(Activity.id)).where(*mine).order_by(newest_first).limit(SCANNED).subquery()
    last, number = session.execute(select(func.min(looked.c.id), func.count()).select_from(looked)).one()
    if last is None:
        return Part([], None)
    likely = [col(Activity.event).contains(text, autoescape=True) for text in _texts(kind, user)]
    columns = (col(Activity.id), col(Activity.time), col(Activity.event))
    found = select(*columns).where(*mine, col(Activity.id) >= last, *likely).order_by(newest_first)
    rows = session.execute(found.limit(limit + 1)).all()
    following = rows[limit - 1].id if len(rows) > limit else last if number == SCANNED else None
    return Part([row for row in rows[:limit] if _is(row.event, kind, user)], following)


def _texts(kind: str, user: str) -> Iterator[str]:
    """What an event has somewhere, when it is one of these."""
    for name, value in (("event", kind), ("user", user)):
        if value:
            text = orjson.dumps({name: value}).decode()
            yield text[1:-2] if name == "event" else text[1:-1]


def _is(event: str, kind: str, user: str) -> bool:
    told = orjson.loads(event)
    return str(told.get("event", "")).startswith(kind) and (not user or told.get("user") == user)


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
