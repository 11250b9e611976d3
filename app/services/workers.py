"""Which processes of the platform are alive, and how many slots are free."""

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import execute, now_ms
from app.models import Job, JobState, Spider, Worker

ALIVE_MS = 15_000  # a process not seen for so long is gone
FORGET_MS = 3_600_000

WORKER, SCHEDULER = "worker", "scheduler"


def seen(session: Session, name: str, kind: str, slots: int) -> None:
    """Note that the process is alive, now."""
    values = {"kind": kind, "slots": slots, "seen_time": now_ms()}
    if execute(session, update(Worker).where(col(Worker.name) == name).values(values)).rowcount == 0:
        session.execute(insert(Worker).values(name=name, **values))


def gone(session: Session, name: str) -> None:
    """The process has ended in an orderly way."""
    session.execute(delete(Worker).where(col(Worker.name) == name))


def _alive(kind: str) -> ColumnElement[bool]:
    return (col(Worker.kind) == kind) & (col(Worker.seen_time) > now_ms() - ALIVE_MS)


def alive(session: Session, kind: str) -> int:
    """How many processes of the kind are alive."""
    return session.scalar(select(func.count()).select_from(Worker).where(_alive(kind))) or 0


def free_slots(session: Session) -> int:
    """Slots of living workers that run nothing."""
    slots = session.scalar(select(func.coalesce(func.sum(col(Worker.slots)), 0)).where(_alive(WORKER))) or 0
    # Jobs that an outside worker runs have no lease and take no slot of ours.
    busy = session.scalar(
        select(func.count())
        .select_from(Job)
        .where(col(Job.state) == JobState.RUNNING, col(Job.lease_time).is_not(None))
    )
    return max(int(slots) - (busy or 0), 0)


def wanted(session: Session, most: int) -> list[int]:
    """Priorities of the jobs that the free slots would claim next, at most ``most``."""
    free = min(free_slots(session), most)
    if free == 0:
        return []
    statement = (
        select(col(Job.priority))
        .join(Spider, col(Spider.id) == col(Job.spider_id))
        .where(col(Job.state) == JobState.PENDING, col(Spider.deployed))
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(free)
    )
    return list(session.scalars(statement))


def forget_dead(session: Session) -> None:
    """Drop the rows of processes that have been gone for long."""
    session.execute(delete(Worker).where(col(Worker.seen_time) < now_ms() - FORGET_MS))
