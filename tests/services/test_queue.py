"""The queue under many hands: each job has one owner and one end, and nobody waits for ever."""

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from app import db
from app.keys import JobKey
from app.models import JobState
from app.services import activity, jobboard, jobmeta, jobs, queue
from app.services.jobboard import Wanted
from app.services.queue import Change, Made, Pushed
from tests.factories import at_once, claim, finish, make_job, make_project, row, running_job, states

pytestmark = pytest.mark.usefixtures("database", "sent")
THREADS = 8
NOTHING = jobmeta.Fields({}, {}, None)


def push(*new: Pushed) -> list[Made | None]:
    with db.transaction() as session:
        return queue.push(session, 1, new, "admin")


def start() -> dict[str, Any] | None:
    with db.transaction() as session:
        return queue.start(session, 1, {}, "outside")


def update(key: JobKey, state: str) -> list[queue.Affected]:
    with db.transaction() as session:
        return queue.change(session, [(key, Change(JobState(state)))], "operator", strict=True)


def events() -> dict[str, list[str]]:
    """What happened to each job of project 1, the oldest first."""
    found: dict[str, list[str]] = {}
    for each in [orjson.loads(each.event) for each in activity.newest([1])][::-1]:
        found.setdefault(each["job"], []).append(each["event"].removeprefix("job:"))
    return found


def test_each_job_is_started_exactly_once_outside_or_by_a_worker() -> None:
    made = [make_job(priority=n % 5) for n in range(90)]

    def work(n: int) -> list[tuple[str, str]]:
        found = []
        while True:
            if n % 3:
                started = start()
                mine = started and (started["key"], started["auth"])
            else:
                claimed = claim(f"worker{n}")
                mine = claimed and (str(claimed.key), claimed.token)
            if not mine:
                return found
            found.append(mine)

    owned = [mine for found in at_once(6, work) for mine in found]
    assert Counter(key for key, _ in owned) == Counter(map(str, made))
    assert all(row(JobKey.parse(key)).token == token for key, token in owned)
    assert set(map(tuple, events().values())) == {("scheduled", "started")}


def among_others(priorities: Sequence[int]) -> list[JobKey]:
    """Waiting jobs of these priorities, each behind one of another project."""
    make_project(2)
    made = []
    for priority in priorities:
        make_job(project=2, priority=4)
        made.append(make_job(priority=priority))
    return made


@pytest.mark.parametrize("few", [10, 2], ids=["sorted", "along the queue"])
def test_a_project_s_jobs_are_started_in_the_order_of_the_queue(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "SORTED", few)
    made = list(map(str, among_others((1, 3, 2, 3))))
    assert [started["key"] for _ in made if (started := start())] == [made[n] for n in (1, 3, 2, 0)]
    assert start() is None


@pytest.mark.parametrize("few", [10, 2], ids=["sorted", "along the queue"])
def test_a_page_of_waiting_jobs_is_in_the_order_of_the_queue(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobboard, "COUNTED", few)
    made = among_others((1, 3, 2, 3))
    for wanted in (Wanted(1), Wanted(1, spider="quotes"), Wanted(1, args={"n": None})):
        with db.reading() as session:
            page = jobboard.section(session, wanted, JobState.PENDING, limit=3)
            rest = jobboard.section(session, wanted, JobState.PENDING, page.more)
        assert [each.key for each in (*page.rows, *rest.rows)] == [made[n] for n in (1, 3, 2, 0)]


def test_of_many_who_push_the_same_unique_name_one_wins() -> None:
    new = Pushed("quotes", NOTHING, unique="one")
    results = at_once(THREADS, lambda _: push(new))
    assert sorted(result[0] is None for result in results) == [False] + [True] * (THREADS - 1)
    assert list(states().values()) == ["pending"]


def test_pushes_of_many_jobs_do_not_wait_crosswise() -> None:
    for n in range(THREADS):
        push(*(Pushed(f"s{n}/{each}", NOTHING, JobState.DELETED) for each in range(3)))

    def work(n: int) -> int:
        # The same unique names in both orders, of spiders that nobody else pushes.
        order = range(60) if n % 2 else range(59, -1, -1)
        new = [Pushed(f"s{n}/{each % 3}", NOTHING, unique=f"u{each}") for each in order]
        if n < 2:  # and some that push one at a time
            return sum(push(each) != [None] for each in new)
        return sum(each is not None for each in push(*new))

    assert sum(at_once(THREADS, work)) == 60
    assert Counter(states().values()) == {"pending": 60, "deleted": 3 * THREADS}


def test_pushes_of_the_same_new_spiders_number_each_once() -> None:
    def work(n: int) -> list[Made | None]:
        names = range(6) if n % 2 else range(5, -1, -1)
        return push(*(Pushed(f"s{each}", NOTHING) for each in names))

    keys = [made.key for result in at_once(THREADS, work) for made in result]
    assert sorted(keys) == [JobKey(1, spider, job) for spider in range(2, 8) for job in range(1, THREADS + 1)]


def test_a_job_ends_once_whoever_ends_it() -> None:
    owned = [running_job() for _ in range(24)]
    keys = [job.key for job in owned]

    def cancel_all(order: list[JobKey]) -> int:
        with db.transaction() as session:
            return jobs.request_stop(session, order, "admin")

    def delete_all(order: list[JobKey]) -> int:
        with db.transaction() as session:
            return jobs.delete(session, order, "admin")

    def work(n: int) -> list[Any]:
        order = keys if n % 2 else keys[::-1]
        if n < 2:
            return [finish(job) for job in (owned if n else owned[::-1])]
        if n < 4:
            return [update(key, "finished") for key in order]
        if n < 6:
            return [cancel_all(order[place:]) for place in range(0, 24, 4)]
        return [delete_all(order) for _ in range(6)]

    results = at_once(THREADS, work)
    assert not [
        result for result in results if isinstance(result, Exception) and "cannot become" not in str(result)
    ]
    for key, happened in events().items():
        job = row(JobKey.parse(key))
        assert job.state in ("finished", "deleted")
        assert job.token is job.lease_time is None
        counted = Counter(happened)
        assert (counted["completed"], counted["cancelled"] <= 1) == (1, True), happened
        assert counted["deleted"] == (job.state == "deleted")


def test_many_who_cancel_and_end_a_spider_do_not_wait_crosswise() -> None:
    for _ in range(60):
        make_job()
    keys = [JobKey.parse(key) for key in states()]

    def work(n: int) -> Any:
        with db.transaction() as session:
            if n % 4 == 0:
                return queue.change_all(
                    session, queue.of_spider(session, 1, 1), Change(JobState.DELETED), "a"
                )
            if n % 4 == 1:
                return queue.cancel_some(session, 1, JobState.PENDING, 50, "b")
            order = keys if n % 4 == 2 else keys[::-1]
            return jobs.request_stop(session, order, "c")

    results = at_once(THREADS, work)
    assert not [result for result in results if isinstance(result, Exception)]
    assert set(states().values()) == {"deleted"} or "pending" not in states().values()
    assert all(Counter(happened).most_common(1)[0][1] == 1 for happened in events().values())


def test_a_unique_name_is_no_key_of_the_dash() -> None:
    assert queue.unique_key("x") != jobs.duplicate_key("unique", {}, None)
    assert push(*(Pushed("quotes", NOTHING, unique=secrets.token_hex()) for _ in range(3)))[2] == Made(
        JobKey(1, 1, 3), None
    )
