"""Which processes of the platform are alive, what they run, who drains, and how many slots are free."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import execute, now_ms
from app.errors import NotFound
from app.keys import JobKey
from app.models import Job, JobState, Spider, Worker

ALIVE_MS = 15_000  # a process not seen for so long is gone
FORGET_MS = 3_600_000

WORKER, SCHEDULER = "worker", "scheduler"


def seen(session: Session, name: str, kind: str, slots: int) -> bool:
    """Note that the process is alive, now; True: it is to take no new job."""
    values = {"kind": kind, "slots": slots, "seen_time": now_ms(), "version": version("crawldock")}
    mine = update(Worker).where(col(Worker.name) == name).values(values).returning(col(Worker.drain_time))
    row = execute(session, mine).one_or_none()
    if row is None:
        session.execute(insert(Worker).values(name=name, started_time=now_ms(), **values))
    return row is not None and row.drain_time is not None


def gone(session: Session, name: str) -> None:
    """The process has ended in an orderly way, or a former one of that name has."""
    session.execute(delete(Worker).where(col(Worker.name) == name))


def _alive(kind: str) -> ColumnElement[bool]:
    return (col(Worker.kind) == kind) & (col(Worker.seen_time) > now_ms() - ALIVE_MS)


def alive(session: Session, kind: str) -> int:
    """How many processes of the kind are alive."""
    return session.scalar(select(func.count()).select_from(Worker).where(_alive(kind))) or 0


def all_drain(session: Session) -> bool:
    """Are there workers, and none of them takes a job?"""
    open_ = func.count().filter(col(Worker.drain_time).is_(None))
    row = session.execute(select(func.count(), open_).select_from(Worker).where(_alive(WORKER))).one()
    return row[0] > 0 and row[1] == 0


def drain(session: Session, name: str, on: bool) -> None:
    """Let a worker finish what it runs and take no new job, until this is undone or it is started again.

    Raises:
        NotFound: there is no worker of that name.

    """
    mine = (col(Worker.name) == name) & (col(Worker.kind) == WORKER)
    # A worker that drains already keeps the time at which it began.
    since = func.coalesce(col(Worker.drain_time), now_ms()) if on else None
    if "\0" in name or execute(session, update(Worker).where(mine).values(drain_time=since)).rowcount == 0:
        raise NotFound(f"there is no worker named {name[:255]!r}")


def takes_jobs(name: str) -> ColumnElement[bool]:
    """A condition of a claim: the worker does not drain. One look at the primary key, for all rows."""
    return ~exists().where(col(Worker.name) == name, col(Worker.drain_time).is_not(None))


def free_slots(session: Session) -> int:
    """Slots of living workers that run nothing and may take a job."""
    open_ = _alive(WORKER) & col(Worker.drain_time).is_(None)
    slots = session.scalar(select(func.coalesce(func.sum(col(Worker.slots)), 0)).where(open_)) or 0
    # Asked for once, and not for each job: who claims a job counts all that run.
    draining = select(col(Worker.name)).where(col(Worker.drain_time).is_not(None))
    # Jobs that an outside worker runs have no lease and take no slot of ours.
    busy = session.scalar(
        select(func.count())
        .select_from(Job)
        .where(
            col(Job.state) == JobState.RUNNING,
            col(Job.lease_time).is_not(None),
            col(Job.worker).not_in(draining),
        )
    )
    return max(int(slots) - (busy or 0), 0)


def wanted(session: Session, most: int) -> list[int]:
    """Priorities of the jobs that the free slots would claim next, at most ``most``."""
    return next_up(session, min(free_slots(session), most))


def next_up(session: Session, most: int) -> list[int]:
    """Priorities of the jobs that would be claimed next, at most ``most``."""
    if most == 0:
        return []
    statement = (
        select(col(Job.priority))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.PENDING, col(Spider.deployed))
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(most)
    )
    return list(session.scalars(statement))


def forget_dead(session: Session) -> None:
    """Drop the rows of processes that have been gone for long."""
    session.execute(delete(Worker).where(col(Worker.seen_time) < now_ms() - FORGET_MS))


@dataclass(frozen=True)
class Process:
    """A process of the platform, as it was last heard of."""

    name: str
    kind: str
    slots: int
    age: int  # ms since it was heard of
    alive: bool
    started_time: int | None  # ms
    version: str | None
    drain_time: int | None  # ms
    running: Sequence[JobKey]  # the oldest first

    @property
    def machine(self) -> str:
        """The machine's name."""
        return self.name.rpartition("@")[2]


def listing(session: Session) -> list[Process]:
    """All processes that have been heard of within FORGET_MS, by kind, machine and name."""
    age = (now_ms() - col(Worker.seen_time)).label("age")
    columns: list[Any] = [
        Worker.name, Worker.kind, Worker.slots, age, Worker.started_time, Worker.version, Worker.drain_time,
    ]  # fmt: skip
    found = session.execute(select(*columns)).all()
    running = _running(session)
    processes = [
        Process(
            row.name, row.kind, row.slots, max(row.age, 0), row.age < ALIVE_MS, row.started_time, row.version,
            row.drain_time, running.get(row.name, ()),
        )
        for row in found
    ]  # fmt: skip
    return sorted(processes, key=lambda each: (each.kind != WORKER, each.machine, each.name))


def _running(session: Session) -> dict[str, list[JobKey]]:
    """The jobs that run under a lease, by the name of their worker; as many as there are slots."""
    columns: list[Any] = [Job.worker, Job.project_id, col(Spider.number).label("spider"), Job.number]
    rows = session.execute(
        select(*columns)
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.RUNNING, col(Job.lease_time).is_not(None))
        .order_by(col(Job.running_time), col(Job.id))
    )
    found: dict[str, list[JobKey]] = {}
    for row in rows:
        found.setdefault(row.worker or "", []).append(JobKey(row.project_id, row.spider, row.number))
    return found
