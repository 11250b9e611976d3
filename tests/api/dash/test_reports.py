"""reports/*: stored, replaced, read back (contract 4.9)."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.keys import JobKey
from app.models import Report
from app.services import jobs, reports
from tests.factories import at_once, change, everything, finished_job, make_job, make_project


def add(client: TestClient, content: Any = "text", **data: Any) -> tuple[int, Any]:
    given = {"project": 1, "key": "k", "content": content, **data}
    answer = client.post(
        "/api/reports/add.json", data={name: each for name, each in given.items() if each is not None}
    )
    return answer.status_code, answer.json()


def listed(client: TestClient, **params: Any) -> list[Any]:
    answer = client.get("/api/reports/list.json", params={"project": 1, **params}).json()
    assert (answer["status"], answer["count"]) == ("ok", len(answer["reports"]))
    return [(each["job"], each["key"], each["content"]) for each in answer["reports"]]


def test_as_the_client_sends_it(client: TestClient) -> None:
    key = str(make_job())
    data = {"project": "1", "job": key, "key": "quality", "content_type": "text/x-rst"}
    answer = client.post(
        "/api/reports/add.json", data=data, files={"content": ("report", "é\n==\n".encode())}
    )
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    found = client.get("/api/reports/list.json", params={"project": 1, "job": key}).json()["reports"]
    assert len(found.pop()["created"]) == len("2024-01-01T00:00:00")
    assert listed(client) == [(key, "quality", "é\n==\n")]


def test_the_same_key_of_the_same_job_is_replaced(client: TestClient) -> None:
    one, other = str(make_job()), str(make_job())
    for job in (one, other, None, one, None):
        assert add(client, f"of {job}, before", job=job)[0] == 200
        assert add(client, f"of {job}", job=job, content_type="text/x-rst") == (200, {"status": "ok"})
    add(client, "another", job=one, key="k2")
    assert listed(client) == [
        (one, "k", f"of {one}"), (other, "k", f"of {other}"), (None, "k", "of None"), (one, "k2", "another"),
    ]  # fmt: skip
    assert listed(client, job=other) == [(other, "k", f"of {other}")]


@pytest.mark.parametrize("about_a_job", [True, False])
def test_of_many_at_once_one_is_left(client: TestClient, about_a_job: bool) -> None:
    key = make_job()

    def put(n: int) -> None:
        with db.transaction() as session:
            reports.put(session, 1, key if about_a_job else None, "k", "text/plain", str(n))

    assert at_once(8, put) == [None] * 8
    with db.reading() as session:
        assert session.query(Report).count() == 1


def test_another_project_has_its_own(client: TestClient) -> None:
    make_project(2)
    add(client, "one")
    add(client, "two", project=2)
    assert (listed(client), listed(client, project=2)) == ([(None, "k", "one")], [(None, "k", "two")])


def test_pages(client: TestClient) -> None:
    for n in range(4):
        add(client, str(n), key=str(n))
    pages = [{"count": 2}, {"count": 2, "offset": 3}, {"count": -3}, {"count": -9}, {"count": 0}]
    found = [[content for _, _, content in listed(client, **page)] for page in pages]
    assert found == [["0", "1"], ["3"], ["1", "2", "3"], ["0", "1", "2", "3"], []]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"content": ""}, "missing 'content' argument"),
        ({"content": None}, "missing 'content' argument"),
        ({"job": ""}, "invalid value for job: empty"),
        ({"key": ""}, "missing 'key' argument"),
        ({"content_type": "text/html"}, "invalid value for content_type: text/html"),
        ({"content": "é" * 140_000}, "invalid value for content: longer than 262144 bytes"),
        ({"job": "2/1/1"}, "invalid value for job: 2/1/1 is not a job of project 1"),
        ({"job": ["1/1/1", "1/1/2"]}, "invalid value for job: given more than once"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(client: TestClient, data: dict[str, Any], message: str) -> None:
    before = everything()
    assert add(client, **{"content": "x", **data}) == (400, {"status": "badrequest", "message": message})
    assert everything() == before


@pytest.mark.parametrize(
    ("data", "what"), [(b"a\0b", "NUL character"), (b"\xff", "not UTF-8"), (b"x" * 262_145, "longer than")]
)
def test_a_file_that_is_no_text(client: TestClient, data: bytes, what: str) -> None:
    before = everything()
    answer = client.post(
        "/api/reports/add.json", data={"project": 1, "key": "k"}, files={"content": ("report", data)}
    )
    assert (answer.status_code, answer.json()["message"][:27]) == (400, "invalid value for content: ")
    assert what in answer.json()["message"]
    assert everything() == before


def delete(key: JobKey) -> None:
    with db.transaction() as session:
        assert jobs.delete(session, [key], "admin") == 1


def test_unknown_and_deleted_jobs(client: TestClient) -> None:
    unknown = {"status": "error", "message": "unknown job: 1/1/9"}
    assert add(client, job="1/1/9") == (404, unknown)
    answer = client.get("/api/reports/list.json", params={"project": 1, "job": "1/1/9"})
    assert (answer.status_code, answer.json()) == (404, unknown)
    key = finished_job()
    add(client, "kept", job=str(key))
    delete(key)
    assert add(client, job=str(key)) == (400, {"status": "error", "message": f"job {key} is deleted"})
    # What is there is still read by its key, but no list shows it.
    assert (listed(client), listed(client, job=str(key))) == ([], [(str(key), "k", "kept")])


def test_the_time_is_that_of_the_text(client: TestClient) -> None:
    key = make_job()
    add(client, job=str(key))
    with db.transaction() as session:
        session.query(Report).update({"created_time": 0})
    change(key, priority=3)
    add(client, "newer", job=str(key))
    found = client.get("/api/reports/list.json", params={"project": 1}).json()["reports"]
    assert found[0]["created"] > "2020"
