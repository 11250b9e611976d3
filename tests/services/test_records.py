"""Records of a job: append, read, merge, remove."""

from typing import Any

import pytest

from app import db, store
from app.errors import Elsewhere, OutOfStep
from app.models import Chunk, Kind
from app.services import reader, records
from app.services.compaction import compact
from app.services.jobs import Claimed
from tests.factories import (
    append,
    at_once,
    batch,
    change,
    finish,
    finished_job,
    job_with_items,
    log_entry,
    row,
    running_job,
)
from tests.stores import Place

pytestmark = pytest.mark.usefixtures("place", "sent")


def read(job_id: int, start: int = 0, stop: int = 10_000, kind: Kind = Kind.ITEMS) -> list[bytes]:
    return [line for block in reader.read(job_id, kind, start, stop) for line in block.lines]


def chunks_of(job_id: int) -> list[tuple[str, int, int]]:
    with db.reading() as session:
        found = session.query(Chunk).filter_by(job_id=job_id).order_by(Chunk.kind, Chunk.first)
        return [(chunk.kind, chunk.first, chunk.count) for chunk in found]


def upload(
    job: Claimed,
    values: list[Any],
    start: int | None = None,
    kind: Kind = Kind.ITEMS,
    token: str | None = None,
) -> bool:
    batches, fetched = records.placed([batch(kind, values)]), dict[str, bytes]()
    while True:
        try:
            with db.transaction() as session:
                return records.upload(session, job.id, kind, start, batches, len(values), token, fetched)
        except Elsewhere as parts:
            fetched.update((url, store.read(url)) for url in parts.urls)


def test_each_kind_is_counted() -> None:
    job = running_job()
    logs = batch(Kind.LOGS, [log_entry("a"), log_entry("b", 40)])
    assert append(job, batch(Kind.ITEMS, [1, 2, 3]), batch(Kind.REQUESTS, [{}]), logs, stats={"n": 1})
    stored = row(job.key)
    assert (stored.items, stored.pages, stored.logs, stored.errors) == (3, 1, 2, 1)
    assert stored.scrapystats == {"n": 1}
    with db.reading() as session:
        assert [records.total(session, job.id, kind) for kind in Kind] == [3, 2, 1, 0]


def test_errors_add_up_and_stats_stay() -> None:
    job = running_job()
    for first in (0, 1):
        assert append(job, batch(Kind.LOGS, [log_entry("a", 40)], first), stats={"n": first})
    append(job, batch(Kind.LOGS, [{}], 2))
    assert (row(job.key).errors, row(job.key).logs, row(job.key).scrapystats) == (2, 3, {"n": 1})


def test_a_stranger_and_an_owner_of_old_write_nothing() -> None:
    job, ended = running_job(), running_job()
    finish(ended)
    with db.transaction() as session:
        assert not records.append(session, job.id, "0" * 32, [batch(Kind.ITEMS, [1])], {"n": 1})
    assert not append(ended, batch(Kind.ITEMS, [1]))
    assert (read(job.id), read(ended.id), row(job.key).items, row(job.key).scrapystats) == ([], [], 0, None)


def test_the_same_records_twice_are_out_of_step() -> None:
    job = running_job()
    batches, others = (records.placed([batch(Kind.ITEMS, [n])]) for n in (1, 2))
    with db.transaction() as session:
        assert records.append(session, job.id, job.token, batches, None)
    with pytest.raises(OutOfStep):
        append(job, batch(Kind.ITEMS, [1]))
    assert read(job.id) == [b"1"]
    with db.reading() as session:
        assert records.has(session, job.id, batches)
        assert not records.has(session, job.id, others)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (0, 3), (2, 4), (3, 6), (4, 5), (9, 99), (5, 5), (10, 12)]
)
def test_any_range_is_read(start: int, stop: int) -> None:
    job = job_with_items(range(10), chunk=3)
    assert read(job.id, start, stop) == [b"%d" % n for n in range(10)][start:stop]


def test_times_are_read_when_asked_for() -> None:
    job = job_with_items(range(4), chunk=3)
    blocks = list(reader.read(job.id, Kind.ITEMS, 1, 4, times=True))
    assert [(block.numbers[0], block.times) for block in blocks] == [
        (1, [1_000_001, 1_000_002]),
        (3, [1_000_000]),
    ]


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
    finish(job)
    assert compact(job.id) and row(job.key).compacted
    assert chunks_of(job.id) == [("items", 0, 10), ("logs", 0, 1)]
    assert read(job.id) == [b"%d" % n for n in range(10)]
    blocks = list(reader.read(job.id, Kind.ITEMS, 0, 10, times=True))
    assert blocks[0].times[2:5] == [1_000_002, 1_000_000, 1_000_001]


def test_merged_chunks_stay_under_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 7)
    job = job_with_items(range(20), chunk=3)
    finish(job)
    compact(job.id)
    assert [count for _, _, count in chunks_of(job.id)] == [6, 6, 6, 2]
    monkeypatch.setattr(records, "MAX_RECORDS", 1000)
    monkeypatch.setattr(records, "MAX_BYTES", 14)
    compact(job.id)
    assert [count for _, _, count in chunks_of(job.id)] == [12, 6, 2]


def test_a_gap_is_not_closed() -> None:
    job = running_job()
    for first in (0, 2, 7, 9):
        upload(job, [first, first + 1], first)
    finish(job)
    compact(job.id)
    assert chunks_of(job.id) == [("items", 0, 4), ("items", 7, 4)]
    assert read(job.id, 3, 8) == [b"3", b"7"]


def test_merging_while_somebody_reads_loses_and_doubles_nothing() -> None:
    job = job_with_items(range(10), chunk=2)
    finish(job)
    reading = reader.read(job.id, Kind.ITEMS, 0, 10)
    seen = next(reading).lines
    compact(job.id)
    assert [*seen] + [line for block in reading for line in block.lines] == [b"%d" % n for n in range(10)]


def test_purge_takes_the_records_of_these_jobs_alone() -> None:
    one, two = job_with_items([1]), job_with_items([2])
    with db.transaction() as session:
        records.purge(session, [one.id])
        records.purge(session, [])
    assert (read(one.id), read(two.id)) == ([], [b"2"])


def test_a_job_without_records_reads_as_none() -> None:
    assert read(row(finished_job()).id or 0) == []


@pytest.mark.parametrize(
    ("start", "values", "result"),
    [
        (None, [9, 9], [0, 1, 2, 3, 4, 5, 6, 9, 9]),  # after the last one
        (7, [9], [0, 1, 2, 3, 4, 5, 6, 9]),
        (0, [9, 9, 9], [9, 9, 9, 3, 4, 5, 6]),  # exactly a chunk
        (1, [9], [0, 9, 2, 3, 4, 5, 6]),  # inside of one
        (2, [9, 9, 9], [0, 1, 9, 9, 9, 5, 6]),  # parts of two
        (1, [9] * 9, [0, 9, 9, 9, 9, 9, 9, 9, 9, 9]),  # over the end
        (0, [9] * 7, [9] * 7),
    ],
)
def test_an_upload_takes_the_place_of_what_is_there(
    start: int | None, values: list[int], result: list[int]
) -> None:
    job = job_with_items(range(7), chunk=3)
    for _ in range(2 if start is not None else 1):  # a retry changes nothing
        assert upload(job, values, start)
        assert read(job.id) == [b"%d" % value for value in result]
        assert row(job.key).items == len(result)


def test_uploads_after_a_gap_keep_their_places() -> None:
    job = running_job()
    assert upload(job, [1, 2], 5)
    assert read(job.id) == [b"1", b"2"] and read(job.id, 6, 9) == [b"2"] and read(job.id, 0, 5) == []
    assert row(job.key).items == 7


def test_errors_of_replaced_log_entries_are_not_counted_twice() -> None:
    job = running_job()
    entries = [log_entry("a", 40), log_entry("b", 50), log_entry("c")]
    for start in (0, 0, 1):
        upload(job, entries, start, Kind.LOGS)
    assert (row(job.key).errors, row(job.key).logs) == (3, 4)  # a, then a b c


def test_each_upload_has_one_time_later_than_those_before() -> None:
    job = running_job()
    for _ in range(3):
        upload(job, [{}, {}])
    times = [block.times for block in reader.read(job.id, Kind.ITEMS, 0, 9, times=True)]
    assert all(first == second for first, second in times)
    assert times[0] < times[1] < times[2]


def test_an_upload_to_a_deleted_job_or_with_a_token_of_old_writes_nothing() -> None:
    job = running_job()
    assert upload(job, [{}], token=job.token)
    assert not upload(job, [{}], token="0" * 32)
    finish(job)
    assert not upload(job, [{}], token=job.token)
    assert upload(job, [{}])
    change(job.key, state="deleted")
    assert not upload(job, [{}]) and row(job.key).items == 2


def test_two_writers_at_once_leave_one_or_the_other() -> None:
    job = running_job()
    results = at_once(2, lambda n: [upload(job, [{"n": n}] * 5, 0) for _ in range(5)])
    assert results == [[True] * 5] * 2
    assert read(job.id) in ([b'{"n":0}'] * 5, [b'{"n":1}'] * 5) and row(job.key).items == 5


def test_stats_add_up_over_chunks() -> None:
    job = running_job()
    append(job, batch(Kind.ITEMS, [{"x": n} for n in range(111)]))
    upload(job, [{"y": 1}])
    upload(job, [log_entry("ab"), log_entry("é", 40), log_entry("", 40)], kind=Kind.LOGS)
    upload(job, [{"time": 1, "url": "u"}, {"time": 1}], kind=Kind.REQUESTS)
    with db.reading() as session:
        found = [records.stats(session, job.id, kind) for kind in Kind]
    assert found == [
        ({"x": 111, "y": 1}, 448, 112),
        ({"20": 1, "40": 2}, 7, 3),
        ({"url": 1}, 20, 2),
        ({}, 0, 0),
    ]


def test_stats_of_chunks_of_the_first_release_are_counted_now(monkeypatch: pytest.MonkeyPatch) -> None:
    Place(None).use(monkeypatch)
    job = job_with_items([{"x": 1}, {"x": 2}])
    with db.transaction() as session:
        session.query(Chunk).update({"counts": None, "input_bytes": None})
    with db.reading() as session:
        assert records.stats(session, job.id, Kind.ITEMS) == ({"x": 2}, 8, 2)


def test_purging_in_parts() -> None:
    job = job_with_items(range(7), chunk=1)
    for left in ([b"5", b"6"], []):
        with db.transaction() as session:
            assert records.purge_some(session, job.id, 5) == bool(left)
        assert read(job.id) == left


def test_what_was_replaced_later_is_still_found_by_its_time_when_merged() -> None:
    job = running_job()
    upload(job, [{}] * 5, 5)
    with db.reading() as session:
        before = session.query(Chunk).filter_by(job_id=job.id).one().last_time
    upload(job, [{}] * 5, 0)
    finish(job)
    compact(job.id)
    later = reader.read(job.id, Kind.ITEMS, 0, 10, times=True, since=before + 1)
    assert sum(time > before for block in later for time in block.times) == 5
