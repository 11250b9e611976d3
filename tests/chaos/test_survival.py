"""What is not a death: an orderly end, a process that sleeps, a locked database, two schedulers."""

import subprocess
import time

from tests.chaos.conftest import LONG, Chaos
from tests.platform import CRAWLDOCK, ROOT, until


def test_a_worker_that_is_asked_to_end_closes_its_spiders(chaos: Chaos) -> None:
    running, pending = chaos.load(items=LONG)
    until(lambda: all(chaos.items(key) for key in running))
    worker = chaos.part("worker")
    worker.terminate()
    for key in running:
        assert chaos.wait(key)["close_reason"] == "shutdown"
        assert chaos.marks_of(key) == ["start", "end"]
        assert "Closing spider (shutdown)" in chaos.log_of(key)
    until(lambda: not worker.is_running(), 10)
    assert {chaos.job(key)["state"] for key in pending} == {"pending"}
    jobs = chaos.settle(*running, *pending)
    assert all(jobs[key]["items_scraped"] for key in running)
    assert {jobs[key]["close_reason"] for key in pending} == {"finished"}


def test_a_runner_that_slept_past_its_lease_is_a_stranger(chaos: Chaos) -> None:
    """Its job has an end by then; nothing it still holds is written, and its spider is ended."""
    asleep, other = chaos.load(pending=0, items=LONG)[0]
    until(lambda: chaos.items(asleep))
    spider = chaos.spider(asleep)
    runner = chaos.runner(asleep)
    chaos.suspend(runner)
    try:
        began = time.monotonic()
        ended = chaos.wait(asleep, seconds=30)
        assert time.monotonic() - began > 15
        assert ended["close_reason"] == "worker lost"
        before = chaos.log_of(asleep), chaos.items(asleep)
        chaos.post("jobs/stop.json", project=chaos.project, job=other)
        pending = chaos.told(3)
        chaos.wait(pending)
    finally:
        runner.resume()
    until(lambda: not spider.is_running(), 5)
    assert (chaos.log_of(asleep), chaos.items(asleep)) == before
    later = [chaos.told(3) for _ in range(2)]
    jobs = chaos.settle(asleep, other, pending, *later)
    assert jobs[asleep] | {"elapsed": 0} == ended | {"elapsed": 0}
    assert [jobs[key]["close_reason"] for key in later] == ["finished", "finished"]


def test_a_database_that_is_locked_for_a_while(chaos: Chaos) -> None:
    """Records and the end of a job wait until they can be written."""
    running, pending = chaos.load(items=30)
    connection = chaos.database(timeout=10)
    connection.execute("BEGIN EXCLUSIVE")
    time.sleep(5)
    connection.execute("ROLLBACK")
    connection.close()
    jobs = chaos.settle(*running, *pending)
    assert {job["close_reason"] for job in jobs.values()} == {"finished"}
    assert [jobs[key]["items_scraped"] for key in (*running, *pending)] == [30, 30, 3, 3]


def test_a_second_scheduler_is_harmless(chaos: Chaos) -> None:
    """Also right after the broker was wiped, when both announce the same jobs."""
    env = chaos.env | {"REDIS_URL": chaos.broker()}
    second = subprocess.Popen([*CRAWLDOCK, "scheduler"], cwd=ROOT, env=env, start_new_session=True)
    try:
        running, pending = chaos.load(pending=3)
        chaos.part("valkey-server").kill()
        jobs = chaos.settle(*running, *pending)
        assert {job["close_reason"] for job in jobs.values()} == {"finished"}
        assert second.poll() is None
    finally:
        second.terminate()
        second.wait(20)


def test_a_broker_that_hangs_holds_up_nobody(chaos: Chaos) -> None:
    """Requests are answered soon, a stop takes effect, and what was scheduled runs afterwards."""
    running, _ = chaos.load(running=1, pending=0, items=LONG)
    broker = chaos.part("valkey-server")
    broker.suspend()
    try:
        began = time.monotonic()
        pending = [chaos.told(3) for _ in range(2)]
        chaos.post("jobs/stop.json", project=chaos.project, job=running)
        assert time.monotonic() - began < 6
        assert chaos.wait(running[0], seconds=10)["close_reason"] == "cancelled"
    finally:
        broker.resume()
    jobs = chaos.settle(*running, *pending)
    assert {jobs[key]["close_reason"] for key in pending} == {"finished"}
