"""ids, projects, spiders, botgroups (contract 6.2-6.6)."""

from typing import Any
from urllib.parse import quote

import orjson
from starlette.testclient import TestClient

from app.models import JobState
from tests.factories import (
    at_once,
    change,
    everything,
    finished_job,
    make_job,
    make_key,
    make_project,
    make_version,
    row,
    running_job,
)


def get(client: TestClient, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=UTF-8"), (
        answer.text
    )
    return answer.json()


def lines(client: TestClient, path: str, **params: Any) -> list[Any]:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return [orjson.loads(line) for line in answer.text.splitlines()]


def listed(client: TestClient) -> list[tuple[str, str, Any]]:
    spiders = client.get("/api/spiders/list.json", params={"project": 1}).json()["spiders"]
    return [(spider["id"], spider["type"], spider["version"]) for spider in spiders]


# ids


def test_the_number_of_a_spider(client: TestClient) -> None:
    make_project(2, ["a", "b"])
    assert get(client, "/ids/2/spider/b") == 2
    assert get(client, "/ids/2/spider/nosuch") is None
    assert get(client, "/ids/2/spider/nosuch", create="0") is None


def test_a_new_name_gets_a_number_when_asked(client: TestClient) -> None:
    make_version("7")
    assert [
        get(client, f"/ids/1/spider/{name}", create=create)
        for name, create in (("x", 1), ("y", "True"), ("x", 1), ("quotes", 1))
    ] == [2, 3, 2, 1]
    assert listed(client) == [("quotes", "manual", "7"), ("x", "manual", None), ("y", "manual", None)]
    answer = client.post("/api/schedule.json", data={"project": 1, "spider": "x"})
    assert answer.json() == {"status": "ok", "jobid": "1/2/1"}


def test_a_declared_spider_outlives_deploys(client: TestClient) -> None:
    get(client, "/ids/1/spider/mine", create=1)
    make_version("7", ["mine", "quotes"])
    make_version("8", ["quotes"])
    assert listed(client) == [("mine", "manual", None), ("quotes", "manual", "8")]
    assert get(client, "/ids/1/spider/mine") == 2


def test_any_name(client: TestClient) -> None:
    names = ["with space", "ünï", "a/b", "py:x.py", "?&=#", "a%2Fb", "x" * 255]
    for number, name in enumerate(names, 2):
        assert get(client, f"/ids/1/spider/{quote(name)}", create=1) == number
        assert get(client, f"/ids/1/spider/{quote(name, safe='')}") == number


def test_many_who_create_one_name_get_one_number(client: TestClient) -> None:
    found = at_once(8, lambda n: [get(client, f"/ids/1/spider/s{i}", create=1) for i in range(3)])
    assert len({tuple(each) for each in found}) == 1
    assert [name for name, *_ in listed(client)] == ["quotes", "s0", "s1", "s2"]


def test_names_that_no_spider_has(client: TestClient) -> None:
    before = everything()
    for name in ("a%00b", "%ff", "x" * 256):
        assert client.get(f"/ids/1/spider/{name}", params={"create": 1}).status_code == 400
    assert get(client, f"/ids/1/spider/{'x' * 256}") is None
    assert everything() == before


# Summaries of projects


def test_queues_of_all_projects_of_the_key(client: TestClient) -> None:
    make_project(2)
    make_project(3)
    running_job(project=2)
    found = get(client, "/projects/jobsummaries")
    assert [each["project"] for each in found] == [1, 2, 3]
    assert found[1] == {"project": 2, "pending": 0, "running": 1, "finished": 0, "has_capacity": True}
    assert "\n" not in client.get("/projects/jobsummaries").text
    client.auth = (make_key("member", projects=[3, 2]), "")
    make_job(project=3)
    assert [(each["project"], each["pending"]) for each in get(client, "/projects/jobsummaries")] == [
        (2, 0),
        (3, 1),
    ]
    assert [each["project"] for each in get(client, "/projects/jobsummaries", state="running")] == [2]
    assert [
        each["project"] for each in get(client, "/projects/jobsummaries", state=["running", "pending"])
    ] == [2, 3]
    client.auth = (make_key("nobody"), "")
    assert get(client, "/projects/jobsummaries") == []


def test_the_queue_of_a_project(client: TestClient) -> None:
    assert get(client, "/projects/1/jobsummary") == {
        "project": 1, "running_units_count": 0, "running": 0, "pending": 0, "finished": 0, "pending_units_max": None, "has_capacity": True,
    }  # fmt: skip
    running_job(units=3)
    finished_job(units=2)
    change(finished_job(), state=JobState.DELETED)
    found = get(client, "/projects/1/jobsummary")
    assert [found[name] for name in ("running_units_count", "running", "pending", "finished")] == [3, 1, 0, 1]


# Settings

VALUES: list[Any] = [None, "", "text ü \0", 0, 1.5, True, [], {}, {"a": [None, {"b": 1}]}]


def write(client: TestClient, path: str, value: Any) -> None:
    answer = client.post(path, content=orjson.dumps(value))
    assert (answer.status_code, answer.content) == (200, b""), answer.text


def test_settings_are_merged(client: TestClient) -> None:
    path = "/projects/1/settings"
    assert get(client, path) == {}
    write(client, path, {"job_runtime_limit": 24, "botgroups": ["g1", "g2"]})
    write(client, path, {"job_runtime_limit": None, "created": 1})
    write(client, path, {})
    assert client.post(path).status_code == 200
    assert get(client, path) == {"job_runtime_limit": None, "botgroups": ["g1", "g2"], "created": 1}
    make_project(2)
    assert get(client, "/projects/2/settings") == {}


def test_settings_one_by_one(client: TestClient) -> None:
    for name in ("plain", "with space", "ünï", "a/b", "?", "settings", "x" * 255):
        path = f"/projects/1/settings/{quote(name)}"
        assert get(client, path) is None
        for value in VALUES:
            write(client, path, value)
            assert (get(client, path), get(client, "/projects/1/settings")) == (value, {name: value})
        for _ in range(2):
            answer = client.delete(path)
            assert (answer.status_code, answer.content) == (200, b"")
    assert get(client, "/projects/1/settings") == {}


def test_writers_of_settings_lose_nothing(client: TestClient) -> None:
    names = [f"n{n}" for n in range(100)]

    def work(n: int) -> list[None]:
        order = names if n % 2 else names[::-1]
        return [write(client, "/projects/1/settings", dict.fromkeys(order, n)) for _ in range(5)]

    assert at_once(6, work) == [[None] * 5] * 6
    found = get(client, "/projects/1/settings")
    assert (sorted(found), len(set(found.values()))) == (sorted(names), 1)


WRONG: list[tuple[str, bytes, int]] = [
    ("", b"{", 400), ("", b"[]", 400), ("", b"1", 400), ("", b"null", 400), ("", b'{"a": 1}\n{"b": 2}', 400), ("", b'{"a": "\xff"}', 400),
    ("", b'{"": 1}', 400), ("", b'{"ok": 1, "a\\u0000": 1}', 400), ("", b'{"ok": 1, "' + b"x" * 256 + b'": 1}', 400),
    ("", b'{"a": ' + b"[" * 253 + b"]" * 253 + b"}", 400), ("/a", b"", 400), ("/a", b"x", 400), ("/a%00", b"1", 400), ("/%ff", b"1", 400),
    ("/" + "x" * 256, b"1", 400), ("/a", b'"' + b"x" * (1 << 20) + b'"', 413), ("", b'{"ok": 1, "a":\n"' + b"x" * ((1 << 20) - 1) + b'"}', 413),
]  # fmt: skip


def test_settings_that_cannot_be(client: TestClient) -> None:
    before = everything()
    for path, body, status in WRONG:
        answer = client.post(f"/projects/1/settings{path}", content=body)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "message"}), (
            path,
            body[:50],
            answer.text,
        )
    assert (
        client.get("/projects/1/settings/a%00").status_code
        == client.delete("/projects/1/settings/a%00").status_code
        == 400
    )
    assert get(client, "/projects/1/settings/" + "x" * 256) is None
    assert everything() == before


# The last job of each spider


def test_the_last_finished_job_as_recorded(client: TestClient) -> None:
    key = make_job(args={}, state=JobState.FINISHED)
    change(key, pushed=True)
    moment = row(key).finished_time
    (found,) = lines(client, "/spiders/1/lastjobsummary")
    assert found.pop("elapsed") > 0
    assert found == {
        "state": "finished",
        "key": str(key),
        "spider": "quotes",
        "ts": moment,
        "finished_time": moment,
    }
    assert [each["key"] for each in lines(client, "/spiders/1/1/lastjobsummary")] == [str(key)]


def test_last_jobs_of_spiders(client: TestClient) -> None:
    make_project(2, ["a", "b", "c", "d"])
    finished_job(spider="a", project=2)
    last = [str(finished_job(spider=spider, project=2)) for spider in "abd"]
    make_job("c", 2)
    for params, wanted in (
        ({}, last), ({"count": 2}, last[:2]), ({"start": "2/2"}, last[1:]), ({"startafter": "2/2"}, last[2:]), ({"start": "2/3", "count": 1}, last[2:]),
        ({"count": 0}, []), ({"startafter": "2/9"}, []), ({"start": "2/2", "startafter": "2/1"}, last[1:]),
    ):  # fmt: skip
        assert [each["key"] for each in lines(client, "/spiders/2/lastjobsummary", **params)] == wanted, (
            params
        )
    assert [each["key"] for each in lines(client, "/spiders/2/4/lastjobsummary")] == last[2:]
    for path in ("/spiders/2/3/lastjobsummary", "/spiders/2/9/lastjobsummary"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert client.get("/spiders/2/lastjobsummary", params={"format": "json"}).json()[0]["key"] == last[0]


def test_last_jobs_refuse_bad_parameters(client: TestClient) -> None:
    for query in (
        "start=1/1/1",
        "start=2/1",
        "start=1/x",
        "startafter=x",
        "start=",
        "count=x",
        "count=-1",
        "format=csv",
        "start=1/99999999999",
    ):
        for path in ("/spiders/1/lastjobsummary", "/spiders/1/1/lastjobsummary"):
            assert client.get(f"{path}?{query}").status_code == 400, query
    assert client.get("/spiders/1/x/lastjobsummary").status_code == 400


# Bot groups


def test_botgroups_are_accepted(client: TestClient) -> None:
    for name in ("g1", "ünï", "a/b", "with space"):
        for body in (b"null", b"3", b"0", b""):
            answer = client.post(f"/botgroups/{quote(name)}/max_running", content=body)
            assert (answer.status_code, answer.text) == (200, "null")
        answer = client.delete(f"/botgroups/{quote(name)}")
        assert (answer.status_code, answer.text) == (200, "null")
    for body in (b"-1", b"1.5", b"true", b'"1"', b"[]", b"x", b"\xff"):
        assert client.post("/botgroups/g1/max_running", content=body).status_code == 400
    assert client.post("/botgroups/%ff/max_running", content=b"null").status_code == 400


# Who may what

OF_PROJECT: list[tuple[str, str, bytes | None]] = [
    ("GET", "/ids/1/spider/quotes", None), ("GET", "/ids/1/spider/new?create=1", None), ("GET", "/projects/1/jobsummary", None),
    ("GET", "/projects/1/settings", None), ("POST", "/projects/1/settings", b'{"a": 1}'), ("GET", "/projects/1/settings/a", None),
    ("POST", "/projects/1/settings/a", b"1"), ("DELETE", "/projects/1/settings/a", None), ("GET", "/spiders/1/lastjobsummary", None),
    ("GET", "/spiders/1/1/lastjobsummary", None),
]  # fmt: skip


def test_who_may_what_in_a_project(client: TestClient) -> None:
    make_project(2)
    job = running_job()
    member, guest = (make_key(str(n), projects=[n]) for n in (1, 2))
    before = everything()
    for auth, status in (
        (None, 401),
        (("wrong", ""), 401),
        ((guest, ""), 403),
        ((str(job.key), job.token), 403),
    ):
        client.auth = auth
        for method, path, body in OF_PROJECT:
            answer = client.request(method, path, content=body)
            assert answer.status_code == status, (method, path, auth)
            if status == 401:
                assert answer.json() == {"error": "Unauthorized", "message": "Unauthorized"}
    assert everything() == before
    client.auth = (member, "")
    assert {client.request(method, path, content=body).status_code for method, path, body in OF_PROJECT} == {
        200
    }
    for method, path, body in OF_PROJECT:
        assert client.request(method, path.replace("/1", "/3", 1), content=body).status_code == 403
        assert client.request(method, path.replace("/1", "/x", 1), content=body).status_code == 400
    client.auth = None
    assert client.post("/projects/x/settings", content=b"{").status_code == 401


def test_who_may_what_beyond_projects(client: TestClient) -> None:
    job = running_job()
    member = make_key("member", projects=[1])
    calls = (
        ("GET", "/projects/jobsummaries"),
        ("POST", "/botgroups/g/max_running"),
        ("DELETE", "/botgroups/g"),
    )
    cases: tuple[tuple[Any, list[int]], ...] = (
        (None, [401] * 3), (("wrong", ""), [401] * 3), ((str(job.key), job.token), [403] * 3), ((member, ""), [200, 403, 403]),
    )  # fmt: skip
    for auth, statuses in cases:
        client.auth = auth
        assert [client.request(method, path).status_code for method, path in calls] == statuses
