"""Firing: one run and its jobs for each fire time, whoever fires; overlap, missed times, what cannot start."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from app import db
from app.errors import NotFound
from app.models import Activity, Delivery, Job, RunState
from app.services import cron, firing, jobs, periodic, projects, reconciler, webhooks
from tests.factories import (
    at_once,
    change_periodic,
    claim,
    finish,
    make_job,
    make_periodic,
    make_version,
    row,
    runs_of,
    states,
)

pytestmark = pytest.mark.usefixtures("database", "sent")
HOUR = 3_600_000


def now() -> int:
    with db.reading() as session:
        return session.scalar(select(db.now_ms())) or 0


def last_minute() -> int:
    """A fire time that was due a moment ago, and not too long."""
    return now() // 1000 * 1000 - 1000


def due(schedule: int, time: int | None = None) -> int:
    """Make a schedule due; returns the fire time."""
    time = last_minute() if time is None else time
    change_periodic(schedule, next_time=time, due_time=time)
    return time


def fired(schedule: int, time: int | None = None) -> list[tuple[str, list[str] | None]]:
    due(schedule, time)
    firing.fire_due()
    return outcomes(schedule)


def outcomes(schedule: int) -> list[tuple[str, list[str] | None]]:
    return [(run.state, run.jobs) for run in runs_of(schedule)]


def problem(schedule: int) -> str | None:
    with db.reading() as session:
        return periodic.get(session, 1, schedule).problem


def told() -> list[dict[str, Any]]:
    with db.reading() as session:
        events = session.scalars(select(Activity.event).order_by(Activity.id)).all()
    return [found for each in events if "fire_time" in (found := orjson.loads(each))]


def test_a_due_schedule_runs_its_spiders_with_all_they_were_given(sent: list[tuple[str, int]]) -> None:
    with db.transaction() as session:
        projects.set_deployed(session, 1, ["quotes", "books"])
    spiders = [{"name": "quotes", "args": {"n": "1"}, "priority": 4, "addtags": ["a"]}, {"name": "books"}]
    schedule = make_periodic(spiders=spiders, addtags=["all"], priority=1, job_settings={"A": 1})
    time = due(schedule)
    reconciler.sweep()
    (run,) = runs_of(schedule)
    assert (run.fire_time, run.state, run.reason, run.by) == (time, "started", None, None)
    first, second = (row(key) for key in map(jobs.JobKey.parse, run.jobs or []))
    assert (first.spider_args, first.priority, first.job_settings) == ({"n": "1"}, 4, {"A": 1})
    assert (second.spider_args, second.priority, second.scheduled_by) == (None, 1, f"periodic job {schedule}")
    assert sorted(sent) == [("run_job", 0), ("run_job", 3)]
    assert told() == [{
        "event": "periodic:started", "periodic": schedule, "description": "", "fire_time": time, "reason": None,
        "user": f"periodic job {schedule}",
    }]  # fmt: skip


def test_the_next_time_follows_on_the_one_that_was_fired() -> None:
    schedule = make_periodic(cron="* * * * *", jitter=3600)
    time = now() // 60_000 * 60_000 - 60_000
    fired(schedule, time)
    with db.reading() as session:
        after = periodic.get(session, 1, schedule)
    assert after.next_time == time + 60_000
    assert 0 <= after.due_time - after.next_time <= HOUR


def test_what_is_not_due_or_paused_is_left_alone() -> None:
    early, paused = make_periodic(), make_periodic()
    with db.transaction() as session:
        periodic.pause(session, 1, paused, "alice")
    change_periodic(early, due_time=now() + 60_000)
    for schedule in (early, paused):
        with db.transaction() as session:
            firing.fire(session, schedule)
    firing.fire_due()
    assert (runs_of(early), runs_of(paused), states()) == ([], [], {})


def test_many_schedulers_fire_a_time_once() -> None:
    schedules = [make_periodic(spiders=[{"name": "quotes", "args": {"n": n}}]) for n in range(10)]
    for schedule in schedules:
        due(schedule)
    results = at_once(6, lambda _: firing.fire_due())
    assert results == [None] * 6
    firing.fire_due()  # what one was just holding, others have passed over
    assert [len(runs_of(schedule)) for schedule in schedules] == [1] * 10
    assert list(states().values()) == ["pending"] * 10


def test_a_death_before_the_commit_leaves_nothing_and_the_next_one_fires() -> None:
    schedule = make_periodic()
    due(schedule)

    def die() -> None:
        with db.transaction() as session:
            firing.fire(session, schedule)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert (runs_of(schedule), states(), told()) == ([], {}, [])
    firing.fire_due()
    assert outcomes(schedule) == [("started", ["1/1/1"])]


def test_a_time_that_has_run_does_not_run_again_when_clocks_go_back() -> None:
    schedule = make_periodic(overlap="queue")
    time = last_minute()
    fired(schedule, time)
    assert fired(schedule, time) == [("started", ["1/1/1"])]
    assert len(states()) == 1


def test_a_spider_that_is_gone_is_told_of_and_the_others_run() -> None:
    with db.transaction() as session:
        projects.set_deployed(session, 1, ["quotes", "books"])
    schedule = make_periodic(spiders=["quotes", "books"])
    with db.transaction() as session:
        projects.set_deployed(session, 1, ["books"])
    assert fired(schedule) == [("started", ["1/2/1"])]
    assert problem(schedule) == runs_of(schedule)[0].reason == "Spider not found: quotes"


def test_a_run_without_any_job_has_failed() -> None:
    schedule = make_periodic()
    with db.transaction() as session:
        projects.set_deployed(session, 1, [])
    assert fired(schedule) == [("failed", [])]
    assert problem(schedule) == "Spider not found: quotes"
    assert (told()[0]["event"], told()[0]["reason"]) == ("periodic:failed", "Spider not found: quotes")
    with db.transaction() as session:
        projects.set_deployed(session, 1, ["quotes"])
    assert fired(schedule, last_minute() + 1)[-1][0] == "started"
    assert problem(schedule) is None


def test_the_duplicate_rule_refuses_a_job_and_ends_no_transaction() -> None:
    make_job(args={})
    schedule = make_periodic(spiders=["quotes", {"name": "quotes", "args": {"n": 1}}])
    assert fired(schedule) == [("started", ["1/1/3"])]
    assert problem(schedule) == "Spider 'quotes' already scheduled"


def test_overlap_skip() -> None:
    schedule = make_periodic(spiders=[{"name": "quotes", "args": {"n": 1}}])
    make_version()
    fired(schedule, last_minute() - 2000)
    job = claim()
    assert fired(schedule)[1:] == [("skipped", None)]
    assert runs_of(schedule)[1].reason == told()[-1]["reason"] == "job 1/1/1 of a run before has not ended"
    assert job and finish(job)
    assert fired(schedule, last_minute() + 1)[2:] == [("started", ["1/1/2"])]


def test_overlap_queue_runs_all_one_after_the_other() -> None:
    make_version()
    schedule = make_periodic(overlap="queue")
    times = [last_minute() - n * 2000 for n in (3, 2, 1)]
    for time in times:
        fired(schedule, time)
    assert [state for state, _ in outcomes(schedule)] == ["started", "waiting", "waiting"]
    for _ in times:
        job = claim()
        assert job and claim() is None and finish(job)
        firing.fire_due()
    assert outcomes(schedule) == [("started", [f"1/1/{n}"]) for n in (1, 2, 3)]
    assert [each["event"] for each in told()] == ["periodic:started"] * 3


def test_many_schedulers_start_what_waited_once() -> None:
    make_version()
    schedule = make_periodic(overlap="queue")
    fired(schedule, last_minute() - 2000), fired(schedule)
    job = claim()
    assert job and finish(job)
    assert at_once(6, lambda _: firing.fire_due()) == [None] * 6
    assert outcomes(schedule) == [("started", ["1/1/1"]), ("started", ["1/1/2"])]


def test_not_too_many_runs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "MOST_WAITING", 1)
    schedule = make_periodic(overlap="queue")
    for n in (3, 2, 1):
        fired(schedule, last_minute() - n * 2000)
    assert [state for state, _ in outcomes(schedule)] == ["started", "waiting", "skipped"]
    assert runs_of(schedule)[2].reason == "1 runs wait already"


def missed(policy: str, hours: int) -> int:
    """An hourly schedule that nobody has fired for so many hours."""
    schedule = make_periodic(cron="0 * * * *", missed=policy)
    due(schedule, now() // HOUR * HOUR - (hours - 1) * HOUR - HOUR)
    change_periodic(schedule, cron="0 * * * *")
    firing.fire_due()
    return schedule


def test_missed_times_are_skipped_and_each_says_so() -> None:
    schedule = missed("skip", 3)
    runs = [run for run in runs_of(schedule) if run.state == RunState.MISSED]
    assert len(runs) >= 3 and {run.reason for run in runs} == {"no scheduler was alive at its time"}
    assert all(later.fire_time - run.fire_time == HOUR for run, later in pairwise(runs))
    at = cron.shown(runs[-1].fire_time, "UTC")
    assert problem(schedule) == f"no scheduler was alive at its time: {at}"
    assert {each["event"] for each in told()} == {"periodic:missed"}
    assert [each["fire_time"] for each in told()] == [run.fire_time for run in runs]


def test_webhooks_are_told_of_every_fire_time_that_did_not_run() -> None:
    with db.transaction() as session:
        webhooks.create(session, 1, "http://receiver.example/", ["periodic:missed"], "admin")
    runs = [run for run in runs_of(missed("skip", 3)) if run.state == RunState.MISSED]
    with db.reading() as session:
        bodies = session.scalars(select(Delivery.body).order_by(Delivery.id)).all()
    assert [body["fire_time"] for body in bodies] == [run.fire_time for run in runs]
    assert {body["reason"] for body in bodies} == {"no scheduler was alive at its time"}


def test_the_last_missed_time_is_run_late() -> None:
    schedule = missed("run_once", 3)
    assert [state for state, _ in outcomes(schedule)][:3] == ["missed", "missed", "missed"]
    last = next(run for run in runs_of(schedule) if run.state == RunState.STARTED)
    assert last.reason == "late: no scheduler was alive at its time"
    assert (problem(schedule), len(states())) == (None, 1)


def test_after_a_year_only_the_last_times_are_listed() -> None:
    schedule = make_periodic(cron="* * * * *")
    first = now() // 60_000 * 60_000 - 365 * 24 * HOUR
    due(schedule, first)
    firing.fire_due()
    runs = runs_of(schedule)
    assert runs[0].fire_time == first and "only the last ones are listed" in (runs[1].reason or "")
    assert {run.state for run in runs} == {"missed"} and len(runs) == firing.MOST_MISSED
    assert now() - runs[-1].fire_time < 3 * 60_000
    with db.reading() as session:
        assert periodic.get(session, 1, schedule).next_time == runs[-1].fire_time + 60_000


def test_a_time_within_its_jitter_was_not_missed() -> None:
    schedule = make_periodic(jitter=600)
    time = last_minute() - 500_000
    assert fired(schedule, time) == [("started", ["1/1/1"])]


def test_run_now_runs_whatever_else_and_paused_too() -> None:
    schedule = make_periodic(spiders=[{"name": "quotes", "args": {"n": 1}}])
    with db.transaction() as session:
        periodic.pause(session, 1, schedule, "alice")
    before = now()
    with db.transaction() as session:
        run = firing.run_now(session, 1, schedule, "alice")
        again = firing.run_now(session, 1, schedule, "bob")
    assert (run.state, run.jobs, run.by) == ("started", ["1/1/1"], "alice")
    assert (again.state, again.reason) == ("failed", "Spider 'quotes' already scheduled")
    assert before <= run.fire_time < again.fire_time and run.fire_time % 1000
    with db.reading() as session:  # who pressed twice was told; nothing is wrong with the schedule
        assert periodic.get(session, 1, schedule).problem is None
    with pytest.raises(NotFound), db.transaction() as session:
        firing.run_now(session, 1, 99, "alice")


def test_a_database_that_is_away_is_no_schedules_fault() -> None:
    schedule = make_periodic()
    due(schedule)

    def away(*_: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("away"))

    event.listen(db.engine(), "before_cursor_execute", away)
    with pytest.raises(OperationalError):
        firing.fire_due()
    event.remove(db.engine(), "before_cursor_execute", away)
    firing.fire_due()
    assert (outcomes(schedule), problem(schedule)) == ([("started", ["1/1/1"])], None)


def test_only_the_last_runs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "KEPT", 3)
    schedule, other = make_periodic(), make_periodic()
    fired(other)
    for n in range(6, 0, -1):
        fired(schedule, last_minute() - n * 1500)
    times = [run.fire_time for run in runs_of(schedule)]
    assert len(times) in (3, 4) and len(runs_of(other)) == 1


def test_what_is_due_is_found_by_its_index() -> None:
    statement = select(periodic.TABLE.c.id).where(
        periodic.TABLE.c.enabled, periodic.TABLE.c.due_time <= db.now_ms()
    )
    with db.reading() as session:
        if session.get_bind().dialect.name == "sqlite":
            plan = session.connection().exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement.compile(session.get_bind())}"
            )
            assert "ix_periodic_job_due" in str(plan.all())
        else:
            session.connection().exec_driver_sql("SET enable_seqscan = off")
            plan = session.connection().exec_driver_sql(f"EXPLAIN {statement.compile(session.get_bind())}")
            assert "ix_periodic_job_due" in str(plan.all())


def test_the_jobs_of_two_projects_share_nothing() -> None:
    schedule = make_periodic()
    fired(schedule)
    with db.reading() as session:
        assert session.scalars(select(Job.project_id)).all() == [1]
