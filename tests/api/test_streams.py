"""Answers from the chunk store, on both faces: whole, refused, or visibly cut off."""

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from app import db, store
from app.api import streams
from app.models import Chunk
from app.services.jobs import Claimed
from tests import stores
from tests.factories import everything, finish, job_with_items, row
from tests.stores import Place


@pytest.fixture
def folder(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A chunk store, where all chunks belong."""
    place = stores.folder(tmp_path / "chunks")
    place.use(monkeypatch)
    return place


def jl(*values: Any) -> bytes:
    return b"".join(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE) for value in values)


def urls(job: Claimed) -> list[str]:
    """Of the items that the two faces give."""
    storage = [
        f"/items/{job.key}?format={name}&fields=n" for name in ("jl", "json", "csv", "xml", "msgpack", "text")
    ]
    dash = [
        f"/api/items.{name}?project=1&job={job.key}&fields=n&include_headers=1"
        for name in ("jl", "json", "csv")
    ]
    return [*storage, f"/items/{job.key}/0", f"/items/{job.key}/n", *dash]


def test_records_are_read_and_replaced_in_parts(client: TestClient, folder: Place) -> None:
    job = job_with_items([{"n": n} for n in range(6)])
    finish(job)
    for _ in range(2):
        body = jl({"n": "a"}, {"n": "b"})
        assert client.post(f"/items/{job.key}", content=body, params={"start": 2}).status_code == 200
    values = [orjson.loads(line)["n"] for line in client.get(f"/items/{job.key}?format=jl").text.splitlines()]
    assert values == [0, 1, "a", "b", 4, 5] and row(job.key).items == 6


def test_a_store_that_is_away_is_a_503_that_changes_nothing(
    client: TestClient, folder: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_with_items([{"n": n} for n in range(6)])
    with folder.away(monkeypatch):
        for url in urls(job):
            answer = client.get(url)
            assert (answer.status_code, "the chunk store does not answer" in answer.text) == (503, True), url
        before = everything()
        answer = client.post(f"/items/{job.key}", content=jl({"n": 1}), params={"start": 2})
        now = everything()
        assert answer.status_code == 503
        assert len(now.pop("stray_object")) > len(before.pop("stray_object")) and now == before
    assert [client.get(url).status_code for url in urls(job)] == [200] * len(urls(job))
    assert "Traceback" not in caplog.text


def test_an_answer_that_has_begun_is_cut_off(
    client: TestClient, folder: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    job = job_with_items([{"n": n} for n in range(6)])
    with db.reading() as session:
        last = session.get_one(Chunk, (job.id, "items", 3)).object_url
    assert last
    store.remove([last])
    for url in urls(job)[:3]:
        answer = client.get(url)
        assert (answer.status_code, "5" in answer.text) == (200, False)
    assert caplog.text.count("an answer was cut off: records are missing") == 3


def test_parts_are_joined_and_the_first_waits_for_none() -> None:
    given = iter([b"a", b"b", b"c"])
    parts = streams.joined(given)
    assert (next(parts), given.__length_hint__()) == (b"a", 2)
    assert list(parts) == [b"bc"]


def test_parts_that_are_large_or_slow_are_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    large = b"x" * streams.PART_BYTES
    assert list(streams.joined(iter([large, large, b"a"]))) == [large, large, b"a"]
    monkeypatch.setattr(streams, "PART_SECONDS", -1)
    assert list(streams.joined(iter([b"a", b"b", b"c"]))) == [b"a", b"b", b"c"]
