"""Calls of the job queue, and what became of the jobs: for the tests of jobq."""

from typing import Any

import orjson
from starlette.testclient import TestClient

from app.keys import JobKey
from app.models import Job
from app.services import activity
from tests.factories import everything, row


def send(client: TestClient, path: str, *values: Any, **params: Any) -> Any:
    body = b"\n".join(map(orjson.dumps, values))
    return client.post(f"/jobq/1/{path}", content=body, params=params)


def lines(client: TestClient, path: str, *values: Any) -> list[Any]:
    answer = send(client, path, *values)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
    return [orjson.loads(line) for line in answer.text.splitlines()]


def push(client: TestClient, **fields: Any) -> str:
    (made,) = lines(client, "push", {"spider": "quotes", **fields})
    return str(made["key"])


def refused(client: TestClient, path: str, *values: Any, status: int = 400, **params: Any) -> str:
    """The message of a call that changed nothing."""
    before = everything()
    answer = send(client, path, *values, **params)
    assert (answer.status_code, everything()) == (status, before), answer.text
    return str(answer.json()["message"])


def meta(client: TestClient, key: str) -> Any:
    return client.get(f"/jobs/{key}").json()


def stored(key: str) -> Job:
    return row(JobKey.parse(key))


def events() -> list[str]:
    """What happened in project 1, the oldest first."""
    return [orjson.loads(each.event)["event"].removeprefix("job:") for each in activity.newest([1])][::-1]
