"""The released shub: scheduling jobs, reading what they find while they run and after, cancelling them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.clients import Program
from tests.platform import Platform, until

FAST = str(Path(__file__).parent / "fast")


@pytest.fixture
def shub(platform: Platform, shub: Program, project: int) -> Program:
    """shub whose default project has the usual spiders, and `example` is project 123."""
    (shub.folder / "scrapinghub.yml").write_text(
        f"projects:\n  default: {project}\n  example: 123\nendpoint: {platform.url}/api/\n"
    )
    return shub


@pytest.fixture
def follow(shub: Program, platform: Platform, project: int) -> Callable[..., tuple[str, str]]:
    """Start `shub WHAT -f` on a job that has just begun; returns the job's key and all that shub said by its end."""

    def followed(*what: str) -> tuple[str, str]:
        key = platform.schedule(project, "slow", seconds="1.5", what=" ".join(what))
        until(lambda: platform.items(key))
        done = shub.run(*what, "-f", key, PYTHONPATH=FAST)
        assert done.returncode == 0, done.stderr
        assert platform.job(key)["state"] == "finished"
        return key, done.stdout

    return followed


def short(key: str) -> str:
    return key.split("/", maxsplit=1)[1]


# Scheduling


def test_everything_about_a_job(platform: Platform, shub: Program, project: int) -> None:
    said = shub(
        "schedule", "echo", "-a", "text=a=ü", "-a", "n=1", "-s", "MARK=by shub", "-s", "LOG_LEVEL=DEBUG",
        "-e", "MINE=x=y", "-t", "one", "-t", "two", "-p", "4", "-u", "2",
    )  # fmt: skip
    key = next(word for word in said.split() if word.startswith(f"{project}/"))
    assert f"shub log -f {short(key)}" in said and f"{platform.url}/p/{key}" in said
    job = platform.wait(key)
    assert (job["tags"], job["priority"], job["close_reason"]) == (["one", "two"], 4, "finished")
    (item,) = platform.items(key)
    assert item["args"] == {"text": "a=ü", "n": "1"} and item["setting"] == "by shub"
    assert (item["env"]["MINE"], item["env"]["SHUB_JOB_MEMORY_LIMIT"]) == ("x=y", "1900")
    assert " DEBUG " in platform.log_of(key)


def test_a_spider_of_another_target(platform: Platform, shub: Program) -> None:
    said = shub("schedule", "example/somespider", "-a", "start_url=data:,x", "-a", 'meta={"mine": [1]}')
    key = next(word for word in said.split() if word.startswith("123/"))
    assert platform.wait(key)["close_reason"] == "finished"


def test_a_job_that_is_refused(shub: Program) -> None:
    assert "Spider not found: nosuch" in shub("schedule", "nosuch", check=False)
    assert "invalid value for priority: 9" in shub("schedule", "echo", "-p", "9", check=False)


# Reading


def test_items(platform: Platform, shub: Program, crawl: str) -> None:
    every = shub.lines("items", crawl)
    assert [item.pop("_key") for item in every] == [f"{crawl}/{n}" for n in range(7)]
    assert every == platform.items(crawl)
    assert [item["_key"] for item in shub.lines("items", f"example/{short(crawl)}", "-n", "2")] == [
        f"{crawl}/5", f"{crawl}/6"]  # fmt: skip
    assert len(shub.lines("items", crawl, "-n", "99")) == 7


def test_requests(shub: Program, crawl: str) -> None:
    every = shub.lines("requests", crawl)
    assert [request["_key"] for request in every] == [f"{crawl}/{n}" for n in range(7)]
    assert {request["status"] for request in every} == {200} and "parent" in every[-1]
    assert shub.lines("requests", f"https://app.zyte.com/p/{crawl}", "-n", "1") == every[-1:]


def test_a_log(shub: Program, crawl: str) -> None:
    text = shub.run("log", crawl).stdout.splitlines()
    entries = shub.lines("log", crawl, "--json")
    assert len(text) >= len(entries) > 5
    assert text[-1].endswith("INFO [scrapy.core.engine] Spider closed (finished)") and text[-1].startswith(
        "20"
    )
    assert (entries[-1]["level"], entries[-1]["_key"]) == (20, f"{crawl}/{len(entries) - 1}")
    assert shub.run("log", "-n", "1", crawl).stdout.splitlines() == text[-1:]


def test_following_what_has_ended(shub: Program, crawl: str) -> None:
    assert len(shub.lines("items", "-f", crawl)) == 7


@pytest.mark.parametrize("what", ["items", "requests"])
def test_following_items_and_requests(
    follow: Callable[..., tuple[str, str]], platform: Platform, what: str
) -> None:
    key, said = follow(what)
    count = platform.job(key)["items_scraped" if what == "items" else "responses_received"]
    assert [line.rpartition(f'"{key}/')[2].split('"')[0] for line in said.splitlines()] == [
        str(n) for n in range(count)
    ]


def test_following_a_log(follow: Callable[..., tuple[str, str]], platform: Platform) -> None:
    key, said = follow("log")
    assert "Spider opened" in said and said.rstrip().endswith("Spider closed (finished)")
    assert said.count(" INFO ") == platform.log_of(key).count(" INFO ")


def test_a_job_that_was_never_there(shub: Program, project: int) -> None:
    for what in ("items", "log", "requests"):
        assert f"Job {project}/99/1 does not exist" in shub(what, "99/1", check=False)


# Cancelling


def running(platform: Platform, project: int, **args: Any) -> str:
    key = platform.schedule(project, "slow", **args)
    until(lambda: platform.items(key))
    return key


def test_jobs_are_cancelled(platform: Platform, shub: Program, project: int) -> None:
    keys = [running(platform, project, n=n) for n in range(2)]
    assert "{'count': 2}" in shub("cancel", *map(short, keys), "--force")
    assert [platform.wait(key)["close_reason"] for key in keys] == ["cancelled"] * 2


def test_cancelling_asks_first(platform: Platform, shub: Program, crawl: str) -> None:
    assert "Do you want to cancel these 1 jobs?" in shub(
        "cancel", "example", short(crawl), check=False, typed="n\n"
    )
    assert "{'count': 0}" in shub("cancel", "123", short(crawl), "123/1", typed="y\n")
    assert "keys must be defined as <spider_id>/<job_id>" in shub("cancel", crawl, check=False)


def test_the_key_of_another_project(platform: Platform, shub: Program, project: int) -> None:
    key = platform.crawldock("keys", "create", f"reader {shub.folder}", "--project", "123").split()[-1]
    assert f"doesn't have access to project {project}" in shub(
        "schedule", "echo", check=False, SHUB_APIKEY=key
    )


def test_a_wrong_key(shub: Program, crawl: str) -> None:
    for call in (
        ("items", crawl),
        ("log", crawl),
        ("requests", crawl),
        ("cancel", "1/1", "-f"),
        ("schedule", "echo"),
    ):
        done = shub.run(*call, SHUB_APIKEY="f" * 32)
        assert done.returncode != 0 and (
            "401" in done.stderr or "uthori" in done.stderr or "Authentication failed" in done.stderr
        )


def test_programs_that_are_not_told_where(shub: Program, crawl: str) -> None:
    """Without SHUB_STORAGE, shub asks Scrapy Cloud's own server: docs/clients.md says so."""
    del shub.env["SHUB_STORAGE"]
    done = subprocess.run(
        [shub.path.parent / "python", "-c", "from scrapinghub import HubstorageClient as H; print(H('k').endpoint)"],
        env=shub.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "storage.scrapinghub.com" in done.stdout
