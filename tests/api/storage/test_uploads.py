"""items, logs, requests, samples: writing (contract 5.3, 5.11, 6.16-6.19)."""

import gzip
import io
import json
import re
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from app import db
from app.keys import JobKey
from app.models import Kind
from app.services import reader, records
from app.settings import settings
from tests.factories import (
    append,
    at_once,
    batch,
    change,
    everything,
    finish,
    finished_job,
    job_with_items,
    log_entry,
    make_job,
    make_key,
    row,
    running_job,
)

KINDS = list(Kind)


def jl(*values: Any) -> bytes:
    return b"".join(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE) for value in values)


def write(client: TestClient, key: JobKey, body: bytes, kind: str = "items", **params: Any) -> Any:
    answer = client.post(f"/{kind}/{key}", content=body, params=params)
    if answer.status_code == 200:
        assert (answer.content, answer.headers["content-type"]) == (b"", "text/plain; charset=UTF-8")
    return answer


def stored(key: JobKey, kind: Kind = Kind.ITEMS) -> list[Any]:
    job_id = row(key).id or 0
    return [orjson.loads(line) for block in reader.read(job_id, kind, 0, 1 << 30) for line in block.lines]


def test_batches_follow_each_other_and_a_retry_changes_nothing(client: TestClient) -> None:
    key = finished_job()
    for _ in range(2):
        assert write(client, key, jl({"n": 0}, {"n": 1}), start=0).status_code == 200
        assert write(client, key, jl({"n": 2}), start=2).status_code == 200
    assert stored(key) == [{"n": 0}, {"n": 1}, {"n": 2}] and row(key).items == 3
    write(client, key, jl({"n": "second writer"}), start=0)
    assert stored(key)[:2] == [{"n": "second writer"}, {"n": 1}]


def test_without_a_start_records_are_appended(client: TestClient) -> None:
    key = finished_job()
    for n in range(3):
        assert write(client, key, jl({"n": n})).status_code == 200
    assert stored(key) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_the_start_of_the_header(client: TestClient) -> None:
    key = finished_job()
    for text, status in (("items 2-/*", 200), ("items x-/*", 400), ("bytes 1-/*", 400), ("", 200)):
        answer = client.post(f"/items/{key}", content=jl({}), headers={"content-range": text})
        assert answer.status_code == status, text
    assert row(key).items == 4


@pytest.mark.parametrize("encoding", ["gzip", "identity", "GZIP", ""])
def test_encodings_and_any_content_type(client: TestClient, encoding: str) -> None:
    key = finished_job()
    body = jl({"a": "ä" * 100})
    for kind in ("", "application/x-www-form-urlencoded", "application/json", "text/nonsense; charset=x"):
        headers = {"content-encoding": encoding, "content-type": kind}
        sent = gzip.compress(body) if encoding.lower() == "gzip" else body
        assert client.post(f"/items/{key}", content=sent, headers=headers).status_code == 200
    assert stored(key) == [{"a": "ä" * 100}] * 4


def test_lines_are_kept_as_they_were_written(client: TestClient) -> None:
    key = finished_job()
    body = b'{"b": 1.50,  "a":[null,1e3], "a":2}\r\n\n  {"\\u00e9": "\xc3\xa9", "big": 123456789012345678901234567890}'
    write(client, key, body)
    lines = client.get(f"/items/{key}").content.split(b"\n")
    assert lines == [*(line.strip() for line in body.split(b"\n") if line), b""]


def test_what_python_writes_and_is_no_json_becomes_null(client: TestClient) -> None:
    key = finished_job()
    write(client, key, b'{"a": NaN, "b": [Infinity, -Infinity], "c": "\\ud800x"}\n{"n": 1}\n')
    assert client.get(f"/items/{key}?format=json").json() == [
        {"a": None, "b": [None, None], "c": "?x"},
        {"n": 1},
    ]


def test_an_empty_body_writes_nothing(client: TestClient) -> None:
    key = finished_job()
    before = everything()
    for body in (b"", b"\n", b" \n\r\n"):
        assert write(client, key, body, start=5).status_code == 200
    assert everything() == before


BAD = [
    (b'{"n": 1}\n{"n": \n{"n": 3}', 400, "Error parsing data, invalid JSON in line 2: {\"n\":"),
    (b'{"n": 1}\n[1]', 400, "Error parsing data, line 2 is not a JSON object"),
    (b'"text"', 400, "Error parsing data, line 1 is not a JSON object"),
    (b"\xff\xfe", 400, "Error parsing data, invalid JSON in line 1"),
    (b'{"a": "\xff"}', 400, "Error parsing data, invalid JSON in line 1"),
    (b'{"a": 1} {"b": 2}', 400, "Error parsing data, invalid JSON in line 1"),
    (b"{" + b'"a":{' * 2000 + b"}" * 2001, 400, "Error parsing data, invalid JSON in line 1"),
    (b'{"a": "' + b"x" * (1 << 20) + b'"}', 413, "Error parsing data, Serialized value too large - max 1048576 bytes"),
    (b"\x00" * 10, 400, "Error parsing data, invalid JSON in line 1"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "text"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_bad_lines_store_nothing(client: TestClient, body: bytes, status: int, text: str) -> None:
    key = finished_job()
    before = everything()
    for before_it in (0, 2500):
        answer = client.post(f"/items/{key}", content=jl(*[{}] * before_it) + body)
        assert answer.status_code == status
        shifted = re.sub(r"line (\d)", lambda found, n=before_it: f"line {int(found[1]) + n}", text)
        assert answer.text.startswith(shifted)
    assert everything() == before


def test_broken_gzip_stores_nothing(client: TestClient) -> None:
    key = finished_job()
    before = everything()
    whole = gzip.compress(jl(*({"n": n} for n in range(5000))), mtime=0)
    broken = whole[:60] + b"\0\0\0\0" + whole[64:]
    for body in (whole[:-20], whole[:-1], whole[:5], broken, b"not gzip", whole + b"rest"):
        answer = client.post(f"/items/{key}", content=body, headers={"content-encoding": "gzip"})
        assert (answer.status_code, answer.text[:18]) == (400, "Error parsing data")
    answer = client.post(f"/items/{key}", content=whole, headers={"content-encoding": "br"})
    assert (answer.status_code, answer.text) == (
        400,
        "unsupported content encoding: br; send gzip or identity\n",
    )
    assert everything() == before


def zeros(size: int, piece: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9) as file:
        for _ in range(size // len(piece)):
            file.write(piece)
    return buffer.getvalue()


def test_a_gzip_bomb_goes_off_at_the_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLDOCK_STORAGE_MB", "2")
    settings.cache_clear()
    key = finished_job()
    before = everything()
    for piece in (b" " * 1024, b"{}\n" * 1024, b"x" * 1024):
        body = zeros(100 << 20, piece)
        assert len(body) < 400_000
        answer = client.post(f"/items/{key}", content=body, headers={"content-encoding": "gzip"})
        assert answer.status_code == 413 and answer.text.startswith("Error parsing data, ")
    answer = client.post(f"/items/{key}", content=b"{}\n" * (1 << 20))
    assert (answer.status_code, answer.text) == (
        413, "Error parsing data, the request body is larger than 2097152 bytes\n",
    )  # fmt: skip
    assert everything() == before


def test_a_large_upload_is_cut_into_chunks(client: TestClient) -> None:
    key = finished_job()
    values = [{"n": n, "text": "x" * (n % 3000)} for n in range(3500)]
    body = gzip.compress(jl(*values))
    assert client.post(f"/items/{key}", content=body, headers={"content-encoding": "gzip"}).status_code == 200
    assert stored(key) == values
    with db.reading() as session:
        assert records.stats(session, row(key).id or 0, Kind.ITEMS)[0] == {"n": 3500, "text": 3500}


@pytest.mark.parametrize("start", ["x", "-1", "1.5", "99999999999", "2147483647"])
def test_a_bad_start_is_named(client: TestClient, start: str) -> None:
    key = finished_job()
    answer = write(client, key, jl({}), start=start)
    assert (answer.status_code, answer.text) == (400, f"invalid value for start: {start}\n")


def test_log_entries_keep_three_fields_and_odd_ones_become_sensible(client: TestClient) -> None:
    key = make_job()
    entries = [
        {**log_entry("a", 40), "idx": 1, "appendmode": True}, {"message": "b"}, {"time": "x", "level": "y", "message": 5},
        {"level": 999, "message": None, "time": -1}, {"time": 1.5, "level": True, "message": "nul \0 \ud83d\ude00"}, {},
    ]  # fmt: skip
    body = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    assert write(client, key, body, "logs", start=0).status_code == 200
    kept = stored(key, Kind.LOGS)
    assert kept[0] == log_entry("a", 40)
    assert [(each["level"], each["message"]) for each in kept[1:]] == [
        (20, "b"), (20, "5"), (20, "null"), (20, "nul \0 \U0001f600"), (20, ""),
    ]  # fmt: skip
    assert kept[4]["time"] == 1 and all(each["time"] > 1_700_000_000_000 for each in (*kept[1:4], kept[5]))
    assert (row(key).logs, row(key).errors) == (6, 1)


def test_the_messages_bytes_are_counted_as_recorded(client: TestClient) -> None:
    """The service's own figures: 111 items {"x": n} are 444 bytes."""
    key = finished_job()
    write(client, key, jl(*({"x": n} for n in range(111))))
    totals = client.get(f"/items/{key}/stats").json()["totals"]
    assert totals == {"input_bytes": 444, "input_values": 111}


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_write(client: TestClient, kind: str) -> None:
    job, other, guest = running_job(), running_job(), make_key()
    body = jl([1]) if kind == "samples" else jl({"time": 1, "message": "a"})
    path = f"/{kind}/{job.key}"
    before = everything()
    for auth, status in (
        (None, 401), (("x" * 32, ""), 401), ((str(job.key), "0" * 32), 401), ((guest, ""), 403),
        ((str(other.key), other.token), 403),
    ):  # fmt: skip
        client.auth = auth
        assert client.post(path, content=body).status_code == status
    assert everything() == before
    client.auth = (str(job.key), job.token)
    assert client.post(path, content=body).status_code == 200
    finish(job)
    assert client.post(path, content=body).status_code == 401
    assert len(stored(job.key, Kind(kind))) == 1


def test_a_stranger_is_refused_before_a_large_body_is_read(client: TestClient) -> None:
    client.auth = None

    def never_ending() -> Any:
        for _ in range(4096):
            yield b"{}\n" * 4096
        raise AssertionError("all of it was read")

    assert client.post("/items/1/1/1", content=never_ending()).status_code == 401


def test_unknown_and_deleted_jobs(client: TestClient) -> None:
    answer = write(client, JobKey(1, 1, 99), jl({}))
    assert (answer.status_code, answer.text) == (404, "unknown job: 1/1/99\n")
    key = finished_job()
    change(key, state="deleted")
    assert write(client, key, jl({})).status_code == 200  # taken and dropped: its writer need not wait
    assert stored(key) == []


def test_with_a_key_jobs_of_any_state_take_records(client: TestClient) -> None:
    for key in (make_job(), finished_job(), running_job().key):
        assert write(client, key, jl({"n": 1})).status_code == 200
        assert stored(key) == [{"n": 1}]


def test_the_worker_of_a_job_goes_on_after_what_others_wrote(client: TestClient) -> None:
    """Neither loses a record; see also the recorder's tests."""
    job = job_with_items([{"n": 0}])
    write(client, job.key, jl({"n": 1}, {"n": 2}), start=1)
    assert append(job, batch(Kind.ITEMS, [{"n": 3}], 3))
    assert [each["n"] for each in stored(job.key)] == [0, 1, 2, 3]


def test_two_writers_of_one_job_leave_whole_batches(client: TestClient) -> None:
    key = finished_job()

    def work(n: int) -> list[int]:
        body = jl(*({"writer": n, "n": place} for place in range(1500)))
        return [write(client, key, body, start=0).status_code for _ in range(3)]

    assert at_once(2, work) == [[200] * 3] * 2
    found = stored(key)
    assert len({each["writer"] for each in found}) == 1 and [each["n"] for each in found] == list(range(1500))


def test_a_reader_of_a_job_that_is_deleted_and_purged_meanwhile_ends(client: TestClient) -> None:
    job = job_with_items(({"n": n} for n in range(9)), chunk=3)
    blocks = reader.read(job.id, Kind.ITEMS, 0, 9)
    assert len(next(blocks).lines) == 3
    with db.transaction() as session:
        records.purge(session, [job.id])
    assert list(blocks) == []
    assert client.get(f"/items/{job.key}").content == b""
