"""Stopping jobs: pending, running, deaf, finished, twice, and when the message to the worker is lost."""

from pathlib import Path
from typing import Any

from tests.platform import Platform, until


def stop(platform: Platform, *keys: str) -> dict[str, Any]:
    answer = platform.post("jobs/stop.json", project=keys[0].split("/", maxsplit=1)[0], job=list(keys)).json()
    assert answer["status"] == "ok", answer
    return dict(answer)


def mark(platform: Platform, key: str) -> None:
    """What a stop leaves behind whose message to the worker is lost."""
    platform.sql("UPDATE job SET stop_time = pending_time + 1 WHERE id = ?", platform.row(key)["id"])


def started(platform: Platform, project: int, spider: str, **params: Any) -> str:
    """A running job whose first item has been stored."""
    key = platform.schedule(project, spider, **params)
    until(lambda: platform.job(key)["items_scraped"] > 0, 60)
    return key


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_pending_job_never_runs(platform: Platform, project: int) -> None:
    busy = [started(platform, project, "slow", n=str(n)) for n in range(2)]
    key = platform.schedule(project, "three", n="pending")
    assert platform.job(key)["state"] == "pending"
    stop(platform, key)
    job = platform.job(key)
    assert (job["state"], job["close_reason"], job["logs"]) == ("finished", "cancelled", 0)
    assert "started_time" not in job and platform.log_of(key) == ""
    stop(platform, *busy)
    assert [platform.wait(each)["close_reason"] for each in busy] == ["cancelled", "cancelled"]
    assert platform.row(key)["running_time"] is None


def test_a_running_job_closes_gracefully_and_keeps_its_items(platform: Platform, project: int) -> None:
    key = started(platform, project, "slow")
    stop(platform, key)
    job = platform.wait(key)
    assert job["close_reason"] == "cancelled"
    assert platform.items(key) == [{"n": n, "_type": "dict"} for n in range(job["items_scraped"])]
    log = platform.log_of(key)
    assert "Received SIGTERM" in log and "Spider closed (shutdown)" in log
    assert platform.left_of(key) == []


def test_a_stop_takes_effect_soon(platform: Platform, project: int) -> None:
    key = started(platform, project, "slow")
    stop(platform, key)
    platform.wait(key)
    asked = platform.row(key)["stop_time"]
    assert 0 <= platform.logged_at(key, "stopping the spider: cancelled") - asked < 2000
    assert 0 <= platform.logged_at(key, "Received SIGTERM") - asked < 4000


def test_a_stop_works_when_its_message_is_lost(platform: Platform, project: int) -> None:
    key = started(platform, project, "slow")
    mark(platform, key)
    assert platform.wait(key)["close_reason"] == "cancelled"
    assert "Spider closed (shutdown)" in platform.log_of(key)


def test_a_deaf_spider_is_killed_with_its_deaf_helper(platform: Platform, project: int) -> None:
    key = started(platform, project, "deaf")
    (item,) = platform.items(key)
    stop(platform, key)
    job = platform.wait(key)
    assert job["close_reason"] == "cancel_timeout"
    assert gone([item["pid"], item["child"]]) and platform.left_of(key) == []
    row = platform.row(key)
    assert row["finished_time"] - row["stop_time"] >= 7000  # it had the grace time
    assert platform.run(project, "three", n="after deaf")["close_reason"] == "finished"


def test_a_killed_spider_has_no_grace_time(platform: Platform, project: int) -> None:
    key = started(platform, project, "deaf", n="killed")
    stop(platform, key)
    platform.sql("UPDATE job SET kill_time = stop_time WHERE id = ?", platform.row(key)["id"])
    assert platform.wait(key)["close_reason"] == "cancel_timeout"
    row = platform.row(key)
    assert row["finished_time"] - row["stop_time"] < 7000 and platform.left_of(key) == []


def test_a_helper_with_a_session_of_its_own_is_killed(platform: Platform, project: int) -> None:
    key = platform.schedule(project, "setsid", wait="99")
    until(lambda: platform.items(key), 60)
    (item,) = platform.items(key)
    stop(platform, key)
    assert platform.wait(key)["close_reason"] == "cancelled"
    assert gone(item["helpers"])


def test_a_second_stop_changes_nothing(platform: Platform, project: int) -> None:
    key = started(platform, project, "slow")
    stop(platform, key)
    first = platform.row(key)["stop_time"]
    for _ in range(5):
        stop(platform, key)
    assert platform.row(key)["stop_time"] == first
    assert platform.wait(key)["close_reason"] == "cancelled"
    # Scrapy calls a second signal "unclean"; it got one.
    assert platform.log_of(key).count("Received SIGTERM") == 1
    assert "Spider closed (shutdown)" in platform.log_of(key)


def test_a_finished_job_stays_as_it_is(platform: Platform, project: int) -> None:
    key = platform.run(project, "three", n="finished")["id"]
    before = platform.row(key)
    platform.post("jobs/stop.json", project=project, job=key)
    assert platform.row(key) == before


def test_a_job_that_is_just_starting_is_stopped(platform: Platform, project: int) -> None:
    key = platform.schedule(project, "slow", n="just")
    until(lambda: platform.job(key)["state"] == "running", pause=0)
    stop(platform, key)
    assert platform.wait(key)["close_reason"] == "cancelled"
    assert platform.left_of(key) == []
