"""What is not supported, who is let in where, bodies of PUT, PATCH and DELETE, and deleted jobs."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.models import Kind
from app.services import jobs, records
from app.settings import settings
from tests.api.dash.bad import ALL_CALLS, CALLS
from tests.factories import (
    append,
    batch,
    everything,
    finish,
    job_with_items,
    log_entry,
    make_key,
    make_project,
    row,
    running_job,
)
from tests.platform import KEY

WRONG = {"status": "error", "message": "Authentication failed"}
FORM = "application/x-www-form-urlencoded"
IMAGES = "container images are not supported: deploy the project's code with `shub deploy`"

# What the platform has no use for: it is on no page of the API, but clients know it.
UNSUPPORTED = [
    ("GET", "/as/project-slybot.zip"), ("GET", "/as/spider-properties.json"), ("POST", "/as/spider-properties.json"),
    ("POST", "/releases/deploy.json"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), UNSUPPORTED)
def test_what_is_not_supported_is_said(client: TestClient, method: str, path: str) -> None:
    before = everything()
    given = {"spider": "quotes", "start_url": "http://a.example/", "version": "1", "image_url": "a/b:c"}
    answer = client.request(method, f"/api{path}", params={"project": 1, **given})
    if path.startswith("/releases/"):
        assert (answer.status_code, answer.json()) == (400, {"non_field_errors": [IMAGES]})
    else:
        assert (answer.status_code, answer.json()["status"]) == (400, "error")
        assert "not supported" in answer.json()["message"]
    assert everything() == before


@pytest.mark.parametrize(("method", "path"), [*UNSUPPORTED, ("GET", "/settings/get.json")])
def test_authentication_and_access_come_first(client: TestClient, method: str, path: str) -> None:
    make_project(2)
    client.auth = (make_key("guest", projects=[2]), "")
    for project, message in (("1", "User 'guest' doesn't have access to project 1"), ("x", "invalid value for project: x"), ("", "missing 'project' argument")):  # fmt: skip
        answer = client.request(method, f"/api{path}", params={"project": project})
        envelope = {"status": "badrequest", "message": message}
        wanted = {"non_field_errors": [message]} if path.startswith("/releases/") else envelope
        assert (answer.status_code, answer.json()) == (400, wanted)
    client.auth = ("f" * 32, "")
    answer = client.request(method, f"/api{path}", params={"project": "1"})
    assert (answer.status_code, answer.json()) == (403, WRONG)


def test_the_status_of_a_release(client: TestClient) -> None:
    answer = client.get("/api/releases/deploy/status/1")
    assert (answer.status_code, answer.json()) == (400, {"non_field_errors": [IMAGES]})
    client.auth = None
    assert client.get("/api/releases/deploy/status/1").json() == WRONG


def test_settings_that_a_project_has_not(client: TestClient) -> None:
    answer = client.get("/api/settings/get.json", params={"project": 1})
    nothing = {"project_settings": {}, "organization_settings": {}, "enabled_addons": []}
    assert (answer.status_code, answer.json()) == (200, nothing)


def test_unsupported_calls_are_on_no_page() -> None:
    assert not [path for path in ALL_CALLS if path.startswith(("/as/", "/releases/"))]


# Who is let in

IN_PATHS = {"project": "1", "spider": "1", "job": "1", "place": "0", "comment": "1", "periodic_id": "1"}
OTHERS = [(method.upper(), path) for path in ALL_CALLS.keys() - CALLS.keys() for method in ALL_CALLS[path]]


@pytest.mark.parametrize(("method", "path"), sorted(OTHERS))
def test_nobody_gets_in_without_a_good_key(client: TestClient, method: str, path: str) -> None:
    job = running_job()
    url = "/api" + path.format_map(IN_PATHS)
    strangers: list[Any] = [None, ("f" * 32, ""), ("", KEY), (str(job.key), job.token), (str(job.key), KEY)]
    before = everything()
    for stranger in strangers:
        client.auth = stranger
        answer = client.request(method, url, params={"text": "x", "spider": "", "add": "x"})
        wrong = {"detail": WRONG["message"]} if path.startswith("/v2/") else WRONG
        assert (answer.status_code, answer.json()) == (403, wrong), stranger
    assert everything() == before


@pytest.mark.parametrize(
    ("method", "path"), sorted((method.upper(), path) for path in CALLS for method in CALLS[path])
)
def test_a_job_has_no_access_here(client: TestClient, method: str, path: str) -> None:
    job = running_job()
    before = everything()
    for credentials in ({"auth": (str(job.key), job.token)}, {"params": {"apikey": job.token}, "auth": None}):
        answer = client.request(method, f"/api{path}", **credentials)
        assert (answer.status_code, answer.json()) == (403, WRONG)
    assert everything() == before


V2_CALLS = [
    ("GET", "spiders"), ("GET", "spiders/1"), ("PATCH", "spiders/1/tags"), ("GET", "periodicjobs"), ("POST", "jobs"),
    ("POST", "periodicjobs"), *((method, "periodicjobs/1") for method in ("GET", "PUT", "PATCH", "DELETE")),
    ("POST", "periodicjobs/1/run"), ("GET", "periodicjobs/1/runs"), ("GET", "periodicjobs/1/next"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), V2_CALLS)
def test_projects_of_others_in_v2(client: TestClient, method: str, path: str) -> None:
    make_project(2)
    client.auth = (make_key("guest", projects=[2]), "")
    before = everything()
    for project in (1, 7):
        answer = client.request(
            method, f"/api/v2/projects/{project}/{path}", params={"add": "x", "spider": "quotes"}
        )
        body = {"detail": f"User 'guest' doesn't have access to project {project}"}
        assert (answer.status_code, answer.json()) == (403, body)
    answer = client.request(method, f"/api/v2/projects/x/{path}")
    assert (answer.status_code, answer.json()) == (
        400,
        {"non_field_errors": ["invalid value for project: x"]},
    )
    assert everything() == before


def test_wrong_methods_and_paths_in_v2(client: TestClient) -> None:
    answer = client.put("/api/v2/projects/1/spiders/1/tags")
    assert (answer.status_code, answer.json()) == (405, {"detail": "method PUT is not allowed here"})
    answer = client.get("/api/v2/nothing")
    assert (answer.status_code, answer.json()) == (404, {"detail": "no such path"})
    client.auth = None
    for answer in (client.put("/api/v2/projects/1/spiders/1/tags"), client.get("/api/v2/nothing")):
        assert (answer.status_code, answer.json()) == (403, {"detail": "Authentication failed"})


# Bodies of PUT, PATCH and DELETE

BODIES = [("PUT", "/comments/1"), ("DELETE", "/comments/1"), ("PATCH", "/v2/projects/1/spiders/1/tags")]


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    ("content", "kind", "status", "named"),
    [
        (b"text=%FF&add=%FF", FORM, 400, "not UTF-8"),
        (b"text=%00&add=%00", FORM, 400, "NUL character"),
        (b"text=x&add=x", "text/plain", 400, "unsupported content type: text/plain"),
        (b"text=" + b"x" * (5 << 20), FORM, 413, "larger than 4 MB"),
        (b"&".join([b"a=1"] * 10_001), FORM, 400, "more than 10000 parameters"),
        (b"rubbish", "multipart/form-data; boundary=B", 400, "malformed multipart body"),
        (b"rubbish", "multipart/form-data", 400, "malformed multipart body: no boundary"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bodies_are_read_as_strictly_as_those_of_post(
    client: TestClient, method: str, path: str, content: bytes, kind: str, status: int, named: str
) -> None:
    job = job_with_items([{}])
    assert client.post(f"/api/comments/{job.key}/0", data={"text": "hm"}).json()["id"] == 1
    before = everything()
    request: dict[str, Any] = {"content": content, "headers": {"Content-Type": kind}}
    answer = client.request(method, f"/api{path}", **request)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    client.auth = None
    answer = client.request(method, f"/api{path}", **request)
    assert (answer.status_code, WRONG["message"] in answer.text) == (403, True)
    assert everything() == before


def test_the_key_may_be_in_any_body(client: TestClient) -> None:
    job = job_with_items([{}])
    assert client.post(f"/api/comments/{job.key}/0", data={"text": "hm"}).status_code == 200
    client.auth = None
    answer = client.put("/api/comments/1", files={"text": (None, "é"), "apikey": (None, KEY)})
    assert (answer.status_code, answer.json()["text"]) == (200, "é")
    answer = client.request("DELETE", "/api/comments/1", data={"apikey": KEY})
    assert answer.json() == {"status": "ok"}
    answer = client.patch("/api/v2/projects/1/spiders/1/tags", json={"apikey": KEY, "add": ["x"]})
    assert answer.json()["tags"] == ["x"]


def test_an_upload_by_put_has_the_limit_of_one_by_post(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAWLDOCK_UPLOAD_MB", "1")
    settings.cache_clear()
    answer = client.put("/api/comments/1", files={"text": ("x", b"x" * (2 << 20))})
    body = {"status": "badrequest", "message": "the request body is larger than 1 MB"}
    assert (answer.status_code, answer.json()) == (413, body)


@pytest.mark.parametrize("path", ["/jobs/list.json", "/schedule.json", "/comments/1"])
def test_json_is_for_v2_alone(client: TestClient, path: str) -> None:
    method = {"/schedule.json": "POST", "/comments/1": "PUT"}.get(path, "POST")
    answer = client.request(method, f"/api{path}", json={"project": 1, "spider": "quotes", "text": "x"})
    assert answer.status_code == (405 if path == "/jobs/list.json" else 400)
    assert answer.json()["status"] in ("error", "badrequest")


# Deleted jobs


def read(client: TestClient, key: Any, path: str) -> str:
    params = {"project": 1, "job": str(key), "fields": "n", "include_headers": "0"}
    answer = client.get(f"/api/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_records_of_a_deleted_job_are_read_until_they_are_purged(client: TestClient) -> None:
    job = job_with_items([{"n": 1}])
    append(job, batch(Kind.LOGS, [log_entry("hello")]))
    paths = ["items.json", "items.jl", "items.csv", "log.json", "log.jl", "log.txt"]
    finish(job)
    stored = [read(client, job.key, path) for path in paths]
    with db.transaction() as session:
        assert jobs.delete(session, [job.key], "admin") == 1
    assert [read(client, job.key, path) for path in paths] == stored
    by_spider = client.get("/api/items.jl", params={"project": 1, "spider": "quotes"})
    assert (by_spider.status_code, by_spider.json()["message"]) == (404, "spider quotes has no finished job")
    with db.transaction() as session:
        records.purge(session, [row(job.key).id or 0])
    assert [read(client, job.key, path) for path in paths] == ["[]", "", "", "[]", "", ""]


def test_a_project_without_anything_deployed(client: TestClient) -> None:
    make_project(2, [])
    params = {"project": 2}
    assert client.get("/api/spiders/list.json", params=params).json() == {"status": "ok", "spiders": []}
    assert client.get("/api/eggs/list.json", params=params).json() == {"status": "ok", "eggs": []}
    assert client.get("/api/eggs/bundle.zip", params=params).status_code == 404
    assert client.get("/api/migrate-eggs.zip", params=params).content[:2] == b"PK"
    assert client.get("/api/v2/projects/2/spiders", params=params).json()["results"] == []
