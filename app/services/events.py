"""What those who watch are told: a project's events as they are committed, and counters of what runs."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, now_ms
from app.models import Activity, Job, JobState
from app.services.transitions import SPIDER_NUMBER, key_of

PAGE_ROWS = 500  # events that are read at once …
PAGE_CHARACTERS = 1 << 20  # … unless they are long
MOST_RUNNING = 500  # jobs of a project whose counters are told

_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND relation = 'activity'::regclass"
)


class Feed:
    """The events of a project for one reader, in the order of their ids: none left out, none twice.

    It begins after ``last``, the newest id that the reader has; None: only what happens from now on.

    An id is taken when an event is inserted, but seen once its transaction has been committed. On
    PostgreSQL an event may therefore come to light after others with larger ids. So

    1. ``_high`` is the newest id that can be seen. Whoever may still bring a smaller one took it before
       that, and holds, since before it took it until after its commit, the lock of everybody who writes
       to the table, which keeps nobody waiting.
    2. ``_writers``, looked up afterwards, are all who hold it.
    3. When all of these have ended, a later statement sees every event up to ``_high`` that there will
       ever be. (Each statement sees what was committed before it: READ COMMITTED.)

    No writer knows of that. SQLite has one writer, so there nobody is waited for.
    """

    def __init__(self, project_id: int, last: int | None) -> None:
        self.last = last  # everything up to it has been read; None: it is not known yet
        self._mine = col(Activity.project_id) == project_id
        self._high: int | None = None
        self._writers: set[str] = set()

    def read(self, session: Session) -> Sequence[AnyRow]:
        """What has been committed since: ``id``, ``time`` (ms), ``event`` (JSON). ``more`` may be left."""
        if self._high is None:
            high: int = session.scalar(select(func.max(col(Activity.id))).where(self._mine)) or 0
            if self.last is not None and high <= self.last:
                self.last = high  # smaller only when the database is an older one than it was
                return []
            self._high, self._writers = high, _writers(session)
        elif self._writers:
            self._writers &= _writers(session)
        if self._writers:
            return []
        if self.last is None:
            self.last, self._high = self._high, None
            return []
        return self._page(session, self.last, self._high)

    @property
    def more(self) -> bool:
        """Was the last page cut, so that the next one can be read at once?"""
        return self._high is not None and not self._writers

    def _page(self, session: Session, last: int, high: int) -> Sequence[AnyRow]:
        statement = (
            select(col(Activity.id), col(Activity.time), col(Activity.event))
            .where(self._mine, col(Activity.id).between(last + 1, high))
            .order_by(col(Activity.id))
            .limit(PAGE_ROWS)
        )
        rows: list[AnyRow] = []
        characters = 0
        with session.execute(statement, execution_options={"yield_per": 50}) as found:
            for row in found:
                rows.append(row)
                characters += len(row.event)
                if characters > PAGE_CHARACTERS:
                    break
            else:
                if len(rows) < PAGE_ROWS:
                    self.last, self._high = high, None
                    return rows
        self.last = rows[-1].id
        return rows


def _writers(session: Session) -> set[str]:
    """The transactions that have written to the activity log, or are about to; on SQLite none but us can."""
    if session.get_bind().dialect.name == "sqlite":
        return set()
    return set(session.scalars(_WRITERS))


class Counters:
    """The counters of a project's running jobs, or of one job while it runs, for one reader."""

    def __init__(self, project_id: int, job_id: int | None) -> None:
        self._running = (col(Job.project_id) == project_id) & (col(Job.state) == JobState.RUNNING)
        if job_id is not None:
            self._running &= col(Job.id) == job_id
        self._told: dict[int, tuple[int, ...]] = {}

    def read(self, session: Session) -> list[dict[str, Any]]:
        """Of the jobs whose counters have changed since: ``job`` (key), items, pages, logs, errors, and
        ``elapsed``, ms since its start. What a job has at its end is told too.
        """
        rows = _counters(session, self._running)
        ended = [job_id for job_id in self._told if job_id not in {row.id for row in rows}]
        told, changed = {row.id: _numbers(row) for row in rows}, rows
        if ended:
            changed = [*rows, *_counters(session, col(Job.id).in_(ended))]
        before, self._told = self._told, told
        return [
            {
                "job": str(key_of(row)),
                **dict(zip(NAMES, _numbers(row), strict=True)),
                "elapsed": max(row.elapsed or 0, 0),
            }
            for row in changed
            if before.get(row.id) != _numbers(row)
        ]


NAMES = ("items", "pages", "logs", "errors")


def _numbers(row: AnyRow) -> tuple[int, ...]:
    return (row.items, row.pages, row.logs, row.errors)


def _counters(session: Session, condition: ColumnElement[bool]) -> Sequence[AnyRow]:
    """Of at most MOST_RUNNING jobs, those that were started last."""
    columns: list[Any] = [getattr(Job, name) for name in ("id", "project_id", "number", *NAMES)]
    until = func.coalesce(col(Job.finished_time), now_ms())
    return session.execute(
        select(
            *columns, SPIDER_NUMBER.label("spider_number"), (until - col(Job.running_time)).label("elapsed")
        )
        .where(condition)
        .order_by(col(Job.state_time).desc(), col(Job.id).desc())
        .limit(MOST_RUNNING)
    ).all()


def ending(session: Session, job_id: int) -> AnyRow:
    """``state``, ``close_reason`` and ``logs`` of a job, as they were at one moment."""
    return session.execute(
        select(col(Job.state), col(Job.close_reason), col(Job.logs)).where(col(Job.id) == job_id)
    ).one()
