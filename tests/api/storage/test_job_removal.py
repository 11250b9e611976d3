"""DELETE jobs/P/S/J: a job disappears for good (contract 6.7, 7.1)."""

from typing import Any

import orjson
import pytest
from sqlalchemy import func, insert, select
from starlette.testclient import TestClient

from app import db
from app.keys import JobKey
from app.models import Comment, JobState, Kind, Report, metadata
from app.services import records, removal
from tests.factories import (
    append,
    at_once,
    batch,
    change,
    finish,
    finished_job,
    job_with_items,
    make_job,
    row,
)


def get(client: TestClient, path: Any) -> Any:
    answer = client.get(f"/jobs/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def delete(client: TestClient, key: JobKey) -> None:
    answer = client.delete(f"/jobs/{key}")
    assert (answer.status_code, answer.content) == (200, b"")


def rows() -> dict[str, int]:
    """How many rows each table has."""
    with db.reading() as session:
        counts = {
            table.name: session.scalar(select(func.count()).select_from(table))
            for table in metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_in_any_state_is_removed_for_good(client: TestClient, state: JobState) -> None:
    other, before = finished_job(tags=["t"]), rows()
    key = make_job(tags=["t"]) if state == JobState.DELETED else make_job(state=state, tags=["t"])
    change(key, state=state)
    for kind in ("items", "logs", "samples"):
        if state != JobState.DELETED:
            client.post(f"/{kind}/{key}", content=b"[1]" if kind == "samples" else b'{"message": "m"}')
    delete(client, key)
    assert get(client, key) == {}
    counted = rows()
    assert {name: count for name, count in counted.items() if name != "activity"} == {
        name: count for name, count in before.items() if name != "activity"
    }
    assert get(client, other)["tags"] == ["t"]
    assert make_job() == JobKey(1, 1, key.job + 1)


def test_a_running_job_is_taken_from_its_worker(client: TestClient, revoked: list[list[str]]) -> None:
    job = job_with_items([{"n": n} for n in range(10)])
    delete(client, job.key)
    assert revoked == [["task"]]
    assert not append(job, batch(Kind.ITEMS, [{"n": 10}], 10))
    assert not finish(job)
    delete(client, job.key)
    assert revoked == [["task"]]


def test_records_go_in_parts(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, parts = [], records.purge_some
    monkeypatch.setattr(
        records, "purge_some", lambda session, job_id: calls.append(1) or parts(session, job_id, 2)
    )
    job = job_with_items(({"n": n} for n in range(15)), chunk=3)
    finish(job)
    delete(client, job.key)
    assert (len(calls), rows().get("chunk")) == (3, None)


def test_a_removal_that_was_cut_off_is_finished_by_the_next(client: TestClient) -> None:
    job = job_with_items({"n": n} for n in range(9))
    with db.transaction() as session:
        removal.hide(session, job.id, "admin")
        records.purge_some(session, job.id, 1)
    assert (get(client, job.key)["state"], client.get("/jobs/1").content, rows()["chunk"]) == (
        "deleted",
        b"",
        2,
    )
    with db.transaction() as session:
        removal.forget(session, 10**6)
    delete(client, job.key)
    assert (get(client, job.key), rows().get("chunk")) == ({}, None)


def test_only_a_deleted_job_is_forgotten(client: TestClient) -> None:
    key = finished_job()
    with db.transaction() as session:
        removal.forget(session, row(key).id or 0)
    assert get(client, key)["state"] == "finished"


def test_many_remove_and_write_at_once(client: TestClient) -> None:
    job = job_with_items({"n": n} for n in range(9))

    def work(n: int) -> int:
        if n % 2:
            return client.delete(f"/jobs/{job.key}").status_code
        return client.post(f"/jobs/{job.key}/f{n}", content=b"1").status_code

    results = at_once(8, work)
    assert results[1::2] == [200] * 4
    assert set(results[::2]) <= {200, 404}
    assert (get(client, job.key), rows().get("chunk"), rows().get("job")) == ({}, None, None)


def test_what_hangs_on_a_job_goes_with_it(client: TestClient) -> None:
    before, key = rows(), finished_job(tags=["t"])
    about = {"project_id": 1, "job_id": row(key).id, "created_time": 1}
    with db.transaction() as session:
        session.execute(insert(Comment).values(**about, item=0, author="a", text="t"))
        session.execute(insert(Report).values(**about, key="k", content_type="text/plain", content="c"))
    delete(client, key)
    assert rows() == before | {"activity": rows()["activity"]}


def test_the_log_tells_of_a_removal_once(client: TestClient) -> None:
    key = finished_job()
    delete(client, key)
    delete(client, key)
    events = [orjson.loads(line) for line in client.get("/activity/1").text.splitlines()]
    assert [event["event"] for event in events] == ["job:deleted", "job:completed"]
    assert events[0] == {"event": "job:deleted", "job": str(key), "user": "admin"}
