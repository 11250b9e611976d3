"""Firing: schedules whose time has come have their jobs scheduled. Any number of schedulers may do it.

One transaction for each schedule. It moves ``next_time`` on from the value it has seen, inserts the run and
schedules the jobs: a process that dies has done all of it or nothing, and nobody else does it again.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from typing import Any

from sqlalchemy import delete, func, null, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, insert_into, now_ms, reading, transaction
from app.errors import AlreadyScheduled, DatabaseBusy, NotFound
from app.keys import JobKey
from app.models import Job, JobState, Missed, Overlap, PeriodicJob, PeriodicRun, RunState, Spider
from app.services import cron, jobs, periodic
from app.services.periodic import RUNS, TABLE

log = logging.getLogger(__name__)

MOST_FIRED = 100  # schedules of one sweep
MOST_MISSED = 100  # fire times of a schedule that are written down one by one, the last ones
MOST_WAITING = 100  # runs of a schedule that wait for those before
TOLERANCE_MS = 60_000  # a fire time that is later than this, and its jitter, was missed
PUT_OFF_MS = 10_000  # a schedule that the platform failed to fire is tried again then, before it is too late
KEPT = 1000  # runs of a schedule
RECENT = 10  # runs whose jobs may be in the way of the next one
NOBODY = "no scheduler was alive at its time"
BROKEN = "the platform failed to run it"


def fire_due() -> None:
    """Fire what is due, and start what has waited; some at a time, every few seconds.

    Raises:
        OperationalError, DatabaseBusy: the database is away, or somebody was in the way; the next sweep
            goes on where this one ended.

    """
    with reading() as session:
        due = select(TABLE.c.id).where(TABLE.c.enabled, TABLE.c.due_time <= now_ms())
        ids = session.scalars(due.order_by(TABLE.c.due_time).limit(MOST_FIRED)).all()
        waiting = select(RUNS.c.periodic_id).where(RUNS.c.state == RunState.WAITING).distinct().subquery()
        # By chance: of more than one sweep can look at, each has its turn.
        some = select(waiting).order_by(func.random()).limit(MOST_FIRED)
        behind = [one for one in session.scalars(some) if _in_the_way(session, one) is None]
    for periodic_id in ids:
        _alone(fire, periodic_id)
    for periodic_id in behind:
        _alone(start_waiting, periodic_id)


def _alone(what: Callable[[Session, int], None], periodic_id: int) -> None:
    """In a transaction of its own; a schedule that fails is put off, so that it is in nobody's way."""
    try:
        with transaction() as session:
            what(session, periodic_id)
    except (OperationalError, DatabaseBusy):
        raise
    except Exception as error:
        log.exception("periodic job %s", periodic_id)
        with transaction() as session:
            _put_off(session, periodic_id, f"{BROKEN}: {type(error).__name__}")


def _put_off(session: Session, periodic_id: int, words: str) -> None:
    """Try a schedule again soon. Once its fire time is too old for that, the run has failed, told once.

    Cron and zone may be what fails, so nothing is asked of them here: ``next_time`` stays, and the times
    after it are told of when the schedule can be fired again.
    """
    row = _hold(session, periodic_id, TABLE.c.enabled, TABLE.c.due_time <= now_ms())
    if row is None:
        return
    later = {"due_time": now_ms() + PUT_OFF_MS, "problem": words}
    session.execute(update(TABLE).where(TABLE.c.id == row.id).values(later))
    if row.next_time <= _too_old(row) and _insert(session, row, row.next_time, RunState.FAILED, reason=words):
        periodic.tell(session, row, RunState.FAILED, (row.next_time, words))


def _hold(session: Session, periodic_id: int, *conditions: Any) -> AnyRow | None:
    """A schedule that nobody else is just firing or changing, until commit."""
    found = select(TABLE, now_ms().label("now")).where(TABLE.c.id == periodic_id, *conditions)
    return session.execute(found.with_for_update(key_share=True, skip_locked=True)).one_or_none()


def fire(session: Session, periodic_id: int) -> None:
    """Run the fire time that is due; or those that are too old, as the schedule says.

    1. The row is locked; who comes second finds that it is not due any more, or passes it over.
    2. The UPDATE names the time it leaves. The times until the next one are ours alone.
    3. A run that is there already (clocks go back) is not run again: its primary key says so.
       Only one that the platform has failed to start makes room for the late one.
    """
    row = _hold(session, periodic_id, TABLE.c.enabled, TABLE.c.due_time <= now_ms())
    if row is None:
        return
    missed = _missed(row)
    last = missed[-1] if missed else row.next_time
    following = next(cron.upcoming(row.cron, row.timezone, last), None)
    moved = update(TABLE).where(TABLE.c.id == row.id, TABLE.c.enabled, TABLE.c.next_time == row.next_time)
    if execute(session, moved.values(periodic.due(following, row.jitter_seconds))).rowcount != 1:
        return
    _forget_old(session, row)
    if not missed:
        _run(session, row, row.next_time)
        return
    late = missed.pop() if row.missed == Missed.RUN_ONCE else None
    _miss(session, row, missed)
    if late is not None:
        failed = (RUNS.c.state == RunState.FAILED) & RUNS.c.jobs.is_(null())
        session.execute(delete(RUNS).where(RUNS.c.periodic_id == row.id, RUNS.c.fire_time == late, failed))
        _run(session, row, late, f"late: {_why(row, late)[1]}")


def _too_old(row: AnyRow) -> int:
    """The last fire time that is not run any more, unless late."""
    too_old: int = row.now - row.jitter_seconds * 1000 - TOLERANCE_MS
    return too_old


def _why(row: AnyRow, fire_time: int) -> tuple[RunState, str]:
    """What became of a fire time that is too old. Only what was put off is due after its jitter."""
    put_off = row.due_time > row.next_time + row.jitter_seconds * 1000
    if put_off and fire_time <= row.due_time:
        return RunState.FAILED, row.problem or BROKEN
    return RunState.MISSED, NOBODY


def _missed(row: AnyRow) -> list[int]:
    """Fire times that came too long ago, the oldest first: the first one of all, and the last ones."""
    until = _too_old(row)
    if row.next_time > until:
        return []
    since = takewhile(lambda time: time > row.next_time, cron.past(row.cron, row.timezone, until))
    return [row.next_time, *reversed(list(islice(since, MOST_MISSED - 1)))]


def _miss(session: Session, row: AnyRow, missed: Sequence[int]) -> None:
    """Write down and tell what became of fire times that are not run."""
    told: dict[RunState, list[tuple[int, str | None]]] = {RunState.FAILED: [], RunState.MISSED: []}
    for place, fire_time in enumerate(missed):
        state, reason = _why(row, fire_time)
        if place == 1 and len(missed) >= MOST_MISSED - 1:
            first = cron.shown(missed[0], row.timezone)
            reason += f"; of all times since {first}, only the last ones are listed"
        if _insert(session, row, fire_time, state, reason=reason):
            told[state].append((fire_time, reason))
    for state, fire_times in told.items():
        periodic.tell(session, row, state, *fire_times)
    if missed:
        _say(session, row, f"{_why(row, missed[-1])[1]}: {cron.shown(missed[-1], row.timezone)}")


def _run(session: Session, row: AnyRow, fire_time: int, note: str | None = None) -> None:
    """Start the run of a fire time, unless those before are in its way."""
    in_the_way = _in_the_way(session, row.id)
    state, reason = RunState.STARTED, note
    if row.overlap == Overlap.QUEUE:
        waiting = _waiting(session, row.id)
        if waiting >= MOST_WAITING:
            state, reason = RunState.SKIPPED, f"{waiting} runs wait already"
        elif in_the_way or waiting:
            state = RunState.WAITING
    elif in_the_way:
        state, reason = RunState.SKIPPED, f"job {in_the_way} of a run before has not ended"
    if not _insert(session, row, fire_time, state, reason=reason):
        return
    if state == RunState.STARTED:
        _start(session, row, fire_time, note)
    elif state == RunState.SKIPPED:
        periodic.tell(session, row, state, (fire_time, reason))


def start_waiting(session: Session, periodic_id: int) -> None:
    """Waiting -> started: the run that has waited for the longest, once all before it have ended."""
    row = _hold(session, periodic_id)
    if row is None or _in_the_way(session, periodic_id) is not None:
        return
    mine = (RUNS.c.periodic_id == periodic_id) & (RUNS.c.state == RunState.WAITING)
    run = session.execute(select(RUNS).where(mine).order_by(RUNS.c.fire_time).limit(1)).one_or_none()
    if run is None:
        return
    this = mine & (RUNS.c.fire_time == run.fire_time)
    if execute(session, update(RUNS).where(this).values(state=RunState.STARTED)).rowcount == 1:
        _start(session, row, run.fire_time, run.reason)


def run_now(session: Session, project_id: int, periodic_id: int, by: str) -> AnyRow:
    """Run the jobs of a schedule now, be it paused or not, and whatever runs; returns the run.

    Raises:
        NotFound: the project has no such schedule.

    """
    row = periodic.hold(session, project_id, periodic_id)
    now = session.scalar(select(now_ms())) or 0
    # Fire times are whole minutes: such a moment is left to them, so that none finds its place taken.
    fire_time = now if now % 1000 else now + 1
    while not _insert(session, row, fire_time, RunState.STARTED, by=by):
        fire_time += 1
    _forget_old(session, row)
    _start(session, row, fire_time, by_hand=True)
    this = (RUNS.c.periodic_id == row.id) & (RUNS.c.fire_time == fire_time)
    return session.execute(select(RUNS).where(this)).one()


def _insert(session: Session, row: AnyRow, fire_time: int, state: RunState, **columns: Any) -> bool:
    """Insert a run; False: there is one of that time."""
    new = insert_into(session, RUNS).values(
        periodic_id=row.id, fire_time=fire_time, state=state, time=now_ms(), **columns
    )
    made = new.on_conflict_do_nothing().returning(RUNS.c.fire_time)
    return session.execute(made).scalar_one_or_none() is not None


def _start(
    session: Session, row: AnyRow, fire_time: int, note: str | None = None, *, by_hand: bool = False
) -> None:
    """Schedule the jobs of a run that was just made ``started``, as many of them as can be.

    Args:
        by_hand: whoever pressed "run now" is told what was refused; it is not a problem of the schedule.

    """
    keys, refused = _schedule(session, row)
    state = RunState.STARTED if keys else RunState.FAILED
    reason = "; ".join([*([note] if note else []), *refused]) or None
    this = (RUNS.c.periodic_id == row.id) & (RUNS.c.fire_time == fire_time)
    values = {"state": state, "jobs": [str(key) for key in keys], "reason": reason, "time": now_ms()}
    session.execute(update(RUNS).where(this).values(values))
    if not (by_hand and refused):
        _say(session, row, "; ".join(refused) or None)
    periodic.tell(session, row, state, (fire_time, reason))


def _schedule(session: Session, row: AnyRow) -> tuple[list[JobKey], list[str]]:
    """The keys of the jobs, and why others could not be scheduled."""
    names = {each["name"] for each in row.spiders}
    if len(names) > 1:  # locked in one order, so that no two schedules wait crosswise
        mine = (col(Spider.project_id) == row.project_id) & col(Spider.name).in_(names)
        session.execute(
            select(col(Spider.id)).where(mine).order_by(col(Spider.id)).with_for_update(key_share=True)
        )
    keys: list[JobKey] = []
    refused: list[str] = []
    for each in row.spiders:
        new = jobs.NewJob(
            spider=each["name"],
            args=each.get("args", {}),
            tags=[*(row.tags or ()), *each.get("tags", ())],
            priority=each.get("priority", row.priority),
            job_settings=row.job_settings or {},
            job_cmd=[each["name"]] if each["name"].startswith("py:") else None,
        )
        try:
            keys.append(jobs.schedule(session, row.project_id, new, periodic.name_of(row.id)))
        except (NotFound, AlreadyScheduled) as error:  # raised before anything was changed that counts
            refused.append(str(error))
    return keys, refused


def _in_the_way(session: Session, periodic_id: int) -> str | None:
    """A job of the last runs that is pending or running."""
    started = (RUNS.c.periodic_id == periodic_id) & (RUNS.c.state == RunState.STARTED)
    last = select(RUNS.c.jobs).where(started).order_by(RUNS.c.fire_time.desc()).limit(RECENT)
    keys = [JobKey.parse(key) for found in session.scalars(last) for key in found or ()]
    live = col(Job.state).in_((JobState.PENDING, JobState.RUNNING))
    job: AnyRow | None = session.execute(
        select(col(Job.project_id), col(Spider.number), col(Job.number).label("job"))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.id).in_(jobs.ids_of(session, keys)), live)
        .limit(1)
    ).one_or_none()
    return None if job is None else str(JobKey(*job))


def _waiting(session: Session, periodic_id: int) -> int:
    mine = (RUNS.c.periodic_id == periodic_id) & (RUNS.c.state == RunState.WAITING)
    return session.scalar(select(func.count()).select_from(RUNS).where(mine)) or 0


def _say(session: Session, row: AnyRow, problem: str | None) -> None:
    """Show at the schedule why a run did not start as it should, or that the last one did."""
    other = col(PeriodicJob.problem).is_distinct_from(problem)
    session.execute(update(PeriodicJob).where(col(PeriodicJob.id) == row.id, other).values(problem=problem))


def _forget_old(session: Session, row: AnyRow) -> None:
    """Keep the last runs. At each firing, so that nobody has to look for schedules with too many."""
    mine = col(PeriodicRun.periodic_id) == row.id
    oldest = select(RUNS.c.fire_time).where(RUNS.c.periodic_id == row.id).order_by(RUNS.c.fire_time.desc())
    old = col(PeriodicRun.fire_time) < oldest.offset(KEPT - 1).limit(1).scalar_subquery()
    session.execute(delete(PeriodicRun).where(mine, old, col(PeriodicRun.state) != RunState.WAITING))
