"""The state machine of jobs: every arrow, who may take it, and what it leaves alone."""

import orjson
import pytest

from app import db
from app.errors import AlreadyScheduled, NotFound
from app.keys import JobKey
from app.models import JobState
from app.services import activity, joblist, jobs
from app.services.jobs import NewJob
from tests.factories import (
    change,
    claim,
    finish,
    finished_job,
    make_job,
    make_project,
    make_version,
    row,
    running_job,
)

pytestmark = pytest.mark.usefixtures("database", "sent")


def stop(*keys: JobKey) -> int:
    with db.transaction() as session:
        return jobs.request_stop(session, keys, "somebody")


def beat(job_id: int, token: str) -> jobs.Beat:
    with db.transaction() as session:
        return jobs.heartbeat(session, job_id, token)


def reap() -> list[int]:
    with db.transaction() as session:
        return jobs.reap(session)


def delete(*keys: JobKey) -> int:
    with db.transaction() as session:
        return jobs.delete(session, keys, "somebody")


def test_numbers_count_up_per_spider() -> None:
    make_project(2, ["a", "b"])
    made = [make_job("a", 2), make_job("b", 2), make_job("a", 2), make_job("quotes", 1)]
    assert [str(key) for key in made] == ["2/1/1", "2/2/1", "2/1/2", "1/1/1"]


def test_a_new_job_says_when_and_by_whom(sent: list[tuple[str, int]]) -> None:
    version = make_version("7")
    job = row(make_job(priority=3))
    assert (job.state, job.scheduled_by, job.version, version) == ("pending", "admin", "7", 1)
    assert job.pending_time == pytest.approx(job.state_time, abs=50)
    assert job.running_time is job.finished_time is job.close_reason is job.token is None
    assert sent[1:] == [("run_job", 1)]  # after the deploy's message; 4 - 3


def test_an_unknown_spider_is_not_scheduled() -> None:
    with pytest.raises(NotFound, match="Spider not found: other"):
        make_job("other")


def test_a_spider_that_the_current_version_lost_is_not_scheduled() -> None:
    make_version("1", ["quotes", "books"])
    make_version("2", ["books"])
    with pytest.raises(NotFound):
        make_job("quotes")


def test_a_message_is_sent_only_for_what_was_committed(sent: list[tuple[str, int]]) -> None:
    make_job(args={})
    with pytest.raises(AlreadyScheduled):
        make_job(args={})
    assert len(sent) == 1


def test_a_finished_job_announces_nothing(sent: list[tuple[str, int]]) -> None:
    finished_job()
    assert sent == []


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING])
def test_the_same_job_twice_is_refused(state: JobState) -> None:
    make_job(args={"a": "1", "b": "2"}, state=state)
    with pytest.raises(AlreadyScheduled, match="Spider 'quotes' already scheduled"):
        make_job(args={"b": "2", "a": "1"}, tags=["other"], priority=4, units=2)


@pytest.mark.parametrize(
    "other",
    [{"args": {}}, {"args": {"a": "2"}}, {"args": {"b": "1"}}, {"spider": "books"}, {"job_cmd": ["x"]}],
    ids=str,
)
def test_another_argument_spider_or_command_is_another_job(other: dict[str, object]) -> None:
    make_version("1", ["quotes", "books"])
    make_job(args={"a": "1"})
    assert make_job(**{"args": {"a": "1"}, **other})


def test_the_same_job_of_another_project_is_another_job() -> None:
    make_project(2)
    assert make_job(args={}) != make_job(project=2, args={})


def test_a_job_that_has_ended_blocks_nothing() -> None:
    finished_job(args={})
    first = make_job(args={})
    stop(first)
    again = make_job(args={})
    delete(again)
    assert make_job(args={}).job > again.job


def test_tags_keep_their_order_and_are_not_doubled() -> None:
    key = make_job(tags=["z", "a", "z", "m"])
    with db.reading() as session:
        assert joblist.tags_of(session, [row(key).id or 0]) == {row(key).id: ["z", "a", "m"]}


def test_claim_takes_the_highest_priority_then_the_oldest() -> None:
    make_project(2)
    given = [2, 0, 4, 1, 3, 2, 4, 0, 3, 1]
    made = [make_job(project=1 + n % 2, priority=priority) for n, priority in enumerate(given)]
    order = sorted(range(len(given)), key=lambda n: (-given[n], n))
    assert [claim().key for _ in made] == [made[n] for n in order]  # type: ignore[union-attr]
    assert claim() is None


def test_claim_tells_all_that_the_run_needs() -> None:
    version = make_version("5")
    key = make_job(
        args={"a": "é"}, tags=["y", "x"], priority=1, units=3, job_settings={"S": [1]}, environment={"E": "v"},
        job_cmd=["py:x.py", "1"],
    )  # fmt: skip
    job = claim("machine", "task-1")
    assert job is not None
    assert (job.key, job.version_id, job.spider, job.args) == (key, version, "quotes", {"a": "é"})
    assert (job.tags, job.priority, job.units, job.job_settings) == (["y", "x"], 1, 3, {"S": [1]})
    assert (job.environment, job.job_cmd) == ({"E": "v"}, ["py:x.py", "1"])
    stored = row(key)
    assert (stored.state, stored.worker, stored.task_id, stored.started_by, stored.token) == (
        "running", "machine", "task-1", "jobrunner", job.token,
    )  # fmt: skip


def test_claim_passes_over_a_spider_that_no_version_has() -> None:
    make_version("1", ["quotes", "books"])
    make_job("books", priority=4)
    other = make_job("quotes", priority=0)
    make_version("2", ["quotes"])
    assert claim().key == other  # type: ignore[union-attr]
    assert claim() is None
    make_version("3", ["books"])
    assert claim().spider == "books"  # type: ignore[union-attr]


def test_a_claimed_job_runs_the_version_of_that_moment() -> None:
    make_version("old")
    key = make_job()
    assert row(key).version == "old"
    make_version("new")
    claim()
    assert row(key).version == "new"


def test_each_claim_has_a_token_of_its_own() -> None:
    assert len({running_job().token for _ in range(3)}) == 3


def test_a_heartbeat_extends_the_lease_and_sees_the_stop() -> None:
    job = running_job()
    change(job.key, lease_time=5)
    assert beat(job.id, job.token) == jobs.Beat(mine=True, stop=False)
    assert row(job.key).lease_time > 5  # type: ignore[operator]
    stop(job.key)
    assert beat(job.id, job.token) == jobs.Beat(mine=True, stop=True)


def test_a_stranger_learns_and_changes_nothing() -> None:
    job = running_job()
    stop(job.key)
    before = row(job.key)
    assert beat(job.id, "0" * 32) == jobs.Beat(mine=False, stop=False)
    with db.transaction() as session:
        assert not jobs.finish(session, job.id, "0" * 32, "finished")
        assert not jobs.finish(session, job.id, "", "finished")
    assert row(job.key) == before


def test_a_token_is_worth_nothing_after_the_end() -> None:
    job = running_job()
    assert finish(job)
    assert not finish(job, "other")
    assert not beat(job.id, job.token).mine
    assert (row(job.key).close_reason, row(job.key).token, row(job.key).lease_time) == (
        "finished",
        None,
        None,
    )


@pytest.mark.parametrize(
    ("said", "stopped", "recorded"),
    [
        ("finished", False, "finished"),
        ("shutdown", True, "cancelled"),
        ("finished", True, "cancelled"),
        ("cancel_timeout", True, "cancel_timeout"),
        ("x" * 300, False, "x" * 255),
    ],
)
def test_the_outcome(said: str, stopped: bool, recorded: str) -> None:
    job = running_job()
    if stopped:
        stop(job.key)
    assert finish(job, said)
    assert row(job.key).close_reason == recorded


def test_a_stopped_pending_job_never_ran() -> None:
    key = make_job()
    assert stop(key) == 1
    job = row(key)
    assert (job.state, job.close_reason, job.cancelled_by) == ("finished", "cancelled", "somebody")
    assert job.running_time is None
    assert claim() is None


def test_stopping_running_jobs_revokes_their_tasks_in_one_message(revoked: list[list[str]]) -> None:
    made = [make_job(), make_job(), make_job(priority=0)]
    for n in range(2):
        claim(task_id=f"task-{n}")
    assert stop(*made) == 3
    assert [sorted(ids) for ids in revoked] == [["task-0", "task-1"]]


def test_stopping_again_keeps_the_first_moment() -> None:
    job = running_job()
    stop(job.key)
    change(job.key, stop_time=5)
    assert stop(job.key) == 1
    assert (row(job.key).state, row(job.key).stop_time) == ("running", 5)


def test_stop_leaves_ended_and_unknown_jobs_alone() -> None:
    key = finished_job()
    before = row(key)
    assert stop(key, JobKey(1, 1, 99), JobKey(9, 9, 9)) == 0
    assert row(key) == before


def test_reap_finishes_what_lost_its_owner() -> None:
    lost, kept = running_job(), running_job()
    change(lost.key, lease_time=5)
    assert reap() == [lost.id]
    assert (row(lost.key).state, row(lost.key).close_reason) == ("finished", "worker lost")
    assert row(kept.key).state == "running"
    assert not beat(lost.id, lost.token).mine


def test_a_lost_job_that_was_stopped_is_cancelled() -> None:
    job = running_job()
    stop(job.key)
    change(job.key, lease_time=5)
    reap()
    assert row(job.key).close_reason == "cancelled"


def test_a_job_of_an_outside_worker_is_not_reaped() -> None:
    make_job(state=JobState.RUNNING)
    assert reap() == []


def test_delete_takes_pending_and_finished_jobs_alone() -> None:
    job = running_job()
    pending, ended = make_job(), finished_job()
    assert delete(pending, ended, job.key, JobKey(1, 1, 99), ended) == 2
    assert [row(key).state for key in (pending, ended, job.key)] == ["deleted", "deleted", "running"]
    assert row(ended).deleted_by == "somebody"
    assert delete(pending) == 0
    assert claim() is None


def test_a_failure_later_in_the_transaction_takes_all_back() -> None:
    key = make_job(args={})

    def work() -> None:
        with db.transaction() as session:
            jobs.schedule(session, 1, NewJob("quotes", {"other": "1"}), "admin")
            jobs.schedule(session, 1, NewJob("quotes"), "admin")

    with pytest.raises(AlreadyScheduled):
        work()
    assert make_job().job == key.job + 1


def test_a_job_that_nobody_of_ours_runs_is_marked_and_goes_on() -> None:
    key = make_job(state=JobState.RUNNING)
    assert stop(key) == stop(key) == 1
    job = row(key)
    assert (job.state, job.cancelled_by, job.close_reason) == ("running", "somebody", None)
    assert job.stop_time and job.token


def kill(*keys: JobKey) -> int:
    with db.transaction() as session:
        return jobs.kill(session, keys, "somebody")


def test_a_job_that_was_asked_to_stop_can_be_killed() -> None:
    job = running_job()
    assert stop(job.key) == 1 and not beat(job.id, job.token).kill
    assert kill(job.key) == 1 and beat(job.id, job.token) == jobs.Beat(mine=True, stop=True, kill=True)
    first = row(job.key).kill_time
    assert kill(job.key) == 1 and row(job.key).kill_time == first


def test_no_other_job_can_be_killed() -> None:
    keys = [running_job().key, finished_job(), make_job()]
    assert kill(*keys) == 0 and [row(key).kill_time for key in keys] == [None] * 3
    outside = make_job(state=JobState.RUNNING)
    assert (stop(outside), end_stopped(), kill(outside), len(end_stopped())) == (1, [], 1, 1)


def end_stopped() -> list[int]:
    with db.transaction() as session:
        return jobs.end_stopped(session)


def test_an_outside_job_that_does_not_stop_in_time_is_ended() -> None:
    late, soon, unasked = (make_job(state=JobState.RUNNING) for _ in range(3))
    ours = running_job()
    stop(late, soon, ours.key)
    for key in (late, ours.key):
        change(key, stop_time=5)
    assert end_stopped() == [row(late).id]
    ended = row(late)
    assert (ended.state, ended.close_reason, ended.completed_by) == (
        "finished",
        "cancel_timeout",
        "reconciler",
    )
    assert (ended.token, ended.cancelled_by) == (None, "somebody")
    assert {row(key).state for key in (soon, unasked, ours.key)} == {"running"}


def test_a_refused_duplicate_uses_up_a_number_when_that_is_committed() -> None:
    first = make_job(args={})
    with db.transaction() as session, pytest.raises(AlreadyScheduled):
        jobs.schedule(session, 1, NewJob("quotes"), "admin")
    assert make_job().job == first.job + 2


def happened() -> list[tuple[str, str, str]]:
    """The activity log of project 1 as (event, job, user), the oldest first."""
    events = [orjson.loads(each.event) for each in activity.newest([1])][::-1]
    assert all(list(each) == ["event", "job", "user"] for each in events)
    return [tuple(each.values()) for each in events]


def test_the_events_of_a_run() -> None:
    job = running_job()
    key = str(job.key)
    beat(job.id, job.token)
    stop(job.key)
    stop(job.key)
    finish(job)
    finish(job)
    stop(job.key)
    delete(job.key)
    delete(job.key)
    assert happened() == [
        ("job:scheduled", key, "admin"), ("job:started", key, "jobrunner"), ("job:cancelled", key, "somebody"),
        ("job:completed", key, "jobrunner"), ("job:deleted", key, "somebody"),
    ]  # fmt: skip


def test_the_events_of_jobs_that_do_not_run() -> None:
    pending, ended, lost = str(make_job()), str(finished_job()), running_job()
    running = str(make_job(state=JobState.RUNNING))
    stop(JobKey.parse(pending))
    change(lost.key, lease_time=5)
    reap()
    assert happened() == [
        ("job:scheduled", pending, "admin"), ("job:completed", ended, "admin"), ("job:scheduled", str(lost.key), "admin"),
        ("job:started", str(lost.key), "jobrunner"), ("job:started", running, "admin"),
        ("job:cancelled", pending, "somebody"), ("job:completed", str(lost.key), "reconciler"),
    ]  # fmt: skip


def test_what_was_refused_or_taken_back_has_no_event() -> None:
    make_job(args={})
    with pytest.raises(AlreadyScheduled):
        make_job(args={})
    assert [event for event, _, _ in happened()] == ["job:scheduled"]
