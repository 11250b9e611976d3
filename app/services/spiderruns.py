"""What a project's spiders have done lately: a page of them, each with its last runs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, literal, or_, select, union_all
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow
from app.models import Job, JobState, PeriodicJob, Spider
from app.services import projects

RUNS = 60  # of each spider, the last ones
MEDIAN_OF = 10  # the last runs that the medians are of
MOST_SCHEDULES = 1000  # of a project that are looked through

_RUN: list[Any] = [
    Job.id, Job.spider_id, Job.number, Job.state, Job.close_reason, Job.items, Job.errors, Job.running_time,
    Job.finished_time, Job.state_time,
]  # fmt: skip


@dataclass(frozen=True)
class SpiderRuns:
    """A spider and its last runs."""

    spider: AnyRow  # ``id``, ``number``, ``name``, ``tags``, ``deployed``, ``present``
    finished: Sequence[AnyRow]  # of the jobs that ran, as ``_RUN`` (times in ms), the last one last
    running: Sequence[AnyRow]  # likewise
    schedules: Sequence[AnyRow]  # ``id``, ``description``, ``cron``, ``timezone``, ``enabled``, ``next_time``

    @property
    def runtime(self) -> float | None:
        """The median of how long the last ``MEDIAN_OF`` took, in ms; None: none has run."""
        taken = [run.finished_time - run.running_time for run in self.finished[-MEDIAN_OF:]]
        return statistics.median(taken) if taken else None

    @property
    def items(self) -> float | None:
        """The median of their items."""
        counts = [run.items for run in self.finished[-MEDIAN_OF:]]
        return statistics.median(counts) if counts else None


def count(session: Session, project_id: int, search: str = "") -> int:
    """How many spiders of the project have ``search`` in their name, whatever the case."""
    return session.scalar(select(func.count()).select_from(Spider).where(_where(project_id, search))) or 0


def _where(project_id: int, search: str) -> Any:
    found = and_(col(Spider.project_id) == project_id, or_(col(Spider.deployed), col(Spider.declared)))
    return and_(found, col(Spider.name).icontains(search, autoescape=True)) if search else found


_SPIDER: list[Any] = [
    Spider.id, Spider.number, Spider.name, Spider.tags, Spider.deployed,
    or_(col(Spider.deployed), col(Spider.declared)).label("present"),
]  # fmt: skip


def page(
    session: Session, project_id: int, search: str, limit: int, after: str = "", runs: int = RUNS
) -> list[SpiderRuns]:
    """Spiders by name that come after the name ``after``, at most ``limit``."""
    where = and_(_where(project_id, search), col(Spider.name) > after)
    rows = session.execute(select(*_SPIDER).where(where).order_by(col(Spider.name)).limit(limit)).all()
    return _with_runs(session, project_id, rows, runs)


def one(session: Session, project_id: int, number: int, runs: int = RUNS) -> SpiderRuns | None:
    """A spider by its number, even when no version has it any more; None: the project never had it."""
    mine = and_(col(Spider.project_id) == project_id, col(Spider.number) == number)
    rows = session.execute(select(*_SPIDER).where(mine)).all()
    return next(iter(_with_runs(session, project_id, rows, runs)), None)


def _with_runs(session: Session, project_id: int, rows: Sequence[AnyRow], runs: int) -> list[SpiderRuns]:
    """In three queries, however many spiders they are."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    finished: dict[int, list[AnyRow]] = {id_: [] for id_ in ids}
    for run in session.execute(_last_finished(ids, runs)):
        finished[run.spider_id].append(run)
    running: dict[int, list[AnyRow]] = {id_: [] for id_ in ids}
    now = (col(Job.project_id) == project_id, col(Job.state) == JobState.RUNNING)
    for run in session.execute(select(*_RUN).where(*now).order_by(col(Job.running_time), col(Job.id))):
        running.get(run.spider_id, []).append(run)
    schedules = _schedules(session, project_id)
    return [
        SpiderRuns(row, finished[row.id][::-1], running[row.id], schedules.get(row.name, ())) for row in rows
    ]


def _last_finished(ids: Sequence[int], runs: int) -> Any:
    """The last runs of each spider, the last one first. A part for each: ix_job_spider has them in order."""
    parts = []
    for id_ in ids:
        mine = (
            col(Job.spider_id) == literal(id_),
            col(Job.state) == JobState.FINISHED,
            col(Job.running_time).is_not(None),
        )
        last_first = (col(Job.state_time).desc(), col(Job.id).desc())
        parts.append(select(select(*_RUN).where(*mine).order_by(*last_first).limit(runs).subquery()))
    found = union_all(*parts).subquery()
    return select(found).order_by(found.c.state_time.desc(), found.c.id.desc())


def _schedules(session: Session, project_id: int) -> dict[str, list[AnyRow]]:
    """The project's schedules by the names of their spiders."""
    columns: list[Any] = [
        PeriodicJob.id, PeriodicJob.description, PeriodicJob.cron, PeriodicJob.timezone, PeriodicJob.enabled,
        PeriodicJob.next_time, PeriodicJob.spiders,
    ]  # fmt: skip
    mine = select(*columns).where(col(PeriodicJob.project_id) == project_id)
    found: dict[str, list[AnyRow]] = {}
    for row in session.execute(mine.order_by(col(PeriodicJob.id)).limit(MOST_SCHEDULES)):
        for name in dict.fromkeys(str(spider.get("name")) for spider in row.spiders):
            found.setdefault(name, []).append(row)
    return found


def version(session: Session, project_id: int) -> str | None:
    """The name of the version that runs; None: nothing was deployed."""
    found: str | None = session.scalar(select(projects.current_version(project_id)))
    return found
