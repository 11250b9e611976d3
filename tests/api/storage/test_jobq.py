"""jobq/*: pushing and starting jobs (contract 6.8, 6.9)."""

import gzip
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from app import db
from app.services import projects
from tests.api.storage.queue import events, lines, meta, push, refused, send, stored
from tests.factories import claim, make_job, make_project, make_version

# Conversations that were recorded (contract, App. D)


def test_a_cycle_of_the_queue(client: TestClient) -> None:
    assert lines(client, "push", {"spider": "quotes"}) == [{"key": "1/1/1", "auth": None}]
    assert client.get("/jobs/1/1/1/auth").json() is None
    for state, before in (("running", "pending"), ("finished", "running"), ("deleted", "finished")):
        answer = lines(client, "update", {"key": "1/1/1", "state": state})
        assert answer == [{"key": "1/1/1", "prevstate": before}]
        assert meta(client, "1/1/1")["state"] == state
    assert events() == ["scheduled", "started", "completed", "deleted"]


def test_a_job_that_is_cancelled(client: TestClient) -> None:
    key = client.post("/api/run.json", data={"project": 1, "spider": "quotes", "add_tag": "a"}).json()[
        "jobid"
    ]
    assert send(client, "cancel", [{"key": key}, {"key": "1/1/51"}]).json() == {"count": 1}
    assert client.get(f"/jobs/{key}/state").json() == "finished"
    assert (stored(key).close_reason, stored(key).cancelled_by) == ("cancelled", "admin")


# Pushing


def test_what_is_known_of_a_pushed_job(client: TestClient) -> None:
    key = push(client)
    found = meta(client, key)
    assert found.pop("pending_time") == found.pop("updated_time") == stored(key).state_time
    assert found == {
        "project": 1, "spider": "quotes", "state": "pending", "priority": 2, "units": 1, "scheduled_by": "admin",
    }  # fmt: skip


def test_fields_of_a_pushed_job_are_metadata(client: TestClient) -> None:
    fields = {
        "priority": 4, "units": 3, "tags": ["b", "a"], "spider_args": {"x": "1"}, "job_cmd": ["py:x.py"], "unique": "u\0é",
        "mine": {"é\0": [None, 1.5, []]}, "none": None, "close_reason": "x", "version": "v", "spider_type": "auto",
    }  # fmt: skip
    key = push(client, **fields, pending_time=5, items=7, auth="x", project=9)
    found = meta(client, key)
    assert {name: found[name] for name in fields} == fields
    assert (
        found["project"] == 1 and found["pending_time"] > 5 and "items" not in found and "auth" not in found
    )
    assert meta(client, push(client, tags=[]))["tags"] == []


@pytest.mark.parametrize(
    ("state", "event", "field"),
    [
        ("pending", "scheduled", "scheduled_by"), ("running", "started", "started_by"),
        ("finished", "completed", "completed_by"), ("deleted", "deleted", "deleted_by"),
    ],
)  # fmt: skip
def test_a_job_is_born_in_any_state(client: TestClient, state: str, event: str, field: str) -> None:
    (made,) = lines(client, "push", {"spider": "quotes", "state": state})
    job = stored(made["key"])
    assert (job.state, events(), getattr(job, field)) == (state, [event], "admin")
    assert [
        name for name in ("pending", "running", "finished", "deleted") if getattr(job, f"{name}_time")
    ] == [state]
    assert made["auth"] == job.token
    assert (job.token is not None) == (state == "running")
    assert job.lease_time is job.task_id is None


def test_a_new_name_is_numbered_but_no_spider_of_the_project(client: TestClient) -> None:
    made = lines(client, "push", {"spider": "b"}, {"spider": "a"}, {"spider": "quotes"}, {"spider": "b"})
    assert [each["key"] for each in made] == ["1/3/1", "1/2/1", "1/1/1", "1/3/2"]
    assert push(client, spider="c é") == "1/4/1"
    listed = client.get("/api/spiders/list.json", params={"project": 1}).json()["spiders"]
    assert [each["id"] for each in listed] == ["quotes"]
    answer = client.post("/api/schedule.json", data={"project": 1, "spider": "b"})
    assert answer.json()["message"] == "Spider not found: b"
    make_version("1", ["b", "quotes"])
    assert client.post("/api/schedule.json", data={"project": 1, "spider": "b"}).json()["jobid"] == "1/3/3"


def test_our_workers_run_pushed_jobs_of_deployed_spiders_alone(
    client: TestClient, sent: list[tuple[str, int]]
) -> None:
    push(client, spider="other", priority=4)
    key = push(client, priority=1, spider_args={"a": "1"})
    job = claim()
    assert job is not None
    assert (str(job.key), job.args, sent, claim()) == (key, {"a": "1"}, [("run_job", 3)], None)


def test_a_unique_name_is_free_again_when_the_job_has_ended(client: TestClient) -> None:
    one = {"spider": "quotes", "unique": "h1", "n": 1}
    again = {"request": one, "error": "Active job exists with key h1"}
    key = lines(client, "push", one)[0]["key"]
    assert lines(client, "push", one) == [again]
    lines(client, "update", {"key": key, "state": "running"})
    assert lines(
        client, "push", one, {"spider": "other", "unique": "h1"}, {"spider": "quotes", "unique": "h2"}
    ) == [
        again,
        {"request": {"spider": "other", "unique": "h1"}, "error": "Active job exists with key h1"},
        {"key": "1/1/4", "auth": None},  # refused ones have used up their numbers
    ]
    lines(client, "update", {"key": key, "state": "finished"})
    assert lines(client, "push", one) == [{"key": "1/1/5", "auth": None}]
    assert events() == ["scheduled", "started", "scheduled", "completed", "scheduled"]


def test_without_a_unique_name_nothing_is_refused(client: TestClient) -> None:
    client.post("/api/run.json", data={"project": 1, "spider": "quotes"})
    made = lines(
        client, "push", {"spider": "quotes"}, {"spider": "quotes", "unique": None}, {"spider": "quotes"}
    )
    assert [each["key"] for each in made] == ["1/1/2", "1/1/3", "1/1/4"]
    make_project(2)
    body = orjson.dumps({"spider": "quotes", "unique": "h"})
    answers = [client.post(f"/jobq/{project}/push", content=body).json() for project in (1, 2)]
    assert [each.get("key") for each in answers] == ["1/1/5", "2/1/1"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "missing 'spider' argument"), ({"spider": ""}, "missing 'spider' argument"),
        ({"spider": 5}, "invalid value for spider: not a text"), ({"spider": "x" * 256}, "invalid value for spider: "),
        ({"spider": "a\0"}, "invalid value for spider: "), ({"spider": "a", "state": "done"}, "invalid value for state: done"),
        ({"spider": "a", "state": 1}, "invalid value for state: "), ({"spider": "a", "priority": 5}, "invalid value for priority: "),
        ({"spider": "a", "priority": "2"}, "invalid value for priority: "), ({"spider": "a", "tags": "x"}, "invalid value for tags: "),
        ({"spider": "a", "unique": 5}, "invalid value for unique: not a text"), ([], "Error parsing data, line 2 is not a JSON object"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_line_takes_all_others_with_it(client: TestClient, wrong: Any, message: str) -> None:
    assert refused(client, "push", {"spider": "new"}, wrong).startswith(message)


def test_bodies_of_every_kind(client: TestClient) -> None:
    assert lines(client, "push") == []
    packed = gzip.compress(b'{"spider": "quotes"}\n\n{"spider": "quotes"}\n')
    answer = client.post("/jobq/1/push/", content=packed, headers={"content-encoding": "gzip"})
    assert len(answer.text.splitlines()) == 2
    answer = client.post(
        "/jobq/1/push", content=b'{"spider": "quotes"}', headers={"accept": "application/json"}
    )
    assert answer.json() == [{"key": "1/1/3", "auth": None}]
    assert client.post("/jobq/1/push", content=b"{").status_code == 400
    assert "10000 jobs" in refused(client, "push", *[{"spider": "quotes"}] * 10_001, status=413)


# Starting


def test_a_started_job(client: TestClient) -> None:
    key = push(client, mine=1)
    answer = send(client, "startjob", {"host": "h", "mine": 2})
    assert answer.headers["content-type"].startswith("application/json")
    found, job = answer.json(), stored(key)
    assert (found["key"], found["auth"], found["state"], found["host"], found["mine"]) == (
        key,
        job.token,
        "running",
        "h",
        2,
    )
    assert (found["started_by"], found["running_time"], found["_shub_worker"]) == (
        "admin",
        job.state_time,
        "kumo",
    )
    assert {name: each for name, each in found.items() if name not in ("key", "auth")} == meta(client, key)
    assert job.lease_time is job.task_id is job.worker is None
    assert client.post(f"/items/{key}", content=b'{"a": 1}', auth=(key, found["auth"])).status_code == 200


def test_the_highest_priority_is_started_first_then_the_oldest(client: TestClient) -> None:
    make_project(2)
    make_job(project=2, priority=4)
    keys = [
        push(client, spider=spider, priority=priority)
        for spider, priority in (("a", 2), ("b", 0), ("a", 3), ("quotes", 2))
    ]
    order = [send(client, "startjob", {}).json()["key"] for _ in keys]
    assert order == [keys[2], keys[0], keys[3], keys[1]]
    answer = send(client, "startjob", {})
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_botgroup_that_the_project_does_not_name_gets_nothing(client: TestClient) -> None:
    push(client)
    push(client)
    assert send(client, "startjob", {"botgroup": "g1"}).content == b""
    with db.transaction() as session:
        projects.set_settings(session, 1, {"botgroups": ["g1", "g2"]}, "somebody")
    assert send(client, "startjob", {"botgroup": "g3"}).content == b""
    assert send(client, "startjob", {"botgroup": "g2"}).json()["key"] == "1/1/1"
    assert send(client, "startjob", {"botgroup": None}).json()["key"] == "1/1/2"
    assert refused(client, "startjob", {"botgroup": 1}) == "invalid value for botgroup: not a text"


def test_a_wrong_field_starts_nothing(client: TestClient) -> None:
    push(client)
    assert refused(client, "startjob", {"tags": 1}).startswith("invalid value for tags: ")
    assert refused(client, "startjob", []) == "Error parsing data, not a JSON object"
