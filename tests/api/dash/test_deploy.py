"""scrapyd/* and eggs/* without a builder: what is stored, listed, deleted and refused (contract 4.4-4.6)."""

import io
import json
import threading
import time
import zipfile
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.models import Version, VersionFile
from app.services import versions
from tests.eggs import project as project_egg
from tests.factories import everything, make_project, make_version, zipped


class Builder(threading.Thread):
    """Stands in for the scheduler's process: takes the next version, writes a log, and ends it."""

    def __init__(self, error: str | None = None, log: str = "") -> None:
        super().__init__()
        self.error, self.log = error, log

    def run(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with db.transaction() as session:
                waiting = session.query(Version).filter_by(state="pending").first()
                version_id = waiting.id if waiting else None
                if version_id and versions.claim_build(session, version_id):
                    break
            time.sleep(0.01)
        assert version_id
        if self.log:
            with db.transaction() as session:
                versions.log(session, version_id, self.log)
            time.sleep(0.3)
        with db.transaction() as session:
            if self.error:
                versions.fail(session, version_id, self.error)
            else:
                versions.activate(session, version_id, "proj.settings", ["a", "b"])


def deploy(client: TestClient, builder: Builder | None = None, **parts: Any) -> Any:
    files = {"egg": ("proj.egg", parts.pop("egg", zipped())), **parts.pop("files", {})}
    if builder:
        builder.start()
    answer = client.post(
        "/api/scrapyd/addversion.json", data={"project": 1, "version": "1", **parts}, files=files
    )
    if builder:
        builder.join()
    return answer


def test_a_deploy_without_a_log_is_one_line(client: TestClient, sent: list[tuple[str, int]]) -> None:
    answer = deploy(client, Builder(), egg=project_egg(""))
    assert (answer.status_code, answer.text.count("\n")) == (200, 1)
    assert answer.json() == {"status": "ok", "project": 1, "version": "1", "spiders": 2}
    assert sent == [("build_version", 0)]


def test_the_log_comes_before_the_answer(client: TestClient) -> None:
    answer = deploy(client, Builder(log="Collecting é\nDone\n"))
    lines = answer.text.splitlines()
    assert (lines[:2], json.loads(lines[2])["status"], len(lines)) == (["Collecting é", "Done"], "ok", 3)


def test_a_build_that_fails_at_once_has_a_status_of_its_own(client: TestClient) -> None:
    answer = deploy(client, Builder(error="Traceback: no settings"))
    assert (answer.status_code, answer.json()) == (
        400,
        {"status": "error", "message": "Traceback: no settings"},
    )


def test_a_build_that_fails_later_says_so_in_the_last_line(client: TestClient) -> None:
    make_version("0", ["kept"])
    answer = deploy(client, Builder(error="no such package", log="Collecting\n"))
    last = json.loads(answer.text.splitlines()[-1])
    assert last == {"status": "error", "message": "no such package"}
    assert [each["id"] for each in spiders(client)] == ["kept"]


def test_all_parts_are_stored(client: TestClient) -> None:
    files = {"requirements": ("r.txt", "é==1\n"), "eggs": ("lib.egg", zipped(lib="1"))}
    deploy(client, Builder(), stack="scrapy:2.11", version="v_1.0+a-b", files=files)
    with db.reading() as session:
        stored = session.query(Version).one()
        assert (stored.name, stored.stack, stored.requirements) == ("v_1.0+a-b", "scrapy:2.11", "é==1\n")
        assert sorted(name for (name,) in session.query(VersionFile.name)) == ["__main__", "lib"]


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"egg": b"no zip"}, "invalid value for egg: not an egg"),
        ({"egg": b""}, "invalid value for egg"),
        ({"egg": zipped()[:-30]}, "invalid value for egg"),
        ({"version": "a b"}, "invalid value for version: a b"),
        ({"version": "é"}, "invalid value for version: é"),
        ({"version": "../x"}, "invalid value for version: ../x"),
        ({"files": {"eggs": ("x.egg", b"no zip")}}, "invalid value for eggs"),
        ({"files": {"eggs": ("__main__.egg", zipped())}}, "invalid value for eggs: the name __main__"),
        ({"files": {"requirements": ("r", b"\xff")}}, "invalid value for requirements: not UTF-8"),
        ({"files": {"requirements": ("r", b"a\0")}}, "invalid value for requirements: NUL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "parts",
)
def test_what_is_refused_before_it_is_stored(client: TestClient, parts: Any, named: str) -> None:
    before = everything()
    answer = deploy(client, **parts)
    assert (answer.status_code, answer.json()["status"]) == (400, "badrequest")
    assert answer.json()["message"].startswith(named)
    assert everything() == before


def test_a_damaged_egg(client: TestClient) -> None:
    data = bytearray(zipped(code="x" * 1000))
    data[200] ^= 1
    answer = deploy(client, egg=bytes(data))
    assert (answer.status_code, "damaged" in answer.json()["message"]) == (400, True)


def spiders(client: TestClient, **params: Any) -> Any:
    answer = client.get("/api/spiders/list.json", params={"project": 1, **params}).json()
    assert answer["status"] == "ok"
    return answer["spiders"]


def test_spiders_of_the_current_version(client: TestClient) -> None:
    assert spiders(client) == [{"id": "quotes", "tags": [], "type": "manual", "version": None}]
    make_version("7", ["b", "a"])
    assert spiders(client) == [{"id": name, "tags": [], "type": "manual", "version": "7"} for name in "ab"]
    assert [each["id"] for each in spiders(client, spider=["b", "quotes", "other"])] == ["b"]


def test_projects(client: TestClient) -> None:
    make_project(22)
    assert client.get("/api/scrapyd/listprojects.json").json() == {"status": "ok", "projects": [1, 22]}


def test_versions_are_listed_and_deleted(client: TestClient) -> None:
    for name in ("1", "2"):
        make_version(name, [f"s{name}"])
    assert listed(client) == ["1", "2"]
    data = {"project": 1, "version": "2"}
    assert client.post("/api/scrapyd/delversion.json", data=data).json() == {"status": "ok"}
    assert (listed(client), [each["id"] for each in spiders(client)]) == (["1"], ["s1"])
    gone = client.post("/api/scrapyd/delversion.json", data=data)
    assert (gone.status_code, gone.json()) == (
        404,
        {"status": "error", "message": "project 1 has no version 2"},
    )


def listed(client: TestClient) -> Any:
    return client.get("/api/scrapyd/listversions.json", params={"project": 1}).json()["versions"]


def add_egg(client: TestClient, name: str = "lib", version: str = "1.0", egg: bytes | None = None) -> Any:
    data = {"project": 1, "name": name, "version": version}
    return client.post("/api/eggs/add.json", data=data, files={"egg": ("x.egg", egg or zipped())})


def eggs(client: TestClient) -> Any:
    answers = [
        client.request(method, "/api/eggs/list.json", params={"project": 1}) for method in ("GET", "POST")
    ]
    assert answers[0].json() == answers[1].json()
    return answers[0].json()["eggs"]


def test_eggs_are_stored_replaced_and_deleted(client: TestClient) -> None:
    assert add_egg(client).json() == {"status": "ok", "egg": {"name": "lib", "version": "1.0"}}
    add_egg(client, version="2.0")
    assert eggs(client) == [{"name": "lib", "version": "2.0"}]
    data = {"project": 1, "name": "lib"}
    assert client.post("/api/eggs/delete.json", data=data).json() == {"status": "ok"}
    assert eggs(client) == []
    gone = client.post("/api/eggs/delete.json", data=data)
    assert (gone.status_code, gone.json()["message"]) == (404, "project 1 has no egg lib")


def test_a_version_is_deleted_as_an_egg(client: TestClient) -> None:
    make_version("1")
    data = {"project": 1, "name": "__main__"}
    missing = client.post("/api/eggs/delete.json", data=data)
    assert (missing.status_code, missing.json()["message"]) == (400, "missing 'version' argument")
    assert client.post("/api/eggs/delete.json", data={**data, "version": "1"}).json() == {"status": "ok"}
    assert listed(client) == []


def test_eggs_that_are_refused(client: TestClient) -> None:
    before = everything()
    taken = add_egg(client, "__main__")
    assert (taken.status_code, taken.json()["status"]) == (400, "error")
    broken = add_egg(client, egg=b"x")
    assert (broken.status_code, broken.json()["message"][:25]) == (400, "invalid value for egg: no")
    assert everything() == before


def bundle(client: TestClient, path: str) -> dict[str, bytes]:
    answer = client.get(f"/api/{path}", params={"project": 1})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_bundles(client: TestClient) -> None:
    empty = client.get("/api/eggs/bundle.zip", params={"project": 1})
    assert (empty.status_code, empty.json()["message"]) == (404, "project 1 has no eggs")
    assert bundle(client, "migrate-eggs.zip") == {"requirements.txt": b""}
    make_version("1", requirements="requests\n")
    lib = zipped(lib="1")
    add_egg(client, egg=lib)
    assert bundle(client, "eggs/bundle.zip") == {"__main__.egg": b"code of 1", "lib.egg": lib}
    assert bundle(client, "migrate-eggs.zip") == {"requirements.txt": b"requests\n", "lib.egg": lib}
