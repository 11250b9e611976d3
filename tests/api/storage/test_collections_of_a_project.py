"""collections: their names, list, deletion and renaming; who may use them, and many at once (contract 6.20)."""

from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from app import db
from app.services import collections
from tests.api.storage.collection import PAGES, body, count, get, keys, lines, post, put, refused
from tests.factories import at_once, finish, make_job, make_key, make_project, running_job
from tests.platform import KEY


def test_types_and_names(client: TestClient) -> None:
    put(client, "a", path="/collections/1/s/Seiten_ü1")
    assert lines(client, "/collections/1/list") == [{"type": "s", "name": "Seiten_ü1"}]
    refused(
        client, "GET", "/collections/1/x/pages", 404, "unknown type of collection: x; one of cs, s, vcs, vs\n"
    )
    for name in ("foo-bar", "foo%2Fbar", "a%00", "a" * 256, "%0A"):
        refused(client, "POST", f"/collections/1/s/{name}", 400, "invalid value for name", content=b"{}")
        refused(client, "GET", f"/collections/1/s/{name}/k", 400, "invalid value for name")


def test_the_list(client: TestClient) -> None:
    for name in ("b", "a", "B"):
        for kind in ("vcs", "s", "cs", "vs"):
            put(client, "k", path=f"/collections/1/{kind}/{name}")
    client.delete("/collections/1/s/a")
    wanted = [(name, kind) for name in ("B", "a", "b") for kind in ("s", "vs", "cs", "vcs")]
    assert [(each["name"], each["type"]) for each in lines(client, "/collections/1/list")] == wanted
    assert len(get(client, "/collections/1/list", format="json").json()) == 12
    assert lines(client, "/collections/1/list/") == lines(client, "/collections/1/list")


def test_deleting_collections(client: TestClient) -> None:
    put(client, "a")
    put(client, "a", path="/collections/1/vcs/pages")
    for _ in range(2):
        answer = client.post("/collections/1/delete", params={"name": "pages"})
        assert (answer.status_code, answer.json()) == (202, {"status": "success", "deleted": "pages"})
        assert get(client).content == b""
    assert lines(client, "/collections/1/list") == []
    put(client, "b")
    assert keys(client) == ["b"]
    refused(client, "POST", "/collections/1/delete", 400, "missing 'name' argument")
    refused(client, "POST", "/collections/1/delete", 400, "invalid value for name", params={"name": "a-b"})


def test_renaming_collections(client: TestClient) -> None:
    put(client, "a")
    put(client, "b", path="/collections/1/cs/pages")
    rename = "/collections/1/rename"
    answer = client.post(rename, params={"name": "pages", "new_name": "new"})
    assert (answer.status_code, answer.json()["status"]) == (200, "success")
    assert (keys(client, "/collections/1/s/new"), keys(client, "/collections/1/cs/new")) == (["a"], ["b"])
    assert get(client).content == b""
    put(client, "c", path="/collections/1/vs/other")
    for name, new_name, status, text in (
        ("new", "other", 400, "collection other exists"), ("x", "y", 404, "unknown collection: x"),
        ("new", "", 400, "missing 'new_name' argument"), ("new", "a b", 400, "invalid value for new_name"),
    ):  # fmt: skip
        refused(client, "POST", rename, status, text, params={"name": name, "new_name": new_name})
    refused(client, "POST", "/collections/rename", 404, "no such path")


def test_a_running_job_uses_the_collections_of_its_project(client: TestClient) -> None:
    make_project(2)
    job = running_job()
    client.auth = (str(job.key), job.token)
    put(client, "a", "b", "c")
    assert (keys(client), count(client)["count"]) == (["a", "b", "c"], 3)
    post(client, f"{PAGES}/deleted", "a")
    assert client.delete(PAGES, params={"key": "b"}).json()["deleted"] == 1
    assert client.delete(f"{PAGES}/c").status_code == 200
    assert client.post("/collections/1/delete", params={"name": "pages"}).status_code == 202
    refused(client, "GET", "/collections/2/s/pages", 403, "")
    assert finish(job)
    for method, path in (("GET", PAGES), ("POST", PAGES), ("DELETE", PAGES), ("POST", f"{PAGES}/deleted")):
        refused(client, method, path, 401, "Unauthorized\n")


def test_who_may_not(client: TestClient) -> None:
    make_project(2)
    put(client, "a")
    paths = ["", "/count", "/scan", "/k", "/k/f"]
    calls = [("GET", f"{PAGES}{path}") for path in paths] + [("DELETE", PAGES), ("DELETE", f"{PAGES}/a")]
    calls += [
        ("POST", PAGES),
        ("POST", f"{PAGES}/a"),
        ("POST", f"{PAGES}/deleted"),
        ("GET", "/collections/1/list"),
    ]
    calls += [
        ("POST", "/collections/1/delete?name=pages"),
        ("POST", "/collections/1/rename?name=pages&new_name=b"),
    ]
    calls += [("GET", "/collections/1/bad/b-d?count=x")]
    for credentials, status in ((("x", ""), 401), ((make_key(projects=[2]), ""), 403)):
        client.auth = credentials
        for method, path in calls:
            refused(client, method, path, status, "Unauthorized" if status == 401 else "access to project 1")


def test_a_job_that_ends_after_it_was_let_in_writes_nothing(client: TestClient) -> None:
    put(client, "a")
    for method, path in (
        ("POST", PAGES),
        ("POST", f"{PAGES}/k"),
        ("POST", f"{PAGES}/deleted"),
        ("DELETE", PAGES),
    ):
        job, ended = running_job(), []
        client.auth = (str(job.key), job.token)

        def end(
            connection: Any, cursor: Any, statement: str, *more: Any, job: Any = job, ended: Any = ended
        ) -> None:
            if "FROM collection" in statement and not ended:
                ended.append(job)
                assert finish(job)

        event.listen(db.engine(), "before_cursor_execute", end)
        content = b'"a"' if "deleted" in path else b'{"_key":"new"}'
        assert client.request(method, path, content=content).status_code == 401
        event.remove(db.engine(), "before_cursor_execute", end)
        assert ended
    client.auth = (KEY, "")
    assert keys(client) == ["a"]


def test_writers_at_once(client: TestClient) -> None:
    """Every body is stored whole: the records of both are of one writer each."""
    names = [f"{n:03}" for n in range(200)]

    def write(n: int) -> int:
        values = ({"_key": key, "n": n} for key in (names if n % 2 else reversed(names)))
        return client.post(PAGES, content=body(*values)).status_code

    assert at_once(4, write) == [200] * 4
    assert keys(client) == names
    assert len({each["n"] for each in lines(client)}) == 1


def test_pages_of_an_answer(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "PAGE", 2)
    put(client, *"abcde")
    assert keys(client) == list("abcde")
    assert get(client, format="json", meta="_key", nodata=1).json() == [{"_key": key} for key in "abcde"]
    assert get(client, f"{PAGES}/scan").json() == {"values": [{"of": key} for key in "abcde"]}
    assert keys(client, filter='["of", ">", ["d"]]') == ["e"]
    assert client.delete(PAGES).json() == {"deleted": 5, "scanned": 5}


def test_an_unknown_project(client: TestClient) -> None:
    make_job()
    refused(client, "GET", "/collections/7/s/pages", 403, "access to project 7")
    refused(client, "GET", "/collections/x/s/pages", 400, "invalid value for project: x")
