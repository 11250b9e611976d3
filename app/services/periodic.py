"""Periodic jobs: make, change, pause, list them, and what became of their fire times.

``services.plans`` says what a schedule may be, ``services.firing`` runs them.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import Text, cast, delete, func, insert, or_, select, union_all, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, now_ms
from app.errors import BadParameter, NotFound, Refused
from app.keys import JobKey
from app.models import Job, PeriodicJob, PeriodicRun, RunState, Spider
from app.services import activity, cron, outbox, plans
from app.services.plans import Plan

MOST = 1000  # schedules of a project
PAUSED = "paused"  # why a run that waited was skipped

TABLE = PeriodicJob.__table__  # type: ignore[attr-defined]
RUNS = PeriodicRun.__table__  # type: ignore[attr-defined]


def create(session: Session, project_id: int, plan: Plan, by: str, declared: str | None = None) -> int:
    """Make a schedule; returns its id.

    Args:
        declared: its name in the project's yml.

    Raises:
        BadParameter: the project has no such spider.
        Refused: the project has too many schedules.

    """
    if declared is None:  # a deploy knows the spiders of its version
        check_spiders(session, project_id, plan)
    if count(session, project_id) >= MOST:
        raise Refused(f"project {project_id} has {MOST} periodic jobs; more are too many")
    values = {
        "project_id": project_id,
        "declared": declared,
        "created_by": by,
        "created_time": now_ms(),
        "paused_by": None if plan.enabled or declared is not None else by,
        **_columns(session, plan),
        **_times(session, plan),
    }
    row = session.execute(insert(TABLE).values(values).returning(*TABLE.c)).one()
    _note(session, row, by, activity.PERIODIC_CREATED)
    made: int = row.id
    return made


def _note(session: Session, row: AnyRow, by: str, event: str) -> None:
    """Write down who did what to a schedule."""
    name = row.description or row.declared or row.spiders[0]["name"]
    activity.happened_to(session, row.project_id, by, event, periodic=str(row.id), name=name)


def change(session: Session, row: AnyRow, plan: Plan, by: str, *, deploy: bool = False) -> None:
    """Write another plan into a schedule that is held; what waits for its turn is skipped when it is paused.

    The next time is counted from now when cron, zone, jitter or the pause changed; else it stays.

    Args:
        deploy: the project's yml says so, and the spiders are those of its version.

    Raises:
        BadParameter: the project has no such spider.

    """
    old = plans.of_row(row)
    if not deploy:
        check_spiders(session, row.project_id, plan, known=old)
    values = _columns(session, plan)
    when = ("cron", "timezone", "jitter_seconds", "enabled")
    if any(getattr(old, name) != getattr(plan, name) for name in when):
        values |= _times(session, plan)
    if plan.enabled != old.enabled:
        values["paused_by"] = None if plan.enabled or deploy else by
    session.execute(update(PeriodicJob).where(col(PeriodicJob.id) == row.id).values(values))
    if plan.enabled != old.enabled:
        _note(session, row, by, activity.PERIODIC_RESUMED if plan.enabled else activity.PERIODIC_PAUSED)
    elif plan != old:
        _note(session, row, by, activity.PERIODIC_CHANGED)
    if not plan.enabled:
        _skip_waiting(session, row)


def _skip_waiting(session: Session, row: AnyRow) -> None:
    """Waiting -> skipped. Nobody starts them meanwhile: their schedule is held."""
    waiting = (RUNS.c.periodic_id == row.id) & (RUNS.c.state == RunState.WAITING)
    skipped = {"state": RunState.SKIPPED, "reason": PAUSED, "time": now_ms()}
    times = session.scalars(select(RUNS.c.fire_time).where(waiting).order_by(RUNS.c.fire_time)).all()
    if times:
        session.execute(update(RUNS).where(waiting).values(skipped))
        tell(session, row, RunState.SKIPPED, *((time, PAUSED) for time in times))


def name_of(periodic_id: int) -> str:
    """Who has scheduled the jobs of a schedule."""
    return f"periodic job {periodic_id}"


def tell(session: Session, row: AnyRow, state: RunState, *fire_times: tuple[int, str | None]) -> None:
    """Say what became of fire times, and why, to whoever wants to know."""
    bodies = [
        {"periodic": row.id, "description": row.description, "fire_time": time, "reason": reason}
        for time, reason in fire_times
    ]
    event = {"event": f"periodic:{state}"}
    by = {"user": name_of(row.id)}
    activity.add(session, row.project_id, [orjson.dumps({**event, **body, **by}) for body in bodies])
    outbox.emit(session, row.project_id, event["event"], *bodies)


def _columns(session: Session, plan: Plan) -> dict[str, Any]:
    return {**plan.columns(), "tags": plan.tags or None, "updated_time": now_ms()}


def _times(session: Session, plan: Plan) -> dict[str, int | None]:
    """``next_time`` and ``due_time`` of a schedule that begins now."""
    if not plan.enabled:
        return {"next_time": None, "due_time": None}
    now = session.scalar(select(now_ms())) or 0
    return due(next(cron.upcoming(plan.cron, plan.timezone, now), None), plan.jitter_seconds)


def due(fire_time: int | None, jitter_seconds: int) -> dict[str, int | None]:
    """``next_time`` as it is, ``due_time`` later by chance."""
    late = secrets.randbelow(jitter_seconds * 1000 + 1)
    return {"next_time": fire_time, "due_time": None if fire_time is None else fire_time + late}


def check_spiders(session: Session, project_id: int, plan: Plan, known: Plan | None = None) -> None:
    """Refuse spiders that the project has not, but for those of ``known``.

    Raises:
        BadParameter: it has not.

    """
    before = {each["name"] for each in known.spiders} if known else set()
    names = {each["name"] for each in plan.spiders} - before
    for name in sorted(names - present(session, project_id, names)):
        raise BadParameter(f"invalid value for spiders: Spider not found: {name}")


def present(session: Session, project_id: int, names: set[str]) -> set[str]:
    """Which of these spiders the project has: deployed, or declared by hand."""
    there = or_(col(Spider.deployed), col(Spider.declared))
    mine = (col(Spider.project_id) == project_id) & col(Spider.name).in_(names)
    return set(session.scalars(select(col(Spider.name)).where(mine, there))) if names else set()


def missing(session: Session, project_id: int, rows: Sequence[AnyRow]) -> dict[int, list[str]]:
    """Names of spiders that schedules of a project want and it has not, by the schedule's id."""
    names = {each["name"] for row in rows for each in row.spiders}
    gone = names - present(session, project_id, names)
    wanted = {row.id: [each["name"] for each in row.spiders if each["name"] in gone] for row in rows}
    return {row_id: list(dict.fromkeys(found)) for row_id, found in wanted.items() if found}


def problem(row: AnyRow, gone: Sequence[str]) -> str | None:
    """What is wrong with a schedule, in words; what it will meet wins over what it has met."""
    return "; ".join(f"Spider not found: {name}" for name in gone) or row.problem


def hold(session: Session, project_id: int, periodic_id: int) -> AnyRow:
    """A schedule as it is, and as it stays until commit.

    Raises:
        NotFound: the project has no such schedule.

    """
    mine = (TABLE.c.project_id == project_id) & (TABLE.c.id == periodic_id)
    row = session.execute(select(TABLE).where(mine).with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise unknown(project_id, periodic_id)
    return row


def unknown(project_id: int, periodic_id: int) -> NotFound:
    """The error for a schedule that is not there."""
    return NotFound(f"project {project_id} has no periodic job {periodic_id}")


def get(session: Session, project_id: int, periodic_id: int) -> AnyRow:
    """A schedule.

    Raises:
        NotFound: the project has no such schedule.

    """
    mine = (TABLE.c.project_id == project_id) & (TABLE.c.id == periodic_id)
    row = session.execute(select(TABLE).where(mine)).one_or_none()
    if row is None:
        raise unknown(project_id, periodic_id)
    return row


def pause(session: Session, project_id: int, periodic_id: int, by: str, *, paused: bool = True) -> None:
    """Pause a schedule, or let it go on.

    Raises:
        NotFound: the project has no such schedule.

    """
    row = hold(session, project_id, periodic_id)
    old = plans.of_row(row)
    change(session, row, plans.parse({"enabled": not paused}, old, merge=True), by)


def remove(session: Session, project_id: int, periodic_id: int, by: str) -> None:
    """Delete a schedule with its history; its jobs stay.

    Raises:
        NotFound: the project has no such schedule.

    """
    mine = (TABLE.c.project_id == project_id) & (TABLE.c.id == periodic_id)
    row = session.execute(delete(TABLE).where(mine).returning(*TABLE.c)).one_or_none()
    if row is None:
        raise unknown(project_id, periodic_id)
    _note(session, row, by, activity.PERIODIC_DELETED)


def _wanted(project_id: int, search: str) -> Any:
    mine = TABLE.c.project_id == project_id
    if not search:
        return mine
    shown = (TABLE.c.description, TABLE.c.declared, TABLE.c.cron, cast(TABLE.c.spiders, Text))
    return mine & or_(*(column.icontains(search, autoescape=True) for column in shown))


def count(session: Session, project_id: int, search: str = "") -> int:
    """How many schedules a project has, at most ``MOST`` by rule."""
    return session.scalar(select(func.count()).select_from(TABLE).where(_wanted(project_id, search))) or 0


def listing(
    session: Session, project_id: int, search: str = "", *, after: int = 0, offset: int = 0, limit: int = 100
) -> Sequence[AnyRow]:
    """Schedules of a project by id, those after one.

    Args:
        search: in what the description, the name, the expression or the spiders have, whatever the case.

    """
    found = select(TABLE).where(_wanted(project_id, search), TABLE.c.id > after).order_by(TABLE.c.id)
    return session.execute(found.offset(offset).limit(limit)).all()


def next_times(row: AnyRow, now: int) -> Iterator[int]:
    """When a schedule fires next, ms; for one that is paused, when it would."""
    after = now if row.next_time is None else row.next_time - 1
    return cron.upcoming(row.cron, row.timezone, after)


def runs(session: Session, periodic_id: int, before: int | None = None, limit: int = 50) -> Sequence[AnyRow]:
    """What became of fire times, the last one first, those before one."""
    mine = RUNS.c.periodic_id == periodic_id
    if before is not None:
        mine &= RUNS.c.fire_time < before
    return session.execute(select(RUNS).where(mine).order_by(RUNS.c.fire_time.desc()).limit(limit)).all()


def last_runs(session: Session, ids: Sequence[int], limit: int) -> dict[int, list[AnyRow]]:
    """The last runs of each of some schedules, the last one first."""
    if not ids:
        return {}
    # One after the other by the primary key, in one statement: a window would read all their history.
    each = [
        select(RUNS)
        .where(RUNS.c.periodic_id == one)
        .order_by(RUNS.c.fire_time.desc())
        .limit(limit)
        .subquery()
        for one in ids
    ]
    found: dict[int, list[AnyRow]] = {}
    for row in session.execute(union_all(*(select(some) for some in each))):
        found.setdefault(row.periodic_id, []).append(row)
    return {one: sorted(rows, key=lambda row: -row.fire_time) for one, rows in found.items()}


def jobs_of(session: Session, runs: Iterable[AnyRow]) -> dict[str, AnyRow]:
    """The jobs of runs by key, where they exist: ``state``, ``close_reason``, ``stop_time``."""
    numbers: dict[tuple[int, int], list[int]] = {}
    for key in (JobKey.parse(text) for run in runs for text in run.jobs or ()):
        numbers.setdefault((key.project, key.spider), []).append(key.job)
    found: dict[str, AnyRow] = {}
    columns: list[Any] = [Job.number, Job.state, Job.close_reason, Job.stop_time]
    for (project, spider), wanted in numbers.items():
        mine = select(col(Spider.id)).where(col(Spider.project_id) == project, col(Spider.number) == spider)
        of_spider = (col(Job.spider_id) == mine.scalar_subquery()) & col(Job.number).in_(wanted)
        for job in session.execute(select(*columns).where(of_spider)):
            found[str(JobKey(project, spider, job.number))] = job
    return found
