"""kill -9 of each process of the platform while jobs run and wait: nothing is lost, doubled or stuck."""

import time

import pytest

from app.services.jobs import LEASE_MS
from tests.chaos.conftest import LONG, Chaos
from tests.platform import until

LEASE_SECONDS = LEASE_MS / 1000


def test_spider(chaos: Chaos) -> None:
    running, pending = chaos.load()
    chaos.spider(running[0]).kill()
    jobs = chaos.settle(*running, *pending)
    assert jobs[running[0]]["close_reason"] == "killed by signal 9 (SIGKILL)"
    assert "killed by signal 9" in chaos.log_of(running[0])
    assert {jobs[key]["close_reason"] for key in (running[1], *pending)} == {"finished"}


@pytest.mark.parametrize(
    "parts", [["valkey-server"], ["api"], ["scheduler"], ["api", "scheduler", "valkey-server"]]
)
def test_parts_that_run_no_jobs(chaos: Chaos, parts: list[str]) -> None:
    running, pending = chaos.load()
    old = [chaos.part(part) for part in parts]
    for process in old:
        process.kill()
    until(lambda: all(chaos.part_or_none(part) not in (None, *old) for part in parts), 20)
    jobs = chaos.settle(*running, *pending)
    assert {job["close_reason"] for job in jobs.values()} == {"finished"}
    assert {jobs[key]["items_scraped"] for key in running} == {15}


def test_worker(chaos: Chaos) -> None:
    running, pending = chaos.load(items=LONG)
    chaos.part("worker").kill()
    jobs = chaos.settle(*running, *pending)
    assert {jobs[key]["close_reason"] for key in running} == {"worker lost"}
    assert {jobs[key]["close_reason"] for key in pending} == {"finished"}


def test_runner_while_the_broker_is_wiped(chaos: Chaos) -> None:
    """Its spider dies with it; the next runner says at once how the job ended, and the slot is used."""
    running, pending = chaos.load(items=LONG)
    spider = chaos.spider(running[0])
    chaos.runner(running[0]).kill()
    chaos.part("valkey-server").kill()
    killed = time.monotonic()
    until(lambda: not spider.is_running(), 2)
    assert chaos.wait(running[0])["close_reason"] == "worker lost"
    assert time.monotonic() - killed < LEASE_SECONDS
    for key in pending:
        assert chaos.wait(key)["close_reason"] == "finished"
    chaos.post("jobs/stop.json", project=chaos.project, job=running[1])
    chaos.settle(*running, *pending)


def test_what_stands_between_a_runner_and_its_spider(chaos: Chaos) -> None:
    """A spider dies with its keeper, but not with the template that it was forked from."""
    running, pending = chaos.load()
    keepers = [chaos.spider(key).parent() for key in running]
    template = keepers[0].parent()
    assert "template.py" in " ".join(template.cmdline())
    template.kill()
    keepers[0].kill()
    jobs = chaos.settle(*running, *pending)
    assert jobs[running[0]]["close_reason"] == "killed by signal 9 (SIGKILL)"
    assert {jobs[key]["close_reason"] for key in (running[1], *pending)} == {"finished"}


def test_everything_at_once(chaos: Chaos) -> None:
    running, pending = chaos.load(items=LONG)
    parts = [chaos.part(part) for part in ("scheduler", "valkey-server", "api", "worker")]
    for process in (chaos.runner(running[0]), *parts):
        process.kill()
    jobs = chaos.settle(*running, *pending)
    assert {jobs[key]["close_reason"] for key in running} == {"worker lost"}
    assert {jobs[key]["close_reason"] for key in pending} == {"finished"}
