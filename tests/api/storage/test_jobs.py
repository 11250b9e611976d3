"""jobs/*: metadata and removal (contract 6.7)."""

from typing import Any
from urllib.parse import quote

import orjson
import pytest
from starlette.testclient import TestClient

from app.keys import JobKey
from app.models import JobState
from tests.factories import (
    change,
    everything,
    finish,
    finished_job,
    make_job,
    make_key,
    make_project,
    row,
    running_job,
)


def get(client: TestClient, path: Any, **params: Any) -> Any:
    answer = client.get(f"/jobs/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client: TestClient, path: Any, value: Any) -> None:
    answer = client.post(f"/jobs/{path}", content=orjson.dumps(value))
    assert (answer.status_code, answer.content) == (200, b"")


def delete(client: TestClient, path: Any) -> None:
    answer = client.delete(f"/jobs/{path}")
    assert (answer.status_code, answer.content) == (200, b"")


def lines(client: TestClient, path: Any, **params: Any) -> list[Any]:
    answer = client.get(f"/jobs/{path}", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "application/x-jsonlines; charset=UTF-8",
    )
    return [orjson.loads(line) for line in answer.text.splitlines()]


def test_a_job_on_one_line(client: TestClient) -> None:
    key = make_job(args={}, priority=2, units=1)
    change(key, pushed=True, pending_time=1477663363154, updated_time=5)
    answer = client.get(f"/jobs/{key}")
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
    assert "\n" not in answer.text.rstrip("\n")
    assert answer.json() == {
        "project": 1, "spider": "quotes", "state": "pending", "priority": 2, "units": 1,
        "pending_time": 1477663363154, "scheduled_by": "admin", "updated_time": 5,
    }  # fmt: skip
    as_json = client.get(f"/jobs/{key}", headers={"accept": "application/json"})
    assert as_json.headers["content-type"].startswith("application/json")
    assert as_json.json() == answer.json()


def test_fields_one_by_one(client: TestClient) -> None:
    job = running_job(tags=["t"], meta={"m": {"a": [None]}, "null": None})
    wanted = {
        "state": "running",
        "tags": ["t"],
        "m": {"a": [None]},
        "null": None,
        "nosuch": None,
        "priority": 4,
        "_key": None,
    }
    for field, value in wanted.items():
        answer = client.get(f"/jobs/{job.key}/{field}")
        assert (answer.status_code, answer.json()) == (200, value)
        assert answer.headers["content-type"].startswith("application/json")


def test_a_job_that_is_not_there(client: TestClient) -> None:
    for key in ("1/1/99", "1/99/1"):
        assert get(client, key) == {}
        assert get(client, f"{key}/state") is get(client, f"{key}/auth") is None
        for path in (key, f"{key}/a"):
            answer = client.post(f"/jobs/{path}", content=b'{"a": 1}')
            assert (answer.status_code, answer.json()) == (
                404,
                {"error": "Not Found", "message": f"unknown job: {key}"},
            )
            delete(client, path)


def test_the_token_is_there_while_the_job_runs(client: TestClient) -> None:
    job, pending = running_job(), make_job()
    assert get(client, f"{job.key}/auth") == job.token
    assert get(client, f"{pending}/auth") is None
    assert "auth" not in get(client, job.key)
    finish(job)
    assert get(client, f"{job.key}/auth") is None


def test_fields_are_merged(client: TestClient) -> None:
    key = make_job(meta={"kept": 1, "changed": 1})
    post(
        client,
        key,
        {"changed": {"x": []}, "new": None, "tags": ["a"], "state": "finished", "auth": "x", "_key": "y"},
    )
    found = get(client, key)
    wanted = {"kept": 1, "changed": {"x": []}, "new": None, "tags": ["a"], "state": "pending"}
    assert {name: found.get(name) for name in wanted} == wanted
    assert client.get("/api/jobs/list.json", params={"project": 1, "has_tag": "a"}).json()["count"] == 1
    post(client, key, {})
    assert client.post(f"/jobs/{key}").status_code == 200
    assert client.post(f"/jobs/{key}", content=b'{\n "pretty":\n 1}\n').status_code == 200
    assert get(client, f"{key}/pretty") == 1


@pytest.mark.parametrize(
    "name", ["plain", "with space", "ünï", "a/b", "a%2Fb", "?", "#", "%", "_key ", "meta", "state/x"]
)
def test_one_field_of_any_name(client: TestClient, name: str) -> None:
    key = make_job()
    raw = name.replace("%2F", "/") if name == "a%2Fb" else name
    path = f"{key}/{name if name == 'a%2Fb' else quote(name)}"
    for value in ({"a": [1, None]}, None, "text", 0, False, [], 1.5):
        post(client, path, value)
        assert (get(client, path), get(client, key)[raw]) == (value, value)
    delete(client, path)
    delete(client, path)
    assert raw not in get(client, key)


def test_columns_one_by_one(client: TestClient) -> None:
    key = make_job()
    for field, value in (
        ("priority", 0),
        ("units", 3),
        ("tags", ["b", "a"]),
        ("close_reason", "r"),
        ("spider_args", {"a": "1"}),
    ):
        post(client, f"{key}/{field}", value)
        assert get(client, f"{key}/{field}") == value
    assert (row(key).priority, row(key).spider_args) == (0, {"a": "1"})
    for field, value in (
        ("priority", 2),
        ("units", 1),
        ("tags", []),
        ("close_reason", None),
        ("spider_args", None),
    ):
        delete(client, f"{key}/{field}")
        assert get(client, f"{key}/{field}") == value


WRONG = [
    ("", b"{", 400, "invalid JSON"), ("", b"[1]", 400, "not a JSON object"), ("", b"1", 400, "not a JSON object"),
    ("", b"null", 400, "not a JSON object"), ("", b'{"a": 1}\n{"a": 2}', 400, "invalid JSON"), ("", b'{"a": "\xff"}', 400, "invalid JSON"),
    ("", b"\xff\xfe", 400, "invalid JSON"), ("", b'{"priority": 9}', 400, "priority"), ("", b'{"tags": "t"}', 400, "tags"),
    ("", b'{"close_reason": "a\\u0000"}', 400, "close_reason: NUL"), ("", b'{"a": 1, "units": 1e400}', 400, "units"),
    ("", b'{"priority": 99999999999999999999999}', 400, "priority"), ("", b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "JSON"),
    ("", b'{"a": ' + b"[" * 253 + b"]" * 253 + b"}", 400, "nested too deeply"), ("/a", b"[" * 252 + b"]" * 252, 400, "nested too deeply"),
    ("/a", b"", 400, "no value"), ("/a", b"\n", 400, "no value"), ("/a", b"nonsense", 400, "invalid JSON"), ("/tags", b'"t"', 400, "tags"),
    ("/priority", b"[]", 400, "priority"), ("/%00", b"1", 400, "NUL"), ("/a%00b", b"1", 400, "NUL"), ("/%ff", b"1", 400, "not UTF-8"),
    ("/a", b'"' + b"x" * (1 << 20) + b'"', 413, "1048576"), ("", b'{"a":\n"' + b"x" * ((1 << 20) - 1) + b'"}', 413, "1048576"),
]  # fmt: skip


def test_what_cannot_be_written(client: TestClient) -> None:
    key = make_job(meta={"a": 0})
    before = everything()
    for field, body, status, said in WRONG:
        answer = client.post(f"/jobs/{key}{field}", content=body)
        assert (answer.status_code, said in answer.json()["message"]) == (status, True), (
            field,
            body,
            answer.text,
        )
    assert everything() == before


def test_odd_json_is_taken(client: TestClient) -> None:
    key = make_job()
    body = b'{"nan": NaN, "huge": 99999999999999999999999, "lone": "\\ud800", "nul": "\\u0000", "ascii": "\\u00fc"}'
    assert client.post(f"/jobs/{key}", content=body).status_code == 200
    found = get(client, key)
    wanted = {"nan": None, "huge": 1e23, "lone": "?", "nul": "\0", "ascii": "ü"}
    assert {name: found[name] for name in wanted} == wanted
    assert lines(client, "1")[0]["nul"] == get(client, f"{key}/nul") == "\0"


CALLS = [
    ("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/state"), ("GET", "/auth"), ("POST", "/a"), ("DELETE", "/a"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "field"), CALLS)
def test_who_may_what(client: TestClient, method: str, field: str) -> None:
    make_project(2)
    job, other = running_job(), running_job()
    ended = running_job()
    finish(ended)
    path, body = f"/jobs/{job.key}{field}", {"content": b'{"a": 1}'} if method == "POST" else {}
    before = everything()
    cases: list[tuple[Any, int]] = [
        (None, 401), (("wrong", ""), 401), ((make_key("guest", projects=[2]), ""), 403), ((str(other.key), other.token), 403),
        ((str(job.key), "wrong"), 401), ((str(ended.key), ended.token), 401),
    ]  # fmt: skip
    before = everything()
    for auth, status in cases:
        client.auth = auth
        answer = client.request(method, path, **body)
        assert answer.status_code == status, (auth, answer.text)
    client.auth = None
    answer = client.request(method, path.replace(str(job.key), "1/1/99"))
    assert answer.json() == {"error": "Unauthorized", "message": "Unauthorized"}
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="apikey"')
    if method == "DELETE" and not field:  # a job does not remove itself
        client.auth = (str(job.key), job.token)
        assert client.request(method, path).status_code == 403
        assert everything() == before
        return
    assert everything() == before
    client.auth = (str(job.key), job.token)
    assert client.request(method, path, **body).status_code == 200
    client.auth = None
    key = make_key("member", projects=[1])
    assert client.request(method, path, params={"apikey": key}, **body).status_code == 200


def test_a_job_writes_of_itself_until_it_ends(client: TestClient) -> None:
    job = running_job()
    client.auth = (str(job.key), job.token)
    post(client, job.key, {"close_reason": "mine"})
    post(client, f"{job.key}/n", 1)
    assert get(client, f"{job.key}/close_reason") == "mine"
    finish(job, "finished")
    assert client.post(f"/jobs/{job.key}", content=b"{}").status_code == 401


@pytest.mark.parametrize(
    "path", ["x/1/1", "1/x/1", "1/1/x", "0/1/1", "1/1/0", "1/1/99999999999", "1/1/-1", "1/%20/1", "1/1/%00"]
)
def test_keys_that_are_none(client: TestClient, path: str) -> None:
    for method, field in CALLS:
        answer = client.request(method, f"/jobs/{path}{field}")
        assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request"), answer.text
    client.auth = None
    assert client.get(f"/jobs/{path}").status_code == 401


# Lists


def some(client: TestClient) -> list[JobKey]:
    make_project(2, ["a", "b"])
    made = [
        make_job("b", 2),
        make_job("a", 2, tags=["t"]),
        finished_job(spider="b", project=2),
        make_job("a", 2, meta={"m": 1}),
    ]
    make_job()
    return sorted(made)


def test_all_jobs_by_key(client: TestClient) -> None:
    made = some(client)
    found = lines(client, "2", meta="_key")
    assert [each.pop("_key") for each in found] == list(map(str, made))
    assert found == [get(client, key) for key in made]
    assert lines(client, "2/1") == found[:2]
    assert lines(client, "2/9") == lines(client, "2", count=0) == []
    assert client.get("/jobs/2/9", params={"format": "json"}).json() == []
    as_array = client.get("/jobs/2", params={"format": "json"})
    assert as_array.json() == found
    assert as_array.headers["content-type"].startswith("application/json")


def test_deleted_jobs_are_in_no_list(client: TestClient) -> None:
    made = some(client)
    change(made[0], state=JobState.DELETED)
    assert [each["_key"] for each in lines(client, "2", meta="_key")] == list(map(str, made[1:]))


PAGES: list[tuple[dict[str, Any], list[int]]] = [
    ({"count": 3}, [0, 1, 2]), ({"start": "2/1/2"}, [1, 2, 3]), ({"startafter": "2/1/2"}, [2, 3]), ({"startafter": "2/1/9"}, [2, 3]),
    ({"start": "2/2/1", "count": 1}, [2]), ({"start": "2/9/1"}, []), ({"start": "2/1/1", "startafter": "2/2/1"}, [3]), ({"count": 99}, [0, 1, 2, 3]),
]  # fmt: skip


def test_pages(client: TestClient) -> None:
    made = some(client)
    for params, wanted in PAGES:
        found = [each["_key"] for each in lines(client, "2", meta="_key", **params)]
        assert found == [str(made[place]) for place in wanted], params


def test_a_list_crosses_batches(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.keyorder.BATCH", 3)
    monkeypatch.setattr("app.api.storage.jobs.BATCH", 2)
    make_project(2, ["a", "b", "c"])
    made = sorted(make_job(spider, 2, meta={"n": n}) for n in range(4) for spider in ("c", "a"))
    for first in range(8):
        found = lines(client, "2", meta="_key", start=str(made[first]))
        assert [each["_key"] for each in found] == list(map(str, made[first:]))
    assert [each["n"] for each in lines(client, "2/3", count=3)] == [0, 1, 2]


BAD: list[dict[str, Any]] = [
    {"start": "1/1/1"}, {"start": "2/1"}, {"start": ""}, {"startafter": "x"}, {"count": -1}, {"count": "x"}, {"count": 2**31},
    {"format": "csv"}, {"start": "2/1/1/1"}, {"meta": ""}, {"start": "\0"},
]  # fmt: skip


def test_lists_refuse_bad_parameters(client: TestClient) -> None:
    make_project(2)
    for params in BAD:
        answer = client.get("/jobs/2", params=params)
        assert (answer.status_code, next(iter(params)) in answer.json()["message"]) == (400, True), (
            answer.text
        )


def test_who_may_list(client: TestClient) -> None:
    make_project(2)
    job = running_job()
    for path in ("/jobs/1", "/jobs/1/1"):
        for auth, status in (
            (None, 401), ((make_key(path, projects=[2]), ""), 403), ((str(job.key), job.token), 403), ((make_key(f"m{path}", projects=[1]), ""), 200),
        ):  # fmt: skip
            client.auth = auth
            assert client.get(path).status_code == status
    assert client.get("/jobs/x").status_code == client.get("/jobs/1/x").status_code == 400
