"""Repair: lost owners, lost messages, retention, removal and merging of records."""

import orjson
import pytest
from sqlalchemy import select

from app import db
from app.models import Chunk, JobState
from app.services import activity, reconciler, workers
from tests.factories import (
    change,
    claim,
    finish,
    finished_job,
    job_with_items,
    make_job,
    make_version,
    pending_version,
    row,
    running_job,
)

pytestmark = pytest.mark.usefixtures("database", "sent")


def slots(number: int) -> None:
    with db.transaction() as session:
        workers.seen(session, "w", workers.WORKER, number)


def chunks_of(job_id: int) -> int:
    with db.reading() as session:
        return session.query(Chunk).filter_by(job_id=job_id).count()


def test_a_lost_job_is_finished_and_its_slot_given_away(sent: list[tuple[str, int]]) -> None:
    slots(1)
    job = running_job()
    make_job(priority=1)
    sent.clear()
    reconciler.sweep()
    assert (row(job.key).state, sent) == ("running", [])
    change(job.key, lease_time=5)
    reconciler.sweep()
    assert (row(job.key).close_reason, sent) == ("worker lost", [("run_job", 3)])


def test_an_outside_job_that_was_asked_to_stop_long_ago_is_ended() -> None:
    late, soon = make_job(state=JobState.RUNNING), make_job(state=JobState.RUNNING)
    with db.transaction() as session:
        now = session.scalar(select(db.now_ms())) or 0
    for key, minutes in ((late, 5.1), (soon, 4.9)):
        change(key, stop_time=now - int(minutes * 60_000))
    reconciler.sweep(reap=False)
    assert (row(late).close_reason, row(late).token, row(soon).state) == ("cancel_timeout", None, "running")


def test_waiting_jobs_are_announced_as_far_as_slots_are_free(sent: list[tuple[str, int]]) -> None:
    for priority in (0, 4, 2):
        make_job(priority=priority)
    sent.clear()
    reconciler.sweep()
    assert sent == []  # no worker lives
    slots(2)
    reconciler.sweep()
    assert sent == [("run_job", 0), ("run_job", 2)]


def test_jobs_of_a_spider_without_a_version_are_not_announced(sent: list[tuple[str, int]]) -> None:
    slots(2)
    make_job()
    make_version("1", ["other"])
    sent.clear()
    reconciler.sweep()
    assert sent == []


def test_builds_are_announced_again_and_dead_ones_fail(sent: list[tuple[str, int]]) -> None:
    from app.models import Version

    waiting, dead = pending_version("1"), pending_version("2")
    with db.transaction() as session:
        session.query(Version).filter_by(id=waiting).update({"created_time": 5})
        session.query(Version).filter_by(id=dead).update({"state": "building", "lease_time": 5})
    sent.clear()
    reconciler.sweep()
    assert sent == [("build_version", 0)]
    with db.reading() as session:
        assert session.get_one(Version, dead).state == "failed"


def test_retention_deletes_what_finished_long_ago() -> None:
    old, new, running, pending = finished_job(), finished_job(), running_job().key, make_job()
    day = reconciler.DAY_MS
    for key in (old, running, pending):
        change(key, state_time=row(key).state_time - 3 * day)
    change(new, state_time=row(new).state_time - day)
    reconciler.tidy(0)
    assert row(old).state == "finished"
    assert reconciler.tidy(2) is False
    assert [row(key).state for key in (old, new, running, pending)] == [
        "deleted",
        "finished",
        "running",
        "pending",
    ]
    assert row(old).deleted_by == "retention"
    event = orjson.loads(next(activity.newest([1])).event)
    assert event == {"event": "job:deleted", "job": str(old), "user": "retention"}
    assert row(old).deleted_time > 3 * day  # type: ignore[operator]


def test_tidying_says_when_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 2)
    monkeypatch.setattr(reconciler, "PARTS", 1)
    made = [finished_job() for _ in range(3)]
    for key in made:
        change(key, state_time=5, compacted=True)
    assert reconciler.tidy(1) is True
    assert reconciler.tidy(1) is False
    assert [row(key).state for key in made] == ["deleted"] * 3


def test_tidying_goes_on_while_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 2)
    old, young = [[finished_job() for _ in range(5)] for _ in range(2)]
    for key in old:
        change(key, state_time=5)
    assert reconciler.tidy(1) is False
    assert [row(key).state for key in old] == ["deleted"] * 5
    assert all(row(key).compacted for key in young)


def test_records_of_a_deleted_job_go_a_while_later() -> None:
    job, kept = job_with_items([1]), job_with_items([2])
    finish(job)
    change(job.key, state="deleted", deleted_time=row(job.key).state_time)
    reconciler.tidy(0)
    assert chunks_of(job.id) == 1
    change(job.key, deleted_time=row(job.key).state_time - reconciler.PURGE_AFTER_MS - 1)
    reconciler.tidy(0)
    assert (chunks_of(job.id), chunks_of(kept.id), row(job.key).purged) == (0, 1, True)


def test_small_chunks_of_finished_jobs_are_merged_once() -> None:
    job, running = job_with_items(range(9)), job_with_items(range(9))
    finish(job)
    reconciler.tidy(0)
    assert (chunks_of(job.id), chunks_of(running.id)) == (1, 3)
    assert (row(job.key).compacted, row(running.key).compacted) == (True, False)


def test_a_sweep_beside_claims_harms_nothing() -> None:
    slots(2)
    job = running_job()
    for _ in range(3):
        reconciler.sweep()
    assert finish(job)
    assert claim() is None
