"""Which processes are alive, and how many slots are free."""

from importlib.metadata import version

import pytest
from sqlalchemy import update
from sqlmodel import col

from app import db
from app.errors import NotFound
from app.models import JobState, Worker
from app.services import workers
from tests.factories import claim, make_job, running_job

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


def drain(name: str = "w1", on: bool = True) -> None:
    with db.transaction() as session:
        workers.drain(session, name, on)


def processes() -> dict[str, workers.Process]:
    with db.reading() as session:
        return {process.name: process for process in workers.listing(session)}


def test_a_worker_that_drains_claims_nothing_until_this_is_undone() -> None:
    seen("w1")
    key = make_job()
    drain("w1")
    assert claim("w1") is None
    drain("w1", False)
    assert [job.key for job in (claim("w1"),) if job] == [key]


def test_other_workers_claim_what_a_draining_one_does_not() -> None:
    seen("w1")
    seen("w2")
    make_job()
    drain("w1")
    assert (claim("w1"), claim("w2") is not None) == (None, True)


def test_a_draining_worker_has_no_free_slot_and_its_jobs_take_none_of_others() -> None:
    seen("w1", slots=3)
    seen("w2", slots=2)
    for _ in range(3):
        make_job()
        assert claim("w1") is not None
    drain("w1")
    assert alive() == (2, 0, 2)
    make_job(priority=3)
    make_job(priority=1)
    with db.reading() as session:
        assert workers.wanted(session, 10) == [3, 1]
    drain("w2")
    with db.reading() as session:
        assert workers.wanted(session, 10) == []


def test_a_worker_learns_that_it_drains_and_keeps_the_time_at_which_it_began() -> None:
    def beat() -> bool:
        with db.transaction() as session:
            return workers.seen(session, "w1", workers.WORKER, 2)

    assert (beat(), beat()) == (False, False)
    drain()
    since = processes()["w1"].drain_time
    drain()
    assert (beat(), processes()["w1"].drain_time) == (True, since)
    drain(on=False)
    assert (beat(), processes()["w1"].drain_time) == (False, None)


def test_a_worker_that_is_started_again_takes_jobs() -> None:
    seen()
    drain()
    with db.transaction() as session:
        workers.gone(session, "w1")
    seen()
    assert processes()["w1"].drain_time is None


@pytest.mark.parametrize("name", ["nobody", "s", "", "w\0", "x" * 1000])
def test_what_is_no_worker_cannot_drain(name: str) -> None:
    seen("s", workers.SCHEDULER, slots=0)
    with pytest.raises(NotFound, match="no worker named"):
        drain(name)


def test_the_list_says_what_each_process_runs_and_when_it_was_heard_of() -> None:
    seen("s@a", workers.SCHEDULER, slots=0)
    seen("w2@b", ago=workers.ALIVE_MS + 1000)
    seen("w1@b")
    make_job(state=JobState.RUNNING)  # an outside worker's
    keys = []
    for _ in range(2):
        keys.append(make_job(priority=4))
        assert claim("w1@b") is not None
    found = processes()
    assert list(found) == ["w1@b", "w2@b", "s@a"]
    assert [found["w1@b"].running, found["w2@b"].running] == [keys, ()]
    assert [(each.alive, each.machine) for each in found.values()] == [(True, "b"), (False, "b"), (True, "a")]
    assert found["w2@b"].age > workers.ALIVE_MS
    assert found["w1@b"].version == version("crawldock")
    assert found["w1@b"].started_time is not None
