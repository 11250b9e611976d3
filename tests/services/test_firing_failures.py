"""Firing that fails: schedules that the platform cannot fire are tried again, and say so."""

from typing import Any

import pytest

from app import db
from app.services import firing, periodic
from tests.factories import change_periodic, make_periodic, runs_of
from tests.services.test_firing import HOUR, due, last_minute, now, outcomes, problem, told

pytestmark = pytest.mark.usefixtures("database", "sent")


def broken(time: int, **fields: Any) -> int:
    """A schedule that cannot be fired, and whose time has come."""
    schedule = make_periodic(**fields)
    change_periodic(schedule, timezone="Nowhere/AtAll")
    due(schedule, time)
    return schedule


def wait_for(schedule: int) -> None:
    """Let the clock go on until it is tried again: for the database, its times are so much earlier."""
    with db.reading() as session:
        found = periodic.get(session, 1, schedule)
    wait = found.due_time - now()
    change_periodic(schedule, next_time=found.next_time - wait, due_time=found.due_time - wait)


def test_a_schedule_that_the_platform_fails_to_run_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = broken(last_minute() - 5000), make_periodic()
    due(good)
    firing.fire_due()
    assert (runs_of(bad), [state for state, _ in outcomes(good)]) == ([], ["started"])
    assert problem(bad) == "the platform failed to run it: ZoneInfoNotFoundError"
    assert caplog.text.count(f"periodic job {bad}") == 1
    firing.fire_due()  # it is put off
    assert caplog.text.count(f"periodic job {bad}") == 1


def test_one_failure_of_the_platform_costs_no_run() -> None:
    schedule = broken(last_minute())
    firing.fire_due()
    wait_for(schedule)
    change_periodic(schedule, timezone="UTC")
    firing.fire_due()
    assert outcomes(schedule) == [("started", ["1/1/1"])]
    assert (problem(schedule), [each["event"] for each in told()]) == (None, ["periodic:started"])


def test_a_schedule_that_the_platform_fails_to_run_for_long_says_so_once() -> None:
    time = last_minute() - 2 * firing.TOLERANCE_MS
    schedule = broken(time)
    for _ in range(3):
        firing.fire_due()
        change_periodic(schedule, due_time=now() - 1)
    words = "the platform failed to run it: ZoneInfoNotFoundError"
    assert [(run.fire_time, run.state, run.reason) for run in runs_of(schedule)] == [(time, "failed", words)]
    assert [(each["event"], each["reason"]) for each in told()] == [("periodic:failed", words)]


def test_times_that_passed_while_the_platform_failed_are_not_called_missed() -> None:
    time = now() // 60_000 * 60_000 - 5 * 60_000
    schedule = broken(time, cron="* * * * *")
    firing.fire_due()
    change_periodic(schedule, timezone="UTC")
    change_periodic(schedule, due_time=now() - 1)
    firing.fire_due()
    runs = runs_of(schedule)
    assert [run.fire_time - time for run in runs[:4]] == [0, 60_000, 120_000, 180_000]
    words = "the platform failed to run it: ZoneInfoNotFoundError"
    assert {(run.state, run.reason) for run in runs} == {("failed", words)}
    assert [each["fire_time"] for each in told()] == [run.fire_time for run in runs]


def test_what_passed_after_the_last_failure_without_a_scheduler_was_missed() -> None:
    time = now() // HOUR * HOUR - 3 * HOUR
    schedule = broken(time, cron="0 * * * *")
    firing.fire_due()
    change_periodic(schedule, timezone="UTC", due_time=time + firing.PUT_OFF_MS)
    firing.fire_due()
    assert [state for state, _ in outcomes(schedule)][:3] == ["failed", "missed", "missed"]


def test_a_run_that_the_platform_failed_to_start_is_run_late_after_all() -> None:
    time = last_minute() - 2 * firing.TOLERANCE_MS
    schedule = broken(time, missed="run_once", cron="@yearly")
    firing.fire_due()
    change_periodic(schedule, timezone="UTC")
    change_periodic(schedule, due_time=now() - 1)
    firing.fire_due()
    assert outcomes(schedule) == [("started", ["1/1/1"])]
    words = "the platform failed to run it: ZoneInfoNotFoundError"
    assert runs_of(schedule)[0].reason == f"late: {words}"
