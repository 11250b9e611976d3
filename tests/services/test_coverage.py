"""What records are like, added up from what their chunks have counted."""

from typing import Any

import pytest
from sqlalchemy import null, update
from sqlmodel import col

from app import db
from app.models import Chunk, Kind
from app.services import coverage, records
from app.services.coverage import Coverage
from app.services.jobs import Claimed
from tests.factories import append, batch, job_with_items, log_entry, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")


def of(job: Claimed, kind: Kind) -> Coverage:
    with db.reading() as session:
        return coverage.of_job(session, job.id, kind)


def old_chunks(job: Claimed, **columns: Any) -> None:
    """Chunks as an earlier release has stored them."""
    with db.transaction() as session:
        session.execute(update(Chunk).where(col(Chunk.job_id) == job.id).values(columns))


def test_fields_of_items() -> None:
    job = job_with_items([{"a": 1}, {"a": 2, "b": None}, {}, {"a": 3}], chunk=2)
    assert of(job, Kind.ITEMS) == Coverage({"a": 3, "b": 1}, 4, 4)
    assert of(running_job(), Kind.ITEMS) == Coverage({}, 0, 0)


def test_levels_of_log_entries() -> None:
    job = running_job()
    append(job, batch(Kind.LOGS, [log_entry("x", level) for level in (10, 20, 20, 40)]))
    assert of(job, Kind.LOGS).counts == {"10": 1, "20": 2, "40": 1}


def test_statuses_of_requests_are_counted_and_stats_keep_them_to_themselves() -> None:
    job = running_job()
    statuses = [200, 404, 200, None, "x", 10**9, -1]
    append(job, batch(Kind.REQUESTS, [{"url": "u", "status": status} for status in statuses]))
    assert of(job, Kind.REQUESTS) == Coverage({"200": 2, "404": 1}, 7, 7)
    with db.reading() as session:
        assert records.stats(session, job.id, Kind.REQUESTS)[0] == {"url": 7, "status": 7}


def test_a_large_job_is_told_by_its_last_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "MOST_CHUNKS", 2)
    found = of(job_with_items([{"a": 1}] * 6 + [{"b": 1}] * 6), Kind.ITEMS)
    assert found == Coverage({"b": 6}, 6, 12) and not found.complete


def test_what_earlier_releases_did_not_count_is_not_guessed() -> None:
    job = running_job()
    append(job, batch(Kind.REQUESTS, [{"url": "u", "status": 200}]), batch(Kind.ITEMS, [{"a": 1}]))
    old_chunks(job, counts={"url": 1, "status": 1})
    assert of(job, Kind.REQUESTS) == Coverage({}, 0, 1)
    old_chunks(job, counts=null())
    assert of(job, Kind.ITEMS) == Coverage({}, 0, 1)
