"""Records of a job: append, read, merge, remove."""

import pytest
from sqlalchemy.exc import IntegrityError

from app import db
from app.models import Chunk, Kind
from app.services import records
from tests.factories import (
    append,
    batch,
    finish,
    finished_job,
    job_with_items,
    log_entry,
    row,
    running_job,
)

pytestmark = pytest.mark.usefixtures("database", "sent")


def read(job_id: int, start: int = 0, stop: int = 10_000, kind: Kind = Kind.ITEMS) -> list[bytes]:
    return [line for block in records.read(job_id, kind, start, stop) for line in block.lines]


def chunks_of(job_id: int) -> list[tuple[str, int, int]]:
    with db.reading() as session:
        found = session.query(Chunk).filter_by(job_id=job_id).order_by(Chunk.kind, Chunk.first)
        return [(chunk.kind, chunk.first, chunk.count) for chunk in found]


def compact(job_id: int) -> None:
    with db.transaction() as session:
        records.compact(session, job_id)


def test_each_kind_is_counted() -> None:
    job = running_job()
    logs = batch(Kind.LOGS, [log_entry("a"), log_entry("b", 40)])
    logs = records.Batch(logs.kind, 0, logs.times, logs.lines, errors=1)
    assert append(job, batch(Kind.ITEMS, [1, 2, 3]), batch(Kind.REQUESTS, [{}]), logs, stats={"n": 1})
    stored = row(job.key)
    assert (stored.items, stored.pages, stored.logs, stored.errors) == (3, 1, 2, 1)
    assert stored.scrapystats == {"n": 1}
    with db.reading() as session:
        assert [records.total(session, job.id, kind) for kind in Kind] == [3, 2, 1]


def test_errors_add_up_and_stats_stay() -> None:
    job = running_job()
    for first in (0, 1):
        assert append(job, records.Batch(Kind.LOGS, first, [1], [b"{}"], errors=1), stats={"n": first})
    append(job, batch(Kind.LOGS, [{}], 2))
    assert (row(job.key).errors, row(job.key).logs, row(job.key).scrapystats) == (2, 3, {"n": 1})


def test_a_stranger_and_an_owner_of_old_write_nothing() -> None:
    job, ended = running_job(), running_job()
    finish(ended)
    with db.transaction() as session:
        assert not records.append(session, job.id, "0" * 32, [batch(Kind.ITEMS, [1])], {"n": 1})
    assert not append(ended, batch(Kind.ITEMS, [1]))
    assert (read(job.id), read(ended.id), row(job.key).items, row(job.key).scrapystats) == ([], [], 0, None)


def test_the_same_records_twice_are_a_conflict() -> None:
    job = running_job()
    append(job, batch(Kind.ITEMS, [1]))
    with pytest.raises(IntegrityError):
        append(job, batch(Kind.ITEMS, [1]))
    assert read(job.id) == [b"1"]


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (0, 3), (2, 4), (3, 6), (4, 5), (9, 99), (5, 5), (10, 12)]
)
def test_any_range_is_read(start: int, stop: int) -> None:
    job = job_with_items(range(10), chunk=3)
    assert read(job.id, start, stop) == [b"%d" % n for n in range(10)][start:stop]


def test_times_are_read_when_asked_for() -> None:
    job = job_with_items(range(4), chunk=3)
    blocks = list(records.read(job.id, Kind.ITEMS, 1, 4, times=True))
    assert [(block.first, block.times) for block in blocks] == [(1, [1_000_001, 1_000_002]), (3, [1_000_000])]


def test_kinds_and_jobs_are_apart() -> None:
    one, two = job_with_items([1]), job_with_items([2])
    assert (read(one.id), read(two.id), read(one.id, kind=Kind.LOGS)) == ([b"1"], [b"2"], [])


def test_the_longest_chunk_is_found_from_its_last_record() -> None:
    job = job_with_items(range(2 * records.MAX_RECORDS), chunk=records.MAX_RECORDS)
    last = records.MAX_RECORDS - 1
    assert read(job.id, last, last + 2) == [b"%d" % last, b"%d" % (last + 1)]


def test_small_chunks_become_one() -> None:
    job = job_with_items(range(10), chunk=3)
    append(job, batch(Kind.LOGS, [{}]))
    compact(job.id)
    assert chunks_of(job.id) == [("items", 0, 10), ("logs", 0, 1)]
    assert read(job.id) == [b"%d" % n for n in range(10)]
    blocks = list(records.read(job.id, Kind.ITEMS, 0, 10, times=True))
    assert blocks[0].times[2:5] == [1_000_002, 1_000_000, 1_000_001]


def test_merged_chunks_stay_under_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 7)
    job = job_with_items(range(20), chunk=3)
    compact(job.id)
    assert [count for _, _, count in chunks_of(job.id)] == [6, 6, 6, 2]
    monkeypatch.setattr(records, "MAX_RECORDS", 1000)
    monkeypatch.setattr(records, "MAX_BYTES", 14)
    compact(job.id)
    assert [count for _, _, count in chunks_of(job.id)] == [12, 6, 2]


def test_a_gap_is_not_closed() -> None:
    job = running_job()
    for first in (0, 2, 7, 9):
        append(job, batch(Kind.ITEMS, [first, first + 1], first))
    compact(job.id)
    assert chunks_of(job.id) == [("items", 0, 4), ("items", 7, 4)]
    assert read(job.id, 3, 8) == [b"3", b"7"]


def test_merging_while_somebody_reads_loses_and_doubles_nothing() -> None:
    job = job_with_items(range(10), chunk=2)
    reading = records.read(job.id, Kind.ITEMS, 0, 10)
    seen = [*next(reading).lines, *next(reading).lines]
    compact(job.id)
    assert seen + [line for block in reading for line in block.lines] == [b"%d" % n for n in range(10)]


def test_purge_takes_the_records_of_these_jobs_alone() -> None:
    one, two = job_with_items([1]), job_with_items([2])
    with db.transaction() as session:
        records.purge(session, [one.id])
        records.purge(session, [])
    assert (read(one.id), read(two.id)) == ([], [b"2"])


def test_a_job_without_records_reads_as_none() -> None:
    assert read(row(finished_job()).id or 0) == []
