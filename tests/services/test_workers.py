"""Which processes are alive, and how many slots are free."""

import pytest
from sqlalchemy import update
from sqlmodel import col

from app import db
from app.models import JobState, Worker
from app.services import workers
from tests.factories import make_job, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")


def seen(name: str = "w1", kind: str = workers.WORKER, slots: int = 2, ago: int = 0) -> None:
    with db.transaction() as session:
        workers.seen(session, name, kind, slots)
        session.execute(
            update(Worker).where(col(Worker.name) == name).values(seen_time=Worker.seen_time - ago)
        )


def alive() -> tuple[int, int, int]:
    """Workers, schedulers, free slots."""
    with db.reading() as session:
        living = [workers.alive(session, kind) for kind in (workers.WORKER, workers.SCHEDULER)]
        return living[0], living[1], workers.free_slots(session)


def test_nobody() -> None:
    assert alive() == (0, 0, 0)


def test_a_process_is_alive_until_it_has_not_been_seen_for_long() -> None:
    seen("w1", slots=2)
    seen("w2", slots=3)
    seen("s", workers.SCHEDULER, slots=1)
    assert alive() == (2, 1, 5)
    seen("w2", ago=workers.ALIVE_MS + 1)
    assert alive() == (1, 1, 2)
    seen("w2", slots=1)
    assert alive() == (2, 1, 3)


def test_who_says_goodbye_is_gone() -> None:
    seen("w1")
    with db.transaction() as session:
        workers.gone(session, "w1")
    assert alive() == (0, 0, 0)


def test_slots_are_taken_by_jobs_that_our_workers_run() -> None:
    seen(slots=2)
    make_job()
    make_job(state=JobState.RUNNING)  # an outside worker's
    assert alive()[2] == 2
    running_job()
    assert alive()[2] == 1
    for _ in range(3):
        running_job()
    assert alive()[2] == 0


def test_the_long_dead_are_forgotten() -> None:
    seen("old", ago=workers.FORGET_MS + 1)
    seen("late", ago=workers.ALIVE_MS + 1)
    with db.transaction() as session:
        workers.forget_dead(session)
    with db.reading() as session:
        assert [worker.name for worker in session.query(Worker)] == ["late"]
