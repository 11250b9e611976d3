"""events.sse and log.sse in process, each call ended after one look: what is sent, and from where on."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app import db
from app.api import sse
from app.models import Kind
from app.services import activity, apikeys
from tests.factories import append, batch, finish, log_entry, make_job, make_key, make_project, running_job

Event = tuple[str | None, str | None, Any]  # event, id, data


def told(answer: Response) -> list[Event]:
    """The events of a stream; of those without a name the id alone."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for part in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if set(lines) - {"retry"}:
            data = orjson.loads(lines["data"]) if "data" in lines else None
            found.append((lines.get("event"), lines.get("id"), data))
    return found


def look(client: TestClient, path: str = "events.sse", **params: Any) -> list[Event]:
    headers = {"Last-Event-ID": str(params.pop("seen"))} if "seen" in params else {}
    return told(client.get(f"/api/{path}", params={"project": 1, "timeout": 0, **params}, headers=headers))


def test_an_event_tells_what_happened_to_which_job(client: TestClient) -> None:
    key = make_job()
    ((name, number, data),) = look(client, last=0)
    assert (name, number) == ("job:scheduled", "1")
    assert data.pop("time") > 1_700_000_000_000
    assert data == {"event": "job:scheduled", "job": str(key), "user": "admin"}


def test_without_a_last_id_only_the_place_to_go_on_from_is_told(client: TestClient) -> None:
    make_job()
    assert look(client) == [(None, "1", None)]
    make_job()
    assert [number for _, number, _ in look(client, seen=1)] == ["2"]
    assert [number for _, number, _ in look(client, last=0, seen=2)] == []  # the header is the newer one


def test_events_of_one_job(client: TestClient) -> None:
    make_job()
    job = running_job()
    append(job, batch(Kind.ITEMS, [{}]), batch(Kind.LOGS, [log_entry("a", 40)]))
    counters, *happened = look(client, job=str(job.key), last=0)
    assert [name for name, _, _ in happened] == ["job:scheduled", "job:started"]
    assert counters[2].pop("elapsed") >= 0
    wanted = {"job": str(job.key), "items": 1, "pages": 0, "logs": 1, "errors": 1}
    assert counters == ("counters", None, wanted)


def test_what_users_add_keeps_to_its_line_and_is_called_activity(client: TestClient) -> None:
    with db.transaction() as session:
        activity.add(session, 1, [b'{"event": "end",\r"deep": %s}' % (b"[" * 300 + b"]" * 300), b'{"n": 1}'])
    first, second = look(client, last=0)
    assert (first[0], first[2]["event"]) == ("activity", "end")
    assert second[2].keys() == {"n", "time"}


def test_the_log_comes_with_its_indexes_and_ends_with_the_job(client: TestClient) -> None:
    job = running_job()
    for first in range(0, 6, 2):
        append(job, batch(Kind.LOGS, [log_entry(f"m{first}"), log_entry("x")], first=first))
    found = look(client, "log.sse", job=str(job.key))
    assert [(name, number) for name, number, _ in found] == [("log", str(n)) for n in range(6)]
    assert found[0][2] == log_entry("m0")
    finish(job, "no_reason")
    *found, end = look(client, "log.sse", job=str(job.key), seen=3)
    assert [number for _, number, _ in found] == ["4", "5"]
    assert end == ("end", None, {"state": "finished", "close_reason": "no_reason", "logs": 6})
    assert look(client, "log.sse", job=str(job.key), start=-1)[0][1] == "5"
    assert len(look(client, "log.sse", job=str(job.key), start=2)) == 5


def test_headers_that_keep_proxies_from_holding_it_back(client: TestClient) -> None:
    headers = client.get("/api/events.sse?project=1&timeout=0").headers
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("events.sse?project=1&last=x", "last"),
        ("events.sse?project=1&timeout=-1", "timeout"),
        ("events.sse?project=1&timeout=99999999", "timeout"),
        ("events.sse?project=1&job=1/1", "job"),
        ("log.sse?project=1", "job"),
        ("log.sse?project=1&job=2/1/1", "job"),
        ("log.sse?project=1&job=1/1/77", "1/1/77"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_streamed(
    client: TestClient, path: str, wrong: str
) -> None:
    answer = client.get(f"/api/{path}")
    assert answer.status_code in (400, 404)
    assert wrong in answer.json()["message"]


def test_a_stranger_hears_nothing(client: TestClient) -> None:
    make_project()
    client.auth = (make_key(projects=[2]), "")
    assert client.get("/api/events.sse?project=1&timeout=0").status_code == 400
    assert look(client, project=2) == [(None, "0", None)]


def test_who_loses_the_key_hears_no_more(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(sse, "POLL_SECONDS", 0.01)
    client.auth = (make_key(projects=[1]), "")
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(client.get, "/api/events.sse?project=1&timeout=300")
        with db.transaction() as session:
            apikeys.revoke(session, "guest", "somebody")
        assert listening.result(30).status_code in (200, 403)  # it may not have begun before
