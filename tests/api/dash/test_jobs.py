"""jobs/*: list, count, update, stop, delete (contract 3.3-3.7, 4.2)."""

import json
import re
from typing import Any

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from app import db
from app.models import Job, Kind
from app.services import joblist
from tests.factories import (
    append,
    batch,
    change,
    everything,
    finish,
    finished_job,
    log_entry,
    make_job,
    make_project,
    make_version,
    row,
    running_job,
    states,
)


def get(client: TestClient, path: str = "list.json", **params: Any) -> Any:
    answer = client.get(f"/api/jobs/{path}", params={"project": 1, **params})
    assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.text
    return answer.json()


def post(client: TestClient, path: str, **data: Any) -> Any:
    answer = client.post(f"/api/jobs/{path}", data={"project": 1, **data})
    return answer.status_code, answer.json()


def ids(client: TestClient, **params: Any) -> list[str]:
    """Keys of the jobs that both forms of the list answer."""
    answer = get(client, **params)
    found = [each["id"] for each in answer["jobs"]]
    assert answer["count"] == answer["total"] == len(found)
    lines = client.get("/api/jobs/list.jl", params={"project": 1, **params}).text.splitlines()
    assert json.loads(lines[0]) == {"status": "ok", "count": len(found), "total": len(found)}
    assert [json.loads(line)["id"] for line in lines[1:]] == found
    return found


def test_a_pending_job(client: TestClient) -> None:
    make_version("7")
    key = make_job(args={"a": "1"}, tags=["t2", "t1"], priority=3)
    change(key, touched_time=row(key).touched_time - 5000)
    found = get(client)["jobs"][0]
    assert 5000 <= found.pop("elapsed") < 60_000
    assert found == {
        "id": str(key), "state": "pending", "spider": "quotes", "spider_type": "manual", "spider_args": {"a": "1"},
        "priority": 3, "tags": ["t2", "t1"], "version": "7", "items_scraped": 0, "errors_count": 0,
        "responses_received": 0, "logs": 0,
    }  # fmt: skip


def test_a_finished_job(client: TestClient) -> None:
    job = running_job(args={})
    logs = [log_entry("a")] * 3
    append(job, batch(Kind.ITEMS, [1, 2]), batch(Kind.REQUESTS, [1]), batch(Kind.LOGS, logs))
    finish(job)
    found = get(client)["jobs"][0]
    assert (found["state"], found["close_reason"], found["spider_args"]) == ("finished", "finished", {})
    assert (found["items_scraped"], found["responses_received"], found["logs"]) == (2, 1, 3)
    moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
    assert moment.fullmatch(found["started_time"]) and moment.fullmatch(found["updated_time"])
    assert "version" not in found


def test_both_forms_show_the_same_job(client: TestClient) -> None:
    make_job(args={"a": "é\n"}, tags=["x"])
    answer = client.get("/api/jobs/list.jl", params={"project": 1})
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
    line = json.loads(answer.text.splitlines()[1])
    assert line | {"elapsed": 0} == get(client)["jobs"][0] | {"elapsed": 0}


def test_nothing_to_list(client: TestClient) -> None:
    assert get(client) == {"status": "ok", "count": 0, "total": 0, "jobs": []}
    make_job()
    for nothing in ({"job": "1/1/99"}, {"spider": "other"}, {"has_tag": "x"}, {"offset": 1}, {"count": 0}):
        assert ids(client, **nothing) == []


def test_the_newest_comes_first_and_negative_counts_are_the_last(client: TestClient) -> None:
    made = [str(make_job()) for _ in range(5)][::-1]
    assert ids(client) == made
    assert ids(client, count=2) == made[:2]
    assert ids(client, count=2, offset=2) == made[2:4]
    assert ids(client, count=-2) == made[-2:]
    assert ids(client, count=-9) == made


def test_filters(client: TestClient) -> None:
    make_version("1", ["quotes", "books"])
    done = str(finished_job(tags=["consumed"]))
    book, both = str(make_job("books", tags=["a"])), str(make_job(tags=["a", "b"]))
    assert ids(client, spider="books") == [book]
    assert ids(client, state="finished", count=10) == [done]
    assert ids(client, state=["finished", "pending"], has_tag=["b", "consumed"]) == [both, done]
    assert ids(client, lacks_tag=["consumed", "b"]) == [book]
    assert ids(client, job=[done, "1/1/99", both]) == [done, both]
    assert ids(client, job_id=done) == [done]
    assert ids(client, job=[done, both, book], count=-1) == [book]


def test_deleted_jobs_are_seen_by_who_asks_for_them(client: TestClient) -> None:
    gone = str(finished_job())
    post(client, "delete.json", job=gone)
    assert ids(client) == []
    assert ids(client, state="deleted") == [gone]
    assert get(client, "count.json")["total"] == 0


def test_count_ignores_the_page(client: TestClient) -> None:
    for n in range(3):
        make_job(tags=[str(n % 2)])
    assert get(client, "count.json") == {"status": "ok", "total": 3}
    assert get(client, "count.json", has_tag="0", count=1, offset=1) == {"status": "ok", "total": 2}


def many(number: int, moments: int) -> None:
    """Rows written directly: jobs by the thousand, with ``moments`` different times."""
    common = {"project_id": 1, "spider_id": 1, "state": "finished", "updated_time": 1, "touched_time": 1}
    rows = [{**common, "number": n, "state_time": n % moments} for n in range(1, number + 1)]
    with db.transaction() as session:
        session.execute(insert(Job), rows)


@pytest.mark.parametrize("moments", [1, 3, 5000])
def test_thousands_of_jobs_stream_in_order(client: TestClient, moments: int) -> None:
    many(3456, moments)
    lines = client.get("/api/jobs/list.jl", params={"project": 1, "offset": 7}).text.splitlines()
    found = [int(json.loads(line)["id"].split("/")[2]) for line in lines[1:]]
    order = sorted(range(1, 3457), key=lambda n: (n % moments, n), reverse=True)
    assert found == order[7:]
    assert json.loads(lines[0])["count"] == 3449


def test_one_json_answer_has_100_jobs_or_1000_when_asked(client: TestClient) -> None:
    many(1200, 1)
    assert [get(client, **params)["count"] for params in ({}, {"count": 5000}, {"count": -5000})] == [
        100,
        1000,
        1000,
    ]
    assert get(client, count=-5000)["jobs"][-1]["id"] == "1/1/1"


def test_tags_of_one_job(client: TestClient) -> None:
    key = make_job(tags=["a1", "a2"])
    assert post(client, "update.json", job=str(key), add_tag="b", remove_tag="a2") == (
        200,
        {"status": "ok", "count": 1},
    )
    assert get(client)["jobs"][0]["tags"] == ["a1", "b"]


def test_tags_of_a_selection(client: TestClient) -> None:
    for _ in range(3):
        finished_job(tags=["old"])
    make_job(tags=["old"])
    answer = post(
        client, "update.json", state="finished", has_tag="old", add_tag=["z", "a", "z"], remove_tag="old"
    )
    assert answer == (200, {"status": "ok", "count": 3})
    assert [each["tags"] for each in get(client)["jobs"]] == [["old"], *[["z", "a"]] * 3]


def test_tags_of_a_page(client: TestClient) -> None:
    made = [str(make_job()) for _ in range(4)]
    for params in ({"count": 1, "add_tag": "newest"}, {"count": -1, "add_tag": "oldest"}):
        assert post(client, "update.json", spider="quotes", **params)[1]["count"] == 1
    assert (ids(client, has_tag="newest"), ids(client, has_tag="oldest")) == ([made[3]], [made[0]])


def test_an_update_that_ends_in_the_middle_can_be_repeated(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_job(tags=["old"]) for _ in range(5)]
    monkeypatch.setattr(joblist, "PORTION", 2)
    work, left = joblist.update_tags, iter([True])
    monkeypatch.setattr(joblist, "update_tags", lambda *args: work(*args) if next(left) else False)
    assert post(client, "update.json", has_tag="old", add_tag="new")[0] == 500
    monkeypatch.setattr(joblist, "update_tags", work)
    assert ids(client, has_tag="new") == [str(key) for key in made[:2:-1]]
    assert post(client, "update.json", has_tag="old", add_tag="new")[1]["count"] == 5
    assert [job["tags"] for job in get(client)["jobs"]] == [["old", "new"]] * 5


def test_update_needs_filters_and_tags_in_that_order(client: TestClient) -> None:
    key = make_job()
    before = everything()
    for data, message in (
        ({}, "No query filters provided"),
        ({"add_tag": "x"}, "No query filters provided"),
        ({"count": 1, "add_tag": "x"}, "No query filters provided"),
        ({"job": str(key)}, "No update modifiers provided"),
        ({"project": 2}, "User 'admin' doesn't have access to project 2"),
    ):
        assert post(client, "update.json", **data) == (400, {"status": "badrequest", "message": message})
    assert everything() == before


def test_update_of_unknown_jobs_counts_none(client: TestClient) -> None:
    make_job()
    for wanted in ({"job": "1/1/99"}, {"spider": ""}, {"spider": "other"}, {"has_tag": "x"}):
        assert post(client, "update.json", add_tag="y", **wanted) == (200, {"status": "ok", "count": 0})


def test_stop(client: TestClient, revoked: list[list[str]]) -> None:
    running = running_job()
    pending, ended = make_job(), finished_job()
    keys = [str(key) for key in (running.key, pending, ended)]
    assert post(client, "stop.json", job=[*keys, "1/1/99"]) == (200, {"status": "ok"})
    assert [states()[key] for key in keys] == ["running", "finished", "finished"]
    assert (row(pending).close_reason, row(running.key).cancelled_by, revoked) == (
        "cancelled",
        "admin",
        [["task"]],
    )


def test_delete(client: TestClient) -> None:
    running = running_job()
    pending, ended = make_job(), finished_job()
    keys = [str(key) for key in (running.key, pending, ended)]
    assert post(client, "delete.json", job=[*keys, "1/1/99"]) == (200, {"status": "ok", "count": 2})
    assert [states()[key] for key in keys] == ["running", "deleted", "deleted"]
    assert post(client, "delete.json", job="1/1/99") == (200, {"status": "ok", "count": 0})


@pytest.mark.parametrize("path", ["stop.json", "delete.json"])
def test_stop_and_delete_need_a_job(client: TestClient, path: str) -> None:
    make_job()
    assert post(client, path) == (400, {"status": "badrequest", "message": "missing 'job' argument"})
    assert list(states().values()) == ["pending"]


@pytest.mark.parametrize("path", ["stop.json", "delete.json", "update.json"])
def test_a_job_of_another_project_is_refused_with_all_others(client: TestClient, path: str) -> None:
    make_project(2)
    mine, other = make_job(), make_job(project=2)
    before = everything()
    status, answer = post(client, path, job=[str(mine), str(other)], add_tag="x")
    assert (status, answer["message"]) == (400, "invalid value for job: 2/1/1 is not a job of project 1")
    assert everything() == before


def test_as_many_parameters_as_the_database_takes(client: TestClient) -> None:
    key = make_job()
    names = [f"1/1/{n}" for n in range(1, 9000)]
    assert post(client, "update.json", job=names, add_tag="x") == (200, {"status": "ok", "count": 1})
    assert row(key).touched_time
    status, answer = post(client, "update.json", job=names, has_tag=["x"] * 9000, add_tag="y")
    assert (status, answer["message"]) == (400, "more than 10000 parameters")
