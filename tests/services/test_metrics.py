"""What a monitor is told: jobs by state and outcome, waits, schedules that did not run, webhook calls."""

from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlmodel import col

from app import db
from app.db import now_ms
from app.models import Delivery, PeriodicJob, PeriodicRun
from app.services import firing, metrics, workers
from tests.factories import change, finish, finished_job, make_job, running_job
from tests.services.test_webhooks import make_webhook

pytestmark = pytest.mark.usefixtures("database", "sent")


def ask(what: Any) -> Any:
    with db.reading() as session:
        return what(session)


def make_schedule(late_ms: int, **columns: Any) -> int:
    row = {
        "project_id": 1, "cron": "* * * * *", "spiders": [], "enabled": True, "description": "", "timezone": "UTC",
        "jitter_seconds": 0, "overlap": "skip", "missed": "skip", "priority": 2, "created_by": "a",
        "next_time": now_ms() - late_ms, "due_time": now_ms() - late_ms, "created_time": now_ms(), "updated_time": now_ms(), **columns,
    }  # fmt: skip
    with db.transaction() as session:
        made = insert(PeriodicJob).values(**row).returning(col(PeriodicJob.id))
        return session.scalars(made).one() or 0


def test_the_queue_by_priority_and_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    running_job()
    for priority in (0, 3, 3):
        make_job(priority=priority)
    assert ask(metrics.queue) == {0: 1, 1: 0, 2: 0, 3: 2, 4: 0}
    assert ask(metrics.running) == 1
    monkeypatch.setattr(metrics, "MOST", 1)
    assert ask(metrics.queue)[3] == 1


def test_outcomes_within_an_hour_and_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    for reason, hours in (
        ("finished", 0),
        ("finished", 2),
        ("failed", 0),
        ("failed", 30),
        ("own", 2),
        ("two", 3),
    ):
        key = finished_job()
        change(key, close_reason=reason, state_time=now_ms() - hours * metrics.HOUR_MS - 1000)
    assert ask(metrics.finished)[0] == ("finished", 1, 2)
    assert sorted(ask(metrics.finished)) == [
        ("failed", 1, 1), ("finished", 1, 2), ("own", 0, 1), ("two", 0, 1),
    ]  # fmt: skip
    monkeypatch.setattr(metrics, "OUTCOMES", 1)
    assert ask(metrics.finished)[1:] == [("other", 1, 3)]


def test_waits_are_those_of_jobs_that_started_lately() -> None:
    for seconds in (3, 1, 2):
        job = running_job()
        change(job.key, pending_time=now_ms() - 60_000, running_time=now_ms() - 60_000 + seconds * 1000)
        if seconds == 1:
            finish(job)
    old = running_job()
    change(old.key, pending_time=5, running_time=6)
    assert [round(each, -2) for each in ask(metrics.start_latencies)] == [1000, 2000, 3000]


def test_a_silent_process_is_told_with_its_age() -> None:
    with db.transaction() as session:
        workers.seen(session, "w", workers.WORKER, 4)
    (row,) = ask(metrics.processes)
    assert (row.name, row.kind, row.slots) == ("w", "worker", 4)
    assert 0 <= row.silent < 60_000


def test_schedules_that_did_not_run() -> None:
    late = make_schedule(300_000)
    make_schedule(300_000, enabled=False)
    make_schedule(10_000)
    make_schedule(0, next_time=None, due_time=None)
    make_schedule(300_000, jitter_seconds=600)
    assert [(row.id, row.project_id, row.late >= 300_000) for row in ask(metrics.overdue)] == [
        (late, 1, True)
    ]


def test_a_schedule_that_fails_for_ever_is_overdue_however_often_it_is_put_off() -> None:
    bad = make_schedule(300_000, spiders=[{"name": "quotes"}], timezone="Nowhere/AtAll")
    firing.fire_due()
    (found,) = ask(metrics.overdue)
    assert found.id == bad and found.late >= 300_000
    assert ask(metrics.runs_gone_wrong) == {"missed": 0, "failed": 1}


def test_fire_times_that_went_wrong() -> None:
    schedule = make_schedule(0)
    runs = [("missed", 0), ("failed", 0), ("failed", 1000), ("failed", 2 * metrics.DAY_MS), ("started", 0)]
    with db.transaction() as session:
        for n, (state, age) in enumerate(runs):
            row = {"periodic_id": schedule, "fire_time": n, "state": state, "time": now_ms() - age}
            session.execute(insert(PeriodicRun).values(**row))
    assert ask(metrics.runs_gone_wrong) == {"missed": 1, "failed": 2}


def test_webhook_calls_that_wait_and_that_were_given_up() -> None:
    make_webhook("job:scheduled")
    for _ in range(4):
        make_job()
    with db.transaction() as session:
        ids = session.scalars(select(col(Delivery.id)).order_by(col(Delivery.id))).all()
        for each, tried in ((ids[0], now_ms()), (ids[1], 5)):
            given_up = update(Delivery).where(col(Delivery.id) == each)
            session.execute(given_up.values(state="failed", tried_time=tried))
    assert ask(metrics.waiting_deliveries) == 2
    assert ask(metrics.failed_deliveries) == 1
