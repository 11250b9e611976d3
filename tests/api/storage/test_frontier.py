"""hcf: slots, queues, fingerprints (contract 6.21)."""

import gzip
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from app import db
from app.services import frontier
from tests.factories import at_once, everything, finish, make_key, make_project, running_job
from tests.platform import KEY

SLOT = "/hcf/1/main/s/site.com"


def body(*values: Any) -> bytes:
    return b"\n".join(map(orjson.dumps, values))


def add(client: TestClient, *requests: Any, path: str = SLOT, **params: Any) -> int:
    answer = client.post(path, content=body(*requests), params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=UTF-8")
    assert list(answer.json()) == ["newcount"]
    return int(answer.json()["newcount"])


def fps(*names: Any, **fields: Any) -> list[dict[str, Any]]:
    return [{"fp": str(name), **fields} for name in names]


def lines(client: TestClient, path: str, **params: Any) -> list[Any]:
    answer = client.get(path, params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "application/x-jsonlines; charset=UTF-8",
    )
    assert not answer.content or answer.content.endswith(b"\n")
    return [orjson.loads(line) for line in answer.content.split(b"\n")[:-1]]


def queue(client: TestClient, path: str = SLOT, **params: Any) -> list[Any]:
    found = lines(client, f"{path}/q", **params)
    assert all(list(batch) == ["id", "requests"] and isinstance(batch["id"], str) for batch in found)
    return [batch["requests"] for batch in found]


def deleted(client: TestClient, *ids: Any) -> None:
    answer = client.post(f"{SLOT}/q/deleted", content=body(*ids))
    assert (answer.status_code, answer.content) == (200, b"")


def refused(client: TestClient, method: str, path: str, status: int, text: str, **sent: Any) -> None:
    before = everything()
    answer = client.request(method, path, **sent)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=UTF-8")
    assert text in answer.text
    assert everything() == before


def test_the_recorded_conversation(client: TestClient) -> None:
    assert add(client, {"fp": "/some/path.html"}, {"fp": "/other/path.html"}, start=0) == 2
    first = lines(client, f"{SLOT}/q")
    assert [batch["requests"] for batch in first] == [[["/some/path.html", None], ["/other/path.html", None]]]
    assert add(client, {"fp": "page1.html", "p": 1, "qdata": {"depth": 1}}, start=2) == 1
    both = lines(client, f"{SLOT}/q")
    assert (both[0], both[1]["requests"]) == (first[0], [["page1.html", {"depth": 1}]])
    assert [batch["id"][:2] for batch in both] == ["00", "01"]
    assert lines(client, f"{SLOT}/f") == [
        {"fp": fp} for fp in ("/other/path.html", "/some/path.html", "page1.html")
    ]
    deleted(client, *(batch["id"] for batch in both))
    assert client.get(f"{SLOT}/q").content == b""
    for path, names in (("/hcf/1/list", ["main"]), ("/hcf/1/main/list", ["site.com"])):
        answer = client.get(path)
        assert (answer.json(), answer.headers["content-type"]) == (names, "application/json; charset=UTF-8")
    for path in (SLOT, f"{SLOT}/"):
        answer = client.delete(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert (client.get("/hcf/1/list").content, client.get("/hcf/1/main/list").content) == (b"[]", b"[]")


def test_what_was_never_made_is_empty(client: TestClient) -> None:
    before = everything()
    assert add(client) == 0
    deleted(client, "0015f77dd5c7800001")
    for path in (f"{SLOT}/q", f"{SLOT}/f"):
        assert client.get(path).content == b""
        assert client.get(path, params={"format": "json"}).json() == []
    assert client.delete(SLOT).status_code == 200
    assert client.get("/hcf/1/main/list").json() == []
    assert everything() == before


def test_what_was_seen_is_not_queued_again(client: TestClient) -> None:
    assert add(client, *fps("b", "a", "b"), {"fp": "a", "p": 5}) == 2
    assert add(client, *fps("a", "c")) == 1
    deleted(client, *(batch["id"] for batch in lines(client, f"{SLOT}/q")))
    assert add(client, *fps("a", "b", "c")) == 0
    assert add(client, *fps("a"), path="/hcf/1/main/s/other") == 1
    assert client.delete(SLOT).status_code == 200
    assert add(client, *fps("a")) == 1
    assert lines(client, f"{SLOT}/f") == [{"fp": "a"}]


def test_batches_and_mincount(client: TestClient) -> None:
    add(client, *fps(*range(100)))
    add(client, *fps(*range(100, 150)))
    assert [len(batch) for batch in queue(client)] == [100, 50]
    assert [len(batch) for batch in queue(client, mincount=100)] == [100]
    assert [len(batch) for batch in queue(client, mincount=101)] == [100, 50]
    add(client, *fps(*range(300)), path="/hcf/1/main/s/other")
    found = queue(client, "/hcf/1/main/s/other")
    assert [fp for batch in found for fp, _ in batch] == [str(n) for n in range(300)]
    assert [len(batch) for batch in found] == [100, 100, 100]
    assert client.get(f"{SLOT}/q", params={"format": "json"}).json() == lines(client, f"{SLOT}/q")


def test_priorities(client: TestClient) -> None:
    priorities = [3, 0, 2**31 - 1, -1, 255, 256, -(2**31)]
    add(client, *({"fp": str(priority), "p": priority} for priority in priorities), {"fp": "no", "p": None})
    ids = [batch["id"] for batch in lines(client, f"{SLOT}/q")]
    assert ids == sorted(ids)
    shown = [batch[0][0] for batch in queue(client)]
    assert shown == [str(each) for each in sorted(priorities)]
    assert [fp for fp, _ in queue(client)[2]] == ["0", "no"]


@pytest.mark.parametrize("shape", [lambda ids: ids, lambda ids: [ids], lambda ids: [ids[:1], *ids[1:]]])
def test_ids_are_texts_or_arrays_of_texts(client: TestClient, shape: Any) -> None:
    for n in range(3):
        add(client, *fps(n))
    ids = [batch["id"] for batch in lines(client, f"{SLOT}/q")]
    deleted(client, *shape([ids[0], ids[2], "nonsense", ids[0]]), 7, None, {}, [1])
    assert queue(client) == [[["1", None]]]


def test_qdata_is_any_json(client: TestClient) -> None:
    values: list[Any] = [None, 0, 1.0, "", "a\0b\u2028é\U0001f600", [], {"a": [None, {"b": 1}]}, True]
    add(client, *({"fp": f"{n:02}", "qdata": value, "fdata": value} for n, value in enumerate(values)))
    assert [qdata for _, qdata in queue(client)[0]] == values


def test_fingerprints_of_any_characters(client: TestClient) -> None:
    names = ["a\0b", "a b", "é", "\U0001f600", "\uffff", "/", "x" * 1024, "é" * 512]
    assert add(client, *fps(*names)) == len(names)
    assert add(client, *fps(*names)) == 0
    assert [each["fp"] for each in lines(client, f"{SLOT}/f")] == sorted(names)
    assert [fp for fp, _ in queue(client)[0]] == names


def test_names(client: TestClient) -> None:
    names = ["~x", "site.com", "a b", "é\U0001f600", "x" * 255, "a/b", "list", "s", "q", "%", "a\nb"]
    for name in names:
        path = f"/hcf/1/{quote(name, safe='~')}/s/{quote(name, safe='~')}"
        assert add(client, *fps("a"), path=path) == 1
        assert queue(client, path) == [[["a", None]]]
        assert client.get(f"/hcf/1/{quote(name, safe='~')}/list/").json() == [name]
    assert client.get("/hcf/1/list").json() == sorted(names)
    for path in (f"/hcf/1/{'x' * 256}/s/a", "/hcf/1/a%00/s/a", f"/hcf/1/a/s/{'x' * 256}", "/hcf/1/a/s/%00"):
        refused(client, "POST", path, 400, "invalid value for ", content=b'{"fp":"a"}')
        refused(client, "GET", f"{path}/q", 400, "invalid value for ")


def test_what_the_python_client_sends(client: TestClient) -> None:
    content = body(*fps("a", "b")) + b"\n"
    for encoding, sent, new in (("identity", content, 2), ("gzip", gzip.compress(content), 0)):
        headers = {"Content-Encoding": encoding}
        answer = client.post(SLOT, params={"start": 5000}, content=sent, headers=headers)
        assert answer.json() == {"newcount": new}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # curl -d
    assert client.post(SLOT, content=body(*fps("c")), headers=headers).json() == {"newcount": 1}


FP = "fp in line 2 is not a text of 1 to 1024 bytes\n"
P = "p in line 2 is not an integer of 32 bits\n"


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (b"{}", 400, FP), (b'{"fp":""}', 400, FP), (b'{"fp":1}', 400, FP), (body({"fp": "x" * 1025}), 400, FP),
        (body({"fp": "é" * 513}), 400, FP), (b'{"fp":"b","p":"1"}', 400, P), (b'{"fp":"b","p":1.5}', 400, P),
        (b'{"fp":"b","p":true}', 400, P), (b'{"fp":"b","p":2147483648}', 400, P), (b'["b"]', 400, "line 2 is not a JSON object"),
        (b'{"fp":"b"', 400, "invalid JSON in line 2"),
        (body({"fp": "b", "qdata": "x" * (1 << 20)}), 413, "Serialized value too large - max 1048576 bytes\n"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_body_is_stored_whole_or_not(client: TestClient, sent: bytes, status: int, text: str) -> None:
    good = body(*fps("a"))
    refused(client, "POST", SLOT, status, text, content=b"\n".join((good, sent, good)))


def test_bad_parameters_and_ids(client: TestClient) -> None:
    add(client, *fps("a"))
    batch = lines(client, f"{SLOT}/q")[0]["id"]
    refused(client, "GET", f"{SLOT}/q", 400, "invalid value for mincount: x", params={"mincount": "x"})
    refused(
        client, "GET", f"{SLOT}/q", 400, "invalid value for format: msgpack", params={"format": "msgpack"}
    )
    refused(client, "POST", f"{SLOT}/q/deleted", 400, "invalid JSON in line 2", content=body(batch) + b"\n{")
    many = body(batch, *map(str, range(2000))) + b"\n{"
    refused(client, "POST", f"{SLOT}/q/deleted", 400, "invalid JSON in line 2002", content=many)
    refused(client, "GET", "/hcf/x/list", 400, "invalid value for project: x")
    refused(client, "GET", "/hcf/7/list", 403, "access to project 7")


CALLS = (
    ("GET", "/hcf/1/list"), ("GET", "/hcf/1/main/list"), ("POST", SLOT), ("DELETE", SLOT), ("GET", f"{SLOT}/q"),
    ("GET", f"{SLOT}/q?mincount=x"), ("POST", f"{SLOT}/q/deleted"), ("GET", f"{SLOT}/f"),
)  # fmt: skip


def test_who_may_not(client: TestClient) -> None:
    make_project(2)
    add(client, *fps("a"))
    job = running_job(project=2)
    stranger = (make_key(projects=[2]), "")
    for credentials, status in ((("x", ""), 401), (stranger, 403), ((str(job.key), job.token), 403)):
        client.auth = credentials
        for method, path in CALLS:
            refused(client, method, path, status, "Unauthorized" if status == 401 else "access to project 1")


def test_a_running_job_uses_the_frontiers_of_its_project(client: TestClient) -> None:
    job = running_job()
    client.auth = (str(job.key), job.token)
    assert add(client, *fps("a", "b")) == 2
    deleted(client, lines(client, f"{SLOT}/q")[0]["id"])
    assert (queue(client), len(lines(client, f"{SLOT}/f"))) == ([], 2)
    assert (client.get("/hcf/1/list").json(), client.get("/hcf/1/main/list").json()) == (
        ["main"],
        ["site.com"],
    )
    assert client.delete(SLOT).status_code == 200
    assert finish(job)
    for method, path in CALLS:
        refused(client, method, path, 401, "Unauthorized\n")


def test_a_job_that_ends_after_it_was_let_in_writes_nothing(client: TestClient) -> None:
    add(client, *fps("a"))
    batch = lines(client, f"{SLOT}/q")[0]["id"]
    for method, path in (("POST", SLOT), ("POST", f"{SLOT}/q/deleted"), ("DELETE", SLOT)):
        job, ended = running_job(), []
        client.auth = (str(job.key), job.token)

        def end(
            connection: Any, cursor: Any, statement: str, *more: Any, job: Any = job, ended: Any = ended
        ) -> None:
            if "FROM frontier_slot" in statement and not ended:
                ended.append(job)
                assert finish(job)

        event.listen(db.engine(), "before_cursor_execute", end)
        content = body(batch) if "deleted" in path else body(*fps("new"))
        assert client.request(method, path, content=content).status_code == 401
        event.remove(db.engine(), "before_cursor_execute", end)
        assert ended
    client.auth = (KEY, "")
    assert queue(client) == [[["a", None]]]


def test_writers_at_once_count_each_fingerprint_once(client: TestClient) -> None:
    names = [f"{n:03}" for n in range(400)]

    def write(n: int) -> int:
        mine = [*names, *(f"{n}/{m}" for m in range(50))]
        return add(client, *fps(*(mine if n % 2 else reversed(mine))))

    counts = at_once(4, write)
    assert sum(counts) == len(lines(client, f"{SLOT}/f")) == 400 + 4 * 50
    found = [fp for batch in queue(client) for fp, _ in batch]
    assert sorted(found) == [each["fp"] for each in lines(client, f"{SLOT}/f")]


def test_a_large_body(client: TestClient) -> None:
    assert add(client, *fps(*range(5000), qdata={"a": "x" * 2000})) == 5000
    found = queue(client)
    assert [fp for batch in found for fp, _ in batch] == [str(n) for n in range(5000)]
    assert max(len(batch) for batch in found) == 100
    assert len(found) < 60


def test_pages_of_an_answer(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "BATCHES", 2)
    monkeypatch.setattr(frontier, "FINGERPRINTS", 2)
    for n in range(5):
        add(client, *fps(n), *fps(f"{n}b", p=1))
    assert [batch[0][0] for batch in queue(client)] == [*"01234", *(f"{n}b" for n in range(5))]
    assert [len(queue(client, mincount=n)) for n in (1, 2, 3, 6, 10, 11)] == [1, 2, 3, 6, 10, 10]
    assert len(lines(client, f"{SLOT}/f")) == 10
