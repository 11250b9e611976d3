"""activity/*: what happened in projects (contract 6.22)."""

import tracemalloc
from itertools import islice
from typing import Any

import orjson
import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from app import db
from app.models import Activity
from app.services import activity
from tests.factories import everything, finish, make_job, make_key, make_project, running_job


def add(client: TestClient, *values: Any, project: int = 1) -> None:
    answer = client.post(f"/activity/{project}", content=b"\n".join(map(orjson.dumps, values)))
    assert (answer.status_code, answer.content) == (200, b""), answer.text


def read(client: TestClient, path: str = "1", **params: Any) -> list[Any]:
    answer = client.get(f"/activity/{path}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
    assert not answer.text or answer.text.endswith("\n")
    return [orjson.loads(line) for line in answer.text.splitlines()]


def test_the_most_recent_event_comes_first(client: TestClient) -> None:
    assert read(client) == []
    add(client, {"n": 1}, {"n": 2, "é": [None, {}]})
    add(client)
    add(client, {"n": 3}, {})
    assert read(client, "1/") == [{}, {"n": 3}, {"n": 2, "é": [None, {}]}, {"n": 1}]
    assert read(client, count=1) == [{}]
    assert read(client, count=0) == []
    answer = client.get("/activity/1", params={"format": "json", "count": 2})
    assert (answer.json(), answer.headers["content-type"].split(";")[0]) == (
        [{}, {"n": 3}],
        "application/json",
    )
    assert client.get("/activity/1", params={"format": "csv"}).status_code == 400


def test_the_platform_adds_what_its_jobs_do(client: TestClient) -> None:
    job = running_job()
    add(client, {"mine": 1})
    assert read(client, count=1) == [{"mine": 1}]
    finish(job)
    assert read(client) == [
        {"event": "job:completed", "job": str(job.key), "user": "jobrunner"}, {"mine": 1},
        {"event": "job:started", "job": str(job.key), "user": "jobrunner"},
        {"event": "job:scheduled", "job": str(job.key), "user": "admin"},
    ]  # fmt: skip


def test_a_name_is_written_as_json(client: TestClient) -> None:
    client.auth = (make_key('a "b" \\ é', projects=[1]), "")
    client.post("/api/schedule.json", data={"project": 1, "spider": "quotes"})
    assert read(client)[0]["user"] == 'a "b" \\ é'


def test_filters(client: TestClient) -> None:
    add(client, *({"n": n, "kind": "ab"[n % 2]} for n in range(6)))
    assert [each["n"] for each in read(client, filter='["kind", "=", ["a"]]')] == [4, 2, 0]
    assert [each["n"] for each in read(client, filter='["kind", "=", ["a"]]', count=2)] == [4, 2]
    both = ['["kind", "=", ["a"]]', '["n", "<", [4]]']
    assert [each["n"] for each in read(client, filter=both)] == [2, 0]
    assert client.get("/activity/1", params={"filter": "x"}).status_code == 400


def test_events_with_their_time(client: TestClient) -> None:
    now = client.get("/system/ts").json()
    add(client, {"n": 1}, {}, {"_ts": 5})
    found = client.get("/activity/1", params={"meta": "_ts"}).text.splitlines()
    moment = orjson.loads(found[1])["_ts"]
    assert now <= moment < now + 60_000
    assert found == [f'{{"_ts":5,"_ts":{moment}}}', f'{{"_ts":{moment}}}', f'{{"n":1,"_ts":{moment}}}']


def test_several_projects(client: TestClient) -> None:
    for project in (2, 3):
        make_project(project)
    for n in range(6):
        add(client, {"n": n}, project=n % 3 + 1)
    add(client, {"n": 6})
    assert [each["n"] for each in read(client, "projects", p=[1, 2])] == [6, 4, 3, 1, 0]
    assert [each["n"] for each in read(client, "projects")] == [6, 5, 4, 3, 2, 1, 0]
    assert [each["n"] for each in read(client, "projects", pcount=1)] == [6, 5, 4]
    assert [each["n"] for each in read(client, "projects", pcount=1, count=2)] == [6, 5]
    assert read(client, "projects", p=2, meta=["_project", "_ts"], count=1)[0]["_project"] == 2
    assert [each["n"] for each in read(client, "projects", pcount=1, filter='["n", "<", [3]]')] == [2, 1, 0]
    assert read(client, "projects", pcount=0) == read(client, "projects", count=0) == []


def test_a_key_sees_its_own_projects(client: TestClient) -> None:
    for project in (2, 3):
        make_project(project)
        add(client, {"n": project}, project=project)
    client.auth = (make_key(projects=[3]), "")
    assert read(client, "projects") == read(client, "3") == [{"n": 3}]
    for path in ("projects?p=3&p=2", "2", "projects?p=9"):
        assert client.get(f"/activity/{path}").status_code == 403
    client.auth = (make_key("nobody"), "")
    assert read(client, "projects") == []


@pytest.mark.parametrize("line", [b"5", b"[]", b"null", b"{", b'{"a": "x', b"\xff"])
def test_what_is_no_event(client: TestClient, line: bytes) -> None:
    before = everything()
    answer = client.post("/activity/1", content=b'{"good": 1}\n' + line)
    assert (answer.status_code, answer.text[:18], everything()) == (400, "Error parsing data", before)


def test_an_event_has_a_limit(client: TestClient) -> None:
    add(client, {"a": "x" * 1_000_000})
    assert client.post("/activity/1", content=orjson.dumps({"a": "x" * 1_100_000})).status_code == 413
    assert len(read(client)) == 1


@pytest.mark.parametrize(
    "params", [{"count": "x"}, {"count": -1}, {"p": "x"}, {"p": "0"}, {"pcount": "x"}], ids=str
)
def test_parameters_that_cannot_be(client: TestClient, params: dict[str, Any]) -> None:
    assert client.get("/activity/projects", params=params).status_code == 400


@pytest.mark.parametrize("path", ["1", "projects", "2"])
def test_strangers_and_jobs_may_not(client: TestClient, path: str) -> None:
    job = running_job()
    for auth, status in ((("", ""), 401), ((str(job.key), "x"), 401), ((str(job.key), job.token), 403)):
        for method in ("GET", "POST")[: 1 + (path != "projects")]:
            assert client.request(method, f"/activity/{path}", content=b"{", auth=auth).status_code == status


def fill(number: int, text: str = "", project: int = 1) -> None:
    """Events written directly, by the thousand."""
    rows = [{"project_id": project, "time": n, "event": f'{{"n":{n},"t":"{text}"}}'} for n in range(number)]
    with db.transaction() as session:
        session.execute(insert(Activity), rows)


@pytest.mark.parametrize("projects", [1, 3])
def test_thousands_of_events_keep_their_order(client: TestClient, projects: int) -> None:
    for project in range(2, projects + 1):
        make_project(project)
    for _ in range(3):
        for project in range(1, projects + 1):
            fill(750, project=project)
    with db.reading() as session:
        wanted = [found.id for found in session.query(Activity).order_by(Activity.id.desc())]  # type: ignore[union-attr]
    assert [each.id for each in activity.newest(range(1, projects + 1))] == wanted
    assert len(read(client, "projects")) == len(wanted)


def test_memory_does_not_grow_with_the_log(database: str) -> None:
    def peak(events: int) -> int:
        tracemalloc.start()
        for _ in islice(activity.newest([1]), events):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    fill(4000, "x" * 5000)
    peak(10)
    few, many = peak(400), peak(4000)
    assert many < few * 1.5, (few, many)


def test_events_that_come_meanwhile_are_not_seen_twice(database: str) -> None:
    fill(2500)
    events = activity.newest([1])
    first = [next(events).id for _ in range(10)]
    make_job()
    found = first + [each.id for each in events]
    assert found == sorted(set(found), reverse=True)
    assert len(found) == 2500
