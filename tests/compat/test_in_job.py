"""What a job's own code does with python-scrapinghub: by the job's token, or by a key that it is given."""

import json
from typing import Any

import pytest

from tests.compat.clients import Python
from tests.compat.inside import EGG
from tests.platform import KEY, Platform, until


@pytest.fixture(scope="module")
def inside(platform: Platform) -> int:
    """A project of jobs that use the platform."""
    return platform.deploy(EGG)


def check(seen: dict[str, Any], spider: str, tags: list[str], first: dict[str, Any]) -> None:
    assert seen["stored"] == [{"text": "Grüße"}, 1]
    assert (seen["requests"], seen["left"]) == ([["a", {"n": 1}], ["b", None]], [])
    assert seen["meta"] == [spider, "running", tags, {"n": [1]}]
    assert (seen["items"], seen["log"]) == ([first], True)


def test_a_spider_uses_the_platform(platform: Platform, inside: int) -> None:
    job = platform.run(inside, "inside", add_tag=["t"])
    assert job["close_reason"] == "finished"
    items = platform.items(job["id"])
    assert len(items) == 2, platform.log_of(job["id"])
    check(items[1], "inside", ["t"], {"first": True, "_type": "dict"})


def test_what_a_job_may_not(platform: Platform, inside: int) -> None:
    job = platform.run(inside, "inside", n="refused")
    refused = platform.items(job["id"])[1]["refused"]
    assert refused == ["Forbidden", "Unauthorized", "Forbidden", "Forbidden", "Forbidden"]


def test_a_token_is_worth_nothing_once_its_job_has_ended(
    platform: Platform, inside: int, python: Python
) -> None:
    job = platform.run(inside, "inside", n=python.bin.parent.name)
    token = platform.items(job["id"])[1]["auth"]
    assert bytes.fromhex(token).decode().startswith(f"{job['id']}:")
    code = """
    from scrapinghub import ScrapinghubClient
    thief = ScrapinghubClient(token, endpoint=URL, dash_endpoint=f"{URL}/api/")
    project, job = thief.get_project(key.split("/")[0]), thief.get_job(key)
    found = []
    for call in (job.metadata.list, job.items.list, lambda: job.metadata.set("a", 1), project.collections.list, project.frontiers.list,
                 lambda: project.collections.get_store("inside").set({"_key": "late"}), thief.projects.list):
        try:
            call()
        except Exception as error:
            found.append(type(error).__name__)
    return found
    """
    assert python(code, token=token, key=job["id"]) == ["Unauthorized"] * 7


def test_a_script_uses_the_platform(platform: Platform, inside: int) -> None:
    key = platform.run_json(inside, "py:script.py", add_tag=["s"])
    assert platform.wait(key)["close_reason"] == "no_reason", platform.log_of(key)
    said = next(line for line in platform.log_of(key).splitlines() if "SAW {" in line)
    check(json.loads(said.partition("SAW ")[2]), "py:script.py", ["s"], {"by": "script"})
    assert platform.items(key) == [{"by": "script"}]


def test_the_client_that_the_entrypoint_holds(platform: Platform, inside: int) -> None:
    job = platform.run(inside, "hsref")
    (item,) = platform.items(job["id"])
    del item["_type"]
    assert item == {"job": job["id"], "spider": "hsref", "collection": "cs/Pages", "pages": ["first"]}


def test_a_script_manages_other_jobs(platform: Platform, inside: int) -> None:
    key = platform.run_json(inside, "py:manager.py", environment={"SH_APIKEY": KEY})
    until(lambda: platform.job(key)["state"] == "finished", 60)
    assert "MANAGED [('finished', '0', 3), ('finished', '1', 3)]" in platform.log_of(key)
    assert platform.job(key)["tags"] == ["managed"]
