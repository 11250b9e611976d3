"""No hot query of the platform itself reads a whole table: users, watchers, webhooks, schedules, builds, metrics."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import auth
from app.keys import JobKey
from app.models import JobState, Kind, PeriodicJob
from app.services import (
    apikeys,
    collections,
    deliveries,
    events,
    firing,
    frontier,
    joblist,
    jobs,
    logins,
    metrics,
    outbox,
    periodic,
    queue,
    records,
    versions,
    workers,
)
from app.services.deliveries import Due
from app.services.jobmeta import Fields
from app.services.queue import Change, Pushed
from tests.many import CHUNKS, FULL, JOBS, KEY, LOGIN, OTHERS, PROJECTS, RUNNING, TOKEN, WAITING
from tests.plans import check, rolled_back

OURS = JobKey(1, 5, 29)  # finished
RUNS = JobKey(6, 2, 30)  # row id RUNNING
ONE = collections.Address(2, "s", "c1")
SLOT = frontier.Address(1, "f1", "s1")


def schedule_of(session: Session) -> Any:
    """The schedule that has many runs."""
    row = firing._hold(session, 1)
    assert row is not None
    return row


def claim_deliveries(session: Session) -> None:
    assert len(deliveries.claim(session, 20, 4, {1: 4})) == 20


def fire(session: Session, periodic_id: int, since_ms: int) -> None:
    """A fire time that came so long ago."""
    minute = int(time.time() * 1000 - since_ms) // 60_000 * 60_000
    due = {"next_time": minute, "due_time": minute}
    session.execute(update(PeriodicJob).where(col(PeriodicJob.id) == periodic_id).values(due))
    firing.fire(session, periodic_id)
    assert periodic.runs(session, periodic_id, limit=1)[0].fire_time >= minute


def feed(session: Session) -> None:
    reader = events.Feed(1, 10)
    assert reader.read(session)


def counters(job_id: int | None) -> Callable[[Session], None]:
    def ask(session: Session) -> None:
        reader = events.Counters(6, job_id)
        assert reader.read(session)
        assert reader.read(session) == []

    return ask


def due(attempts: int = 1) -> Due:
    return Due(10, 2, "http://x", "s", {}, attempts)


def stored(session: Session) -> None:
    row = records.Batch(Kind.ITEMS, 300, 3, 0, 0, 0, {}, 0, b"")
    records.has(session, FULL, [row])


def purge_collection(session: Session) -> None:
    collections.drop(session, ONE.project_id, ONE.name)
    assert collections.purge_some(session, 300)


def purge_slot(session: Session) -> None:
    frontier.drop(session, SLOT)
    assert frontier.purge_some(session, 300)


IN_A_TRANSACTION: dict[str, Callable[[Session], Any]] = {
    "auth: key": lambda session: auth.authenticate(session, KEY),
    "auth: login": lambda session: auth.authenticate(session, None, LOGIN),
    "auth: job": lambda session: auth.authenticate_job(session, str(RUNS), TOKEN),
    "auth: member": lambda session: apikeys.may_touch(session, 1, False, 2),
    "auth: admin": lambda session: apikeys.may_touch(session, 2, True, 1),
    "auth: projects": lambda session: apikeys.projects_of(session, 1, False),
    "auth: sign out": lambda session: logins.end(session, LOGIN),
    "auth: sign out everywhere": lambda session: logins.end_all(session, 1, LOGIN),
    "auth: forget logins": logins.forget_expired,
    "watch: events": feed,
    "watch: counters": counters(None),
    "watch: counters of a job": counters(RUNNING),
    "watch: end": lambda session: events.ending(session, RUNNING),
    "outbox": lambda session: outbox.emit(session, 1, "job:started", {"job": "1/1/1"}),
    "deliveries: waiting": deliveries.waiting,
    "deliveries: claim": claim_deliveries,
    "deliveries: give up": lambda session: deliveries._give_up(session, 2, [10], "gone"),
    "deliveries: delivered": lambda session: deliveries.settle(session, due(), 200, ""),
    "deliveries: again": lambda session: deliveries.settle(session, due(), 500, ""),
    "deliveries: gone": lambda session: deliveries.settle(session, due(), 410, ""),
    "deliveries: purge": deliveries.purge_some,
    "schedules: in the way": lambda session: firing._in_the_way(session, 1),
    "schedules: waiting": lambda session: firing._waiting(session, 1),
    "schedules: start what waits": lambda session: firing.start_waiting(session, 1),
    "schedules: forget old runs": lambda session: firing._forget_old(session, schedule_of(session)),
    "schedules: fire": lambda session: fire(session, 2, 0),
    "schedules: fire one of many runs": lambda session: fire(session, 1, 0),
    "schedules: missed": lambda session: fire(session, 2, 86_400_000),
    "schedules: last runs": lambda session: periodic.last_runs(session, range(1, 100), 5),
    "schedules: skip what waits": lambda session: periodic._skip_waiting(session, schedule_of(session)),
    "schedules: remove": lambda session: periodic.remove(session, 3, 2, "u1"),
    "schedules: run now": lambda session: firing.run_now(session, 2, 1, "u1"),
    "builds: waiting": versions.waiting,
    "builds: reap": versions.reap_builds,
    "builds: claim": lambda session: versions.claim_build(session, OTHERS),
    "builds: log": lambda session: versions.log(session, OTHERS - 1, "x"),
    "builds: end": lambda session: versions.activate(session, OTHERS - 1, "x", ["s1"]),
    "builds: egg": lambda session: versions.egg_data(session, "lib77"),
    "builds: egg of a project": lambda session: versions.egg_data(session, "e77"),
    "builds: remove": lambda session: versions.remove(session, 2, "v0"),
    "builds: code": lambda session: versions.code(session, 77),
    "queue: push": lambda session: queue.push(
        session, 2, [Pushed("s1", Fields({}, {}, ["a"])), Pushed("s2", Fields({}, {}, None))], "u1"
    ),
    "queue: finish": lambda session: queue.change(
        session, [(RUNS, Change(JobState.FINISHED))], "u1", strict=True
    ),
    "queue: annotate": lambda session: queue.change(
        session, [(OURS, Change(None, {"a": 1}))], "u1", strict=False
    ),
    "queue: delete many": lambda session: queue.change_all(
        session, range(40, 200), Change(JobState.DELETED), "u1"
    ),
    "queue: cancel some": lambda session: queue.cancel_some(session, 1, JobState.PENDING, 100, "u1"),
    "queue: cancel running ones": lambda session: queue.cancel_some(session, 1, JobState.RUNNING, 100, "u1"),
    "queue: of a spider": lambda session: queue.of_spider(session, 2, 2),
    "kill": lambda session: jobs.kill(session, [RUNS], "u1"),
    "lists: last finished": lambda session: joblist.last_finished(session, 1, 1, 100),
    "lists: running units": lambda session: joblist.running_units(session, 1),
    "records: has": stored,
    "collection: add": lambda session: collections.put(session, ONE, [[(b"a", b"{}")]]),
    "collection: remove": lambda session: collections.remove(session, ONE, [b"00000007"]),
    "collection: rename": lambda session: collections.rename(session, 2, "c7", "new"),
    "collection: drop": lambda session: collections.drop(session, 2, "c1"),
    "collection: expire": lambda session: collections.purge_some(session, 300),
    "collection: purge": purge_collection,
    "frontier: add": lambda session: frontier.add(
        session, SLOT, [[frontier.Request(b"a", 1, b"[]", None)], [frontier.Request(b"b", 1, b"[]", None)]]
    ),
    "frontier: remove": lambda session: frontier.remove_batches(session, SLOT, [frontier.batch_id(7, 7)]),
    "frontier: find": lambda session: frontier.find(session, SLOT),
    "frontier: purge": purge_slot,
    "tidy: workers": workers.forget_dead,
}  # fmt: skip
METRICS: dict[str, Callable[[Session], Any]] = {
    "queue": metrics.queue,
    "running": metrics.running,
    "finished": metrics.finished,
    "latencies": metrics.start_latencies,
    "processes": metrics.processes,
    "overdue": metrics.overdue,
    "runs": metrics.runs_gone_wrong,
    "waiting deliveries": metrics.waiting_deliveries,
    "failed deliveries": metrics.failed_deliveries,
}

pytestmark = pytest.mark.usefixtures("full")


@pytest.mark.parametrize("name", IN_A_TRANSACTION)
def test_in_a_transaction(name: str) -> None:
    check(rolled_back(IN_A_TRANSACTION[name]))


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str) -> None:
    # Outcomes are grouped, and these few are sorted. PostgreSQL may sort all of a priority before it counts
    # them; on SQLite that would be too many steps.
    check(rolled_back(METRICS[name]), most=WAITING + 1000, sorts=name in ("finished", "queue"))


@pytest.mark.parametrize(
    "name", ["deliveries: waiting", "deliveries: claim", "watch: events", "builds: waiting"]
)
def test_what_is_asked_again_and_again_is_not_sorted(name: str) -> None:
    check(rolled_back(IN_A_TRANSACTION[name]), sorts=False)


def test_counts_and_sums_are_read_from_an_index() -> None:
    check(rolled_back(lambda session: joblist.queues(session, [2])), most=JOBS // PROJECTS)
    check(rolled_back(lambda session: records.stats(session, FULL, Kind.ITEMS)), most=CHUNKS + 100)


def test_firing_what_is_due() -> None:
    check(firing.fire_due, least=2)
