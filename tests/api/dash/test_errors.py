"""Who is let in, and how every endpoint answers what it cannot use."""

import base64
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.services import apikeys
from app.settings import settings
from tests.api.dash.bad import CALLS, GOOD, bad_inputs
from tests.factories import everything, finished_job, make_job, make_key, make_project, make_version, zipped
from tests.platform import KEY

WRONG = {"status": "error", "message": "Authentication failed"}
ROUTES = [(method.upper(), path) for path, calls in CALLS.items() for method in calls]
EVERY = pytest.mark.parametrize(("method", "path"), ROUTES)


def basic(user: str, password: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@EVERY
def test_nobody_gets_in_without_a_good_key(client: TestClient, method: str, path: str) -> None:
    client.auth = None
    bad = "f" * 32
    strangers: list[dict[str, Any]] = [
        {}, {"headers": basic(bad)}, {"headers": basic("", KEY)}, {"headers": basic("1/1/1", KEY)},
        {"params": {"apikey": bad}}, {"params": {"apikey": ""}}, {"headers": {"Authorization": f"Bearer {KEY}"}},
        {"headers": {"Authorization": "Basic not-base64!"}}, {"headers": {"Authorization": "Basic /////w=="}},
        {"headers": basic(bad), "params": {"apikey": KEY}}, {"params": {"project": "invalid"}},
        {"headers": {"Content-Type": "application/json"}},
    ]  # fmt: skip
    for stranger in strangers:
        answer = client.request(method, f"/api{path}", **stranger)
        assert (answer.status_code, answer.json()) == (403, WRONG), stranger
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/nothing.json", "/", "/jobs", "/schedule.json/"])
def test_a_stranger_learns_nothing_of_paths_and_methods(client: TestClient, path: str) -> None:
    client.auth = None
    assert client.get(f"/api{path}").json() == WRONG
    assert client.put("/api/schedule.json").json() == WRONG


def test_the_key_may_come_as_a_parameter(client: TestClient) -> None:
    client.auth = None
    assert client.get("/api/jobs/list.json", params={"project": 1, "apikey": KEY}).status_code == 200
    assert client.get(f"/api/jobs/list.json?project=%FF&apikey={KEY}").status_code == 400
    answer = client.post("/api/schedule.json", data={"project": 1, "spider": "quotes", "apikey": KEY})
    assert answer.json() == {"status": "ok", "jobid": "1/1/1"}
    files = {"project": (None, "1"), "job": (None, "1/1/1"), "apikey": (None, KEY)}
    assert client.post("/api/jobs/stop.json", files=files).json() == {"status": "ok"}


def test_a_revoked_key_is_no_key(client: TestClient) -> None:
    client.auth = (make_key("guest", projects=[1]), "")
    assert client.get("/api/jobs/list.json", params={"project": 1}).status_code == 200
    with db.transaction() as session:
        apikeys.revoke(session, "guest", "somebody")
    assert client.get("/api/jobs/list.json", params={"project": 1}).json() == WRONG


@EVERY
def test_a_key_without_rights_is_refused(client: TestClient, method: str, path: str) -> None:
    if path == "/scrapyd/listprojects.json":
        return
    make_project(2)
    make_job()
    client.auth = (make_key("guest", projects=[2]), "")
    before = everything()
    for project in (1, 7):
        answer = client.request(method, f"/api{path}", params={**GOOD.get(path, {}), "project": project})
        message = f"User 'guest' doesn't have access to project {project}"
        assert (answer.status_code, answer.json()) == (400, {"status": "badrequest", "message": message})
    assert everything() == before


def test_each_key_sees_its_projects(client: TestClient) -> None:
    make_project(2)
    for rights, seen in (({"projects": [2]}, [2]), ({}, []), ({"admin": True}, [1, 2])):
        client.auth = (make_key(str(seen), **rights), "")
        assert client.get("/api/scrapyd/listprojects.json").json() == {"status": "ok", "projects": seen}


def prepared() -> None:
    """What the good calls of GOOD ask for."""
    make_version("1")
    finished_job(args={})
    make_project(2)
    make_job(project=2)
    with db.transaction() as session:
        from app.services import versions

        versions.add_egg(session, 1, "lib", "1", b"egg")


@EVERY
def test_the_good_call_is_good(client: TestClient, method: str, path: str) -> None:
    if path == "/scrapyd/addversion.json":  # waits for a builder
        return
    prepared()
    files = {"egg": ("lib.egg", zipped())} if path == "/eggs/add.json" else None
    answer = client.request(method, f"/api{path}", params=GOOD[path], files=files)
    assert answer.status_code == 200, answer.text


@EVERY
def test_bad_input_is_refused_by_name_and_changes_nothing(client: TestClient, method: str, path: str) -> None:
    prepared()
    before, faults = everything(), []
    for what, request, status, named in bad_inputs(method, path):
        answer = client.request(method, **request)
        try:
            body = answer.json()
        except ValueError:
            body = {"message": answer.text[:100]}
        right = set(body) == {"status", "message"} and named in body["message"]
        if answer.status_code not in status or not right:
            faults.append((what, answer.status_code, body))
    assert faults == []
    assert everything() == before


@EVERY
def test_the_wrong_method(client: TestClient, method: str, path: str) -> None:
    for wrong in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {method}:
        if (wrong, path) == ("POST", "/eggs/list.json"):
            continue
        answer = client.request(wrong, f"/api{path}", params=GOOD.get(path, {}))
        body = {"status": "error", "message": f"method {wrong} is not allowed here"}
        assert (answer.status_code, answer.json(), method in answer.headers["allow"]) == (405, body, True)


def test_an_unknown_path(client: TestClient) -> None:
    answer = client.get("/api/nothing.json")
    assert (answer.status_code, answer.json()) == (404, {"status": "error", "message": "no such path"})


@pytest.mark.parametrize("path", ["/eggs/add.json", "/scrapyd/addversion.json"])
def test_an_upload_has_a_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("CRAWLDOCK_UPLOAD_MB", "3")
    settings.cache_clear()
    before = everything()
    answer = client.post(f"/api{path}", data=GOOD[path], files={"egg": ("x.egg", b"x" * (4 << 20))})
    body = {"status": "badrequest", "message": "the request body is larger than 3 MB"}
    assert (answer.status_code, answer.json(), everything()) == (413, body, before)


def test_a_database_that_fails_is_told_and_no_secret_is_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with db.engine().begin() as connection:
        connection.exec_driver_sql("ALTER TABLE job RENAME TO away")
    answer = client.post(
        "/api/schedule.json", data={"project": 1, "spider": "quotes", "password": "argsecret42"}
    )
    with db.engine().begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO job")
    assert answer.status_code in (500, 503)
    assert set(answer.json()) == {"status", "message"}
    assert "argsecret42" not in caplog.text + answer.text


def test_a_writer_that_waits_for_too_long_is_told_so(
    client: TestClient, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.startswith("postgres"):
        return  # has no such lock
    monkeypatch.setattr(db, "BUSY_SECONDS", 0.1)
    with db._one_writer:
        answer = client.post("/api/schedule.json", data={"project": 1, "spider": "quotes"})
    assert (answer.status_code, answer.json()["message"]) == (503, "the database does not answer, try again")
