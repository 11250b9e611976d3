"""Large bodies, large answers, and clients that misbehave: memory stays bounded, others are served."""

import gzip
import io
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from app.keys import JobKey
from tests.load.conftest import Api
from tests.platform import until

GROWTH = 50  # MB that the process may grow by


def items(count: int, first: int = 0, words: int = 30) -> bytes:
    text = b"word " * words
    return b"".join(b'{"n": %d, "text": "%s"}\n' % (n, text) for n in range(first, first + count))


@pytest.fixture(scope="module")
def large(api: Api) -> JobKey:
    """A job with 100,000 items, 150 MB: three times what the process may grow by."""
    key = api.job()
    for first in range(0, 100_000, 10_000):
        answer = api.http.post(f"/items/{key}", params={"start": first}, content=items(10_000, first, 300))
        assert answer.status_code == 200
    return key


def read(api: Api, path: str) -> tuple[int, int]:
    """Bytes of an answer, and by how many MB the process grew while it was read, at most."""
    highest, size = (before := api.memory()), 0
    with api.http.stream("GET", path, headers={"accept-encoding": "identity"}) as answer:
        for part in answer.iter_raw():
            if size >> 20 != (size := size + len(part)) >> 20:
                highest = max(highest, api.memory())
    return size, highest - before


@pytest.mark.parametrize("form", ["jl", "json", "msgpack", "xml", "csv&fields=n,text"])
def test_a_large_job_is_read_in_constant_memory(api: Api, large: JobKey, form: str) -> None:
    size, grown = read(api, f"/items/{large}?format={form}")
    assert size > 150_000_000
    assert grown < GROWTH


def test_a_list_of_many_jobs_is_read_in_constant_memory(api: Api) -> None:
    api.copies(api.job(), 100_000, {"args": "word " * 300})
    size, grown = read(api, "/api/jobs/list.jl?project=1")
    assert size > 150_000_000
    assert grown < GROWTH


def test_reading_begins_at_any_item(api: Api, large: JobKey) -> None:
    for n in (0, 1, 50_000, 99_998):
        answer = api.http.get(f"/items/{large}", params={"start": f"{large}/{n}", "count": 2})
        assert [orjson.loads(line)["n"] for line in answer.content.splitlines()] == [n, n + 1]


def test_a_client_that_stops_reading_holds_nobody_up(api: Api) -> None:
    wanted = api.job()
    for first in range(0, 100_000, 20_000):
        api.http.post(f"/items/{wanted}", params={"start": first}, content=items(20_000, first))
    before = api.memory()
    stuck = [api.connect(f"/items/{wanted}?meta=_key") for _ in range(50)]
    try:
        time.sleep(1)  # their buffers are full now
        key = api.job()
        started = time.monotonic()
        for n in range(20):
            assert api.http.post(f"/items/{key}", content=items(10)).status_code == 200
            assert len(api.http.get(f"/items/{key}").content.splitlines()) == 10 * (n + 1)
        assert time.monotonic() - started < 20
        assert api.memory() - before < 3 * GROWTH  # a block each, at most
    finally:
        for line in stuck:
            line.close()


def test_a_client_that_sends_slowly_holds_nobody_up(api: Api) -> None:
    key = api.job()
    slow = []
    for _ in range(50):
        line = socket.create_connection(("127.0.0.1", api.port))
        line.sendall(
            f"POST /items/{key}?apikey={'x' * 32} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode()
        )
        slow.append(line)
    try:
        assert api.http.post(f"/items/{key}", content=items(10)).status_code == 200
    finally:
        for line in slow:
            line.close()
    assert api.http.get(f"/items/{key}/stats").json()["totals"]["input_values"] == 10


def test_an_item_of_100_mb_is_refused_and_costs_little(api: Api) -> None:
    key, before = api.job(), api.memory()

    def parts() -> Iterator[bytes]:
        yield b'{"text": "'
        for _ in range(100):
            yield b"x" * (1 << 20)
        yield b'"}\n'

    answer = api.http.post(f"/items/{key}", content=parts())
    assert (answer.status_code, answer.text) == (
        413, "Error parsing data, Serialized value too large - max 1048576 bytes\n",
    )  # fmt: skip
    assert api.http.get(f"/items/{key}").content == b""
    assert api.memory() - before < GROWTH


def test_a_gzip_bomb_costs_little(api: Api) -> None:
    key, before = api.job(), api.memory()
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as bomb:
        bomb.write(b'{"text": "')
        for _ in range(200):
            bomb.write(b"x" * (1 << 20))
    answer = api.http.post(f"/items/{key}", content=buffer.getvalue(), headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert api.memory() - before < GROWTH


def test_a_body_of_100_mb_is_stored_in_little_memory(api: Api) -> None:
    key = api.job()
    body = gzip.compress(items(500_000), 1)
    before = api.memory()
    answer = api.http.post(f"/items/{key}?start=0", content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 200
    assert api.memory() - before < GROWTH
    assert api.http.get(f"/items/{key}/stats").json()["totals"]["input_values"] == 500_000


def test_an_upload_that_breaks_off_stores_nothing(api: Api) -> None:
    key = api.job()
    body = items(1000)
    for sent in (len(body) // 2, len(body) - 1):
        with socket.create_connection(("127.0.0.1", api.port)) as line:
            line.sendall(b"POST /items/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\nContent-Length: %d\r\n\r\n" % (
                str(key).encode(), b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY6", len(body)))  # fmt: skip
            line.sendall(body[:sent])
            time.sleep(0.2)
    assert api.http.get(f"/items/{key}").content == b""


@pytest.mark.parametrize("path", ["/api/schedule.json", "/api/jobs/update.json", "/login", "/items/1/1/1"])
def test_a_client_that_leaves_while_it_sends_is_no_fault_of_ours(api: Api, path: str) -> None:
    head = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n"
    with socket.create_connection(("127.0.0.1", api.port)) as line:
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\nproject=1".encode())
        time.sleep(0.2)
    until(lambda: f"'{path}': the client left while it was sending" in api.log_text())
    assert "Traceback" not in api.log_text()


def test_readers_and_writers_of_one_job_at_once(api: Api) -> None:
    """Whoever reads meanwhile sees a beginning of what is there in the end, without gaps."""
    key = api.job()

    def write(_: int) -> None:
        for first in range(0, 5000, 500):
            assert (
                api.http.post(f"/items/{key}", params={"start": first}, content=items(500, first)).status_code
                == 200
            )

    def read(_: int) -> None:
        for _ in range(10):
            found = [orjson.loads(line)["n"] for line in api.http.get(f"/items/{key}").content.splitlines()]
            assert found == list(range(len(found)))

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(write, n) for n in range(2)] + [pool.submit(read, n) for n in range(4)]
        for each in jobs:
            each.result()
    assert api.http.get(f"/items/{key}/stats").json()["totals"]["input_values"] == 5000


@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}/x", "/projects/1/settings", "/jobq/1/startjob", "/jobq/1/cancel",
                                  "/jobq/1/push", "/jobq/1/update", "/collections/1/s/c/k", "/activity/1"])  # fmt: skip
def test_a_bomb_of_small_values_costs_little(api: Api, path: str) -> None:
    key, before = api.job(), api.memory()
    for line, count in (
        (b"1\n", 12_000_000),
        (b'{"spider":"x","key":"1/1/1","a":[' + b"[]," * 300_000 + b"[]]}\n", 60),
    ):
        answer = api.http.post(
            path.format(key), content=gzip.compress(line * count, 1), headers={"content-encoding": "gzip"}
        )
        assert answer.status_code in (400, 413), answer.text[:200]
    assert api.memory() - before < 4 * GROWTH
