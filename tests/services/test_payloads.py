"""Payloads in the chunk store: no row without its object, no object without its row."""

import pytest
from sqlalchemy import select
from sqlmodel import col

from app import db, store
from app.errors import Condemned, ObjectLost, StoreAway
from app.models import Chunk, Kind, StrayObject
from app.services import payloads, reader, reconciler, records, series
from tests.factories import append, batch, change, finish, job_with_items, row, running_job
from tests.stores import Place

pytestmark = [
    pytest.mark.usefixtures("sent"),
    pytest.mark.parametrize("place", ["file", "s3"], indirect=True),
]


def named() -> set[str]:
    """The objects that rows name."""
    with db.reading() as session:
        return {url for url in session.scalars(select(col(Chunk.object_url))) if url}


def strays() -> set[str]:
    with db.reading() as session:
        return set(session.scalars(select(col(StrayObject.url))))


def age() -> None:
    """An hour passes."""
    with db.transaction() as session:
        session.query(StrayObject).update({"time": 5})


def read(job_id: int) -> list[bytes]:
    return [line for block in reader.read(job_id, Kind.ITEMS, 0, 10_000) for line in block.lines]


def test_payloads_are_in_the_store_and_rows_are_empty(place: Place) -> None:
    job = job_with_items(range(7), chunk=3)
    assert named() == place.objects() and len(named()) == 3 and not strays()
    with db.reading() as session:
        assert {chunk.data for chunk in session.query(Chunk).filter_by(job_id=job.id)} == {b""}
    assert read(job.id) == [b"%d" % n for n in range(7)]


def test_small_payloads_stay_in_their_rows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.use(monkeypatch, small=100)
    job = job_with_items([1])
    append(job, batch(Kind.ITEMS, [{"text": "".join(map(chr, range(200, 900)))}], 1))
    assert len(place.objects()) == len(named()) == 1 and len(read(job.id)) == 2


def test_what_was_refused_or_never_stored_goes_after_an_hour(place: Place) -> None:
    job = job_with_items([1])
    kept = place.objects()
    records.placed([batch(Kind.ITEMS, [2])])  # and its writer dies
    finish(job)
    assert not append(job, batch(Kind.ITEMS, [3], 1))
    assert len(place.objects()) == 3 and strays() == place.objects() - kept
    payloads.sweep()
    assert len(place.objects()) == 3
    age()
    assert not payloads.sweep()
    assert place.objects() == kept == named() and not strays()


def test_what_is_merged_replaced_or_removed_goes_after_an_hour(place: Place) -> None:
    job, gone, parts = job_with_items(range(9)), job_with_items(range(9)), job_with_items(range(9))
    for each in (job, gone):
        finish(each)
    change(gone.key, state="deleted", deleted_time=5)
    reconciler.tidy(0)
    with db.transaction() as session:
        assert not records.purge_some(session, parts.id)
    assert len(named()) == 1 and len(place.objects()) == 10 and strays() == place.objects() - named()
    age()
    reconciler.tidy(0)
    assert place.objects() == named() and read(job.id) == [b"%d" % n for n in range(9)]


def test_objects_that_are_being_removed_are_written_anew(place: Place) -> None:
    job, late = running_job(), records.placed([batch(Kind.ITEMS, [1])])
    age()
    payloads.sweep()
    with pytest.raises(Condemned), db.transaction() as session:
        records.append(session, job.id, job.token, late, None)
    assert read(job.id) == [] and place.objects() == set()
    assert append(job, *late) and read(job.id) == [b"1"]


def test_a_sweep_that_died_is_repeated(place: Place) -> None:
    records.placed([batch(Kind.ITEMS, [n]) for n in range(3)])
    age()
    with db.transaction() as session:
        session.query(StrayObject).update({"condemned": True})
    store.remove(sorted(place.objects())[:1])
    payloads.sweep()
    assert place.objects() == strays() == set()


def test_a_lost_object_is_told_and_stops_nothing_else(place: Place) -> None:
    job, other = job_with_items(range(4), chunk=2), job_with_items(range(4), chunk=2)
    for each in (job, other):
        finish(each)
    with db.reading() as session:
        query = select(col(Chunk.object_url)).where(col(Chunk.job_id) == job.id)
        store.remove(session.scalars(query).all()[:1])
    with pytest.raises(ObjectLost, match="missing"):
        read(job.id)
    reconciler.tidy(0)
    assert len(named()) == 3 and read(other.id) == [b"0", b"1", b"2", b"3"]


def test_while_the_store_is_away_nothing_is_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_with_items(range(4), chunk=2)
    finish(job)
    records.placed([batch(Kind.ITEMS, [1])])
    age()
    before = named(), strays()
    with place.away(monkeypatch):
        with pytest.raises(StoreAway):
            records.placed([batch(Kind.ITEMS, [2])])
        with pytest.raises(StoreAway):
            read(job.id)
        reconciler.tidy(0)
        assert named() == before[0] and strays() > before[1]
    age()
    reconciler.tidy(0)
    assert place.objects() >= named() and len(named()) == 1
    assert read(job.id) == [b"0", b"1", b"2", b"3"]


def test_charts_come_from_samples_in_the_store_and_do_without_when_it_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = running_job()
    start = (row(job.key).running_time or 0) - 600_000
    change(job.key, running_time=start)
    stands = [[start + n * 60_000, 10 * n, n, n, 0, 1000 + n] for n in range(1, 10)]
    assert append(job, batch(Kind.SAMPLES, stands))

    def peak() -> int | None:
        with db.reading() as session:
            return series.of_job(session, job.id).peak

    assert peak() == 1009
    with place.away(monkeypatch):
        assert peak() is None
