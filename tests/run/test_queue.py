"""One slot: which job is next, and that whatever became of one job, the next one runs."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.platform import Platform, until
from tests.run.spiders import EGG


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with one slot and two projects, 123 and 124."""
    with Platform(tmp_path_factory.mktemp("single"), CRAWLDOCK_SLOTS="1") as platform:
        platform.deploy(EGG, project_id=123, version="2")
        platform.crawldock("projects", "create", "other", "--id", "124")
        platform.deploy(EGG, project_id=124)
        yield platform


def busy(platform: Platform) -> str:
    """A job that holds the slot until it is stopped."""
    key = platform.schedule(123, "slow", priority="4")
    until(lambda: platform.job(key)["items_scraped"] > 0, 60)
    return key


def free(platform: Platform, key: str) -> None:
    platform.post("jobs/stop.json", project=123, job=key)


def in_order(platform: Platform, keys: list[str]) -> list[str]:
    """The jobs by the time they started, once all have ended."""
    rows: dict[str, Any] = {key: (platform.wait(key, seconds=120), platform.row(key))[1] for key in keys}
    assert len({row["running_time"] for row in rows.values()}) == len(keys)
    return sorted(keys, key=lambda key: rows[key]["running_time"])


def test_priority_is_strict_over_projects_and_the_oldest_is_first(single: Platform) -> None:
    blocker = busy(single)
    priorities = [n % 5 for n in range(25)]
    random.Random(7).shuffle(priorities)
    scheduled = []
    for n, priority in enumerate(priorities):
        # They end before they crawl: only their order matters.
        params = {"n": str(n), "priority": str(priority), "environment": {"AT_IMPORT": "exit"}}
        scheduled.append((-priority, n, single.run_json(123 + n % 2, "three", **params)))
    assert {single.job(key)["state"] for _, _, key in scheduled} == {"pending"}
    free(single, blocker)
    assert in_order(single, [key for _, _, key in scheduled]) == [key for _, _, key in sorted(scheduled)]


def test_a_later_job_of_higher_priority_overtakes(single: Platform) -> None:
    blocker = busy(single)
    quick = {"AT_IMPORT": "exit"}
    low = [single.run_json(123, "three", low=str(n), priority="1", environment=quick) for n in range(3)]
    high = single.run_json(124, "three", priority="3", environment=quick)
    free(single, blocker)
    assert in_order(single, [*low, high]) == [high, *low]


def test_the_slot_runs_the_next_job_after_each_kind_of_end(single: Platform) -> None:
    deaf = single.schedule(123, "deaf", priority="4")
    until(lambda: single.job(deaf)["items_scraped"] > 0, 60)
    kill = {"code": "os.kill(os.getpid(), 9)"}
    keys = [
        deaf,
        single.schedule(123, "code", priority="3", **kill),
        single.run_json(123, "three", priority="2", environment={"AT_IMPORT": "exit"}),
        single.schedule(124, "three", priority="1"),
    ]
    free(single, deaf)
    assert in_order(single, keys) == keys
    assert [single.job(key)["close_reason"] for key in keys] == [
        "cancel_timeout", "killed by signal 9 (SIGKILL)", "failed", "finished",
    ]  # fmt: skip


def test_a_stop_that_comes_before_the_slot_is_free_starts_nothing(single: Platform) -> None:
    blocker = busy(single)
    keys = [single.schedule(123, "three", skipped=str(n)) for n in range(3)]
    single.post("jobs/stop.json", project=123, job=[*keys[:2], blocker])
    assert single.wait(keys[2])["close_reason"] == "finished"
    assert [single.row(key)["running_time"] for key in keys[:2]] == [None, None]


def test_a_worker_that_drains_ends_what_it_runs_and_starts_nothing(single: Platform) -> None:
    blocker = busy(single)
    name = single.row(blocker)["worker"]
    assert single.crawldock("workers", "list").startswith(f"{name}\t1/1\ttakes jobs\t")
    single.crawldock("workers", "drain", name)
    key = single.run_json(123, "three", after="drain", environment={"AT_IMPORT": "exit"})
    free(single, blocker)
    single.wait(blocker)
    until(lambda: f"{name}\t0/1\tdrains" in single.crawldock("workers", "list"))
    until(lambda: "drains: takes no new job" in single.log.read_text())
    assert single.job(key)["state"] == "pending"
    single.crawldock("workers", "undrain", name)
    assert single.wait(key)["close_reason"] == "failed"
