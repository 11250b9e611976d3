"""Many at once on a real database: exactly one wins, none is lost, none is doubled."""

from collections import Counter

import pytest
from sqlalchemy import update

from app import db
from app.errors import AlreadyScheduled
from app.keys import JobKey
from app.models import Job
from app.services import joblist, jobs, projects, versions
from app.services.joblist import Filter
from tests.factories import at_once, claim, finish, make_job, pending_version, row, running_job, states

pytestmark = pytest.mark.usefixtures("database", "sent")
THREADS = 8


def test_of_many_who_schedule_the_same_job_one_wins() -> None:
    results = at_once(THREADS, lambda n: make_job(args={"a": "1"}, tags=[f"t{n}"]))
    won = [result for result in results if isinstance(result, JobKey)]
    lost = [result for result in results if isinstance(result, AlreadyScheduled)]
    assert (len(won), len(lost)) == (1, THREADS - 1)
    assert list(states().values()) == ["pending"]


def test_many_who_schedule_share_no_number() -> None:
    results = at_once(THREADS, lambda _: [make_job() for _ in range(10)])
    numbers = sorted(key.job for keys in results for key in keys)
    assert numbers == list(range(1, 10 * THREADS + 1))


def test_each_job_is_claimed_exactly_once() -> None:
    made = [make_job(priority=n % 5) for n in range(200)]

    def work(n: int) -> list[jobs.Claimed]:
        found = []
        while job := claim(f"worker{n}"):
            found.append(job)
        return found

    claimed = [job for found in at_once(THREADS, work) for job in found]
    assert Counter(job.key for job in claimed) == Counter(made)
    assert len({job.token for job in claimed}) == 200


def test_one_claims_in_strict_order_while_others_schedule() -> None:
    for n in range(40):
        make_job(priority=n % 5)

    def work(n: int) -> list[tuple[int, int]]:
        if n:
            for _ in range(10):
                make_job(priority=0)
            return []
        return [(-job.priority, job.id) for job in [claim() for _ in range(40)] if job]

    order = at_once(4, work)[0]
    assert order[:32] == sorted(order[:32])  # the priorities 1 … 4; of 0 there come ever more


def test_stop_and_claim_agree_about_each_job() -> None:
    made = [make_job() for _ in range(60)]

    def work(n: int) -> list[jobs.Claimed]:
        if n % 2:
            for key in made[n // 2 :: 2]:
                with db.transaction() as session:
                    jobs.request_stop(session, [key], "somebody")
            return []
        found = []
        while job := claim():
            found.append(job)
        return found

    claimed = {job.key: job for found in at_once(4, work) for job in found}
    for key in made:
        job = row(key)
        assert job.stop_time is not None
        # Either it never ran, or its owner will learn of the stop.
        assert (job.state == "running") == (key in claimed)
        assert job.state == "running" or (job.close_reason, job.running_time) == ("cancelled", None)


def test_finish_and_reap_leave_one_outcome() -> None:
    owned = [running_job() for _ in range(30)]
    with db.transaction() as session:
        session.execute(update(Job).values(lease_time=5))

    def work(n: int) -> list[int]:
        if n:
            with db.transaction() as session:
                return jobs.reap(session)
        return [job.id for job in owned if finish(job, "finished")]

    ended = [job_id for found in at_once(3, work) for job_id in found]
    assert sorted(ended) == sorted(job.id for job in owned)


def test_many_who_add_the_same_tags_double_none() -> None:
    made = [make_job() for _ in range(20)]

    def work(n: int) -> int:
        with db.transaction() as session:
            keys = made if n % 2 else list(reversed(made))
            chosen = joblist.ids(session, Filter(1, keys=keys), 100, 0)
            joblist.update_tags(session, chosen, ["a", f"t{n}", "b"], ["x"])
            return len(chosen)

    assert at_once(THREADS, work) == [20] * THREADS
    with db.reading() as session:
        found = joblist.tags_of(session, [row(key).id or 0 for key in made])
    wanted = sorted(["a", "b", *(f"t{n}" for n in range(THREADS))])
    assert all(sorted(tags) == wanted for tags in found.values())


def test_of_many_builders_one_takes_the_version() -> None:
    version_id = pending_version()

    def work(n: int) -> bool:
        with db.transaction() as session:
            return versions.claim_build(session, version_id) is not None

    assert sorted(at_once(THREADS, work)) == [False] * (THREADS - 1) + [True]


def test_deploys_at_once_number_each_spider_once() -> None:
    built = [pending_version(str(n)) for n in range(THREADS)]

    def work(n: int) -> bool:
        with db.transaction() as session:
            assert versions.claim_build(session, built[n])
            return versions.activate(session, built[n], "settings", ["quotes", "new", f"own{n}"])

    assert at_once(THREADS, work) == [True] * THREADS
    with db.reading() as session:
        found = {spider.name for spider in projects.spiders(session, 1)}
        assert found == {"quotes", "new", f"own{THREADS - 1}"}  # the newest deploy's


def test_an_egg_stored_by_many_at_once_is_there_once() -> None:
    def work(n: int) -> None:
        with db.transaction() as session:
            versions.add_egg(session, 1, "lib", str(n), b"egg")

    assert [result for result in at_once(THREADS, work) if result] == []
    with db.reading() as session:
        assert [found.name for found in versions.eggs(session, 1)] == ["lib"]
