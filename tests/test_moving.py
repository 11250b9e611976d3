"""Chunks on their way from one place to another: all of them, to the byte, whoever dies meanwhile."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlmodel import col

from app import db, moving, store
from app.errors import Elsewhere
from app.models import Chunk, Kind, StrayObject
from app.services import payloads, reader, records
from app.services.compaction import compact
from tests import stores
from tests.factories import append, at_once, batch, finish, job_with_items
from tests.stores import Place

pytestmark = pytest.mark.usefixtures("database", "sent")

NUMBER = 12  # chunks of a job
LINES = [b"%d" % n for n in range(2 * NUMBER)]
# Moves all chunks, and dies in the third call of a function: before it, or after it. Later calls, of other
# threads, wait for that, so no more chunks are moved than there were calls.
CALLS = 3
DYING = f"""
import os, signal, sys, time
from app import moving, store
from app.services import payloads

payloads.SMALL = 0
module, name, when = sys.argv[1:]
function, calls = getattr(sys.modules[module], name), iter(range(10**9))

def dying(*args):
    call = next(calls) + 1
    if call > {CALLS}:
        time.sleep(60)
    last = call == {CALLS}
    if last and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*args)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(sys.modules[module], name, dying)
for _ in moving.move_all():
    pass
"""
POINTS = [
    ("app.store", "write", "before"), ("app.store", "write", "after"),
    ("app.services.payloads", "claim", "before"), ("app.services.payloads", "strayed", "after"),
    ("app.moving", "_move", "after"),
]  # fmt: skip


def move() -> Counter[str]:
    *_, counts = moving.move_all()
    return counts


def read(job_id: int) -> list[bytes]:
    return [line for block in reader.read(job_id, Kind.ITEMS, 0, 10_000) for line in block.lines]


def named() -> set[str]:
    with db.reading() as session:
        return {url for url in session.scalars(select(col(Chunk.object_url))) if url}


def forget_strays() -> None:
    with db.transaction() as session:
        session.query(StrayObject).update({"time": 5})
    payloads.sweep()


@pytest.fixture
def places(tmp_path: Path, s3: str) -> list[Place]:
    """One of each kind."""
    return [Place(None), stores.bucket(s3), stores.folder(tmp_path / "chunks")]


def test_from_each_place_to_each_other(places: list[Place], monkeypatch: pytest.MonkeyPatch) -> None:
    places[0].use(monkeypatch)
    job = job_with_items(range(2 * NUMBER), chunk=2)
    database, bucket, folder = places
    now = database
    for target in (bucket, folder, database, folder, bucket, database):
        Place(target.url, bucket.server).use(monkeypatch)
        assert move() == {moving.MOVED: NUMBER}
        assert read(job.id) == LINES
        forget_strays()
        assert target.objects() == named() and now.objects() == set()
        assert move() == {moving.THERE: NUMBER}
        now = target


def test_small_chunks_stay_in_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Place(None).use(monkeypatch)
    job = job_with_items([1])
    append(job, batch(Kind.ITEMS, [os.urandom(200).hex()], 1))
    folder = stores.folder(tmp_path / "chunks")
    folder.use(monkeypatch, small=150)
    assert move() == {moving.MOVED: 1, moving.SMALL: 1} and len(folder.objects()) == 1


@pytest.mark.parametrize("back", [False, True], ids=["out", "back"])
@pytest.mark.parametrize("point", POINTS, ids="-".join)
def test_a_kill_loses_nothing_and_leaves_nothing(
    back: bool, point: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, folder = Place(None), stores.folder(tmp_path / "chunks")
    source, target = (folder, database) if back else (database, folder)
    if back and point[0] != "app.moving":
        point = ("app.services.payloads", "strayed", point[2])  # nothing is written
    source.use(monkeypatch)
    job = job_with_items(range(2 * NUMBER), chunk=2)
    target.use(monkeypatch)
    died = subprocess.run([sys.executable, "-c", DYING, *point], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert read(job.id) == LINES and named() <= folder.objects()
    assert move()[moving.MOVED] >= NUMBER - CALLS
    forget_strays()
    assert read(job.id) == LINES and folder.objects() == named()
    assert len(named()) == (0 if back else NUMBER)


def test_while_others_write_and_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Place(None).use(monkeypatch)
    merged, replaced = job_with_items(range(24), chunk=2), job_with_items(range(24), chunk=2)
    finish(merged)
    folder = stores.folder(tmp_path / "chunks")
    folder.use(monkeypatch)

    def upload(first: int) -> None:
        batches, fetched = records.placed([batch(Kind.ITEMS, [first])]), dict[str, bytes]()
        while True:
            try:
                with db.transaction() as session:
                    records.upload(session, replaced.id, Kind.ITEMS, first, batches, 1, None, fetched)
                return
            except Elsewhere as parts:
                fetched.update((url, store.read(url)) for url in parts.urls)

    work = [move, lambda: compact(merged.id), lambda: [upload(n) for n in range(24)], move]
    results = at_once(4, lambda n: work[n]())
    assert not [result for result in results if isinstance(result, Exception)]
    assert read(merged.id) == read(replaced.id) == [b"%d" % n for n in range(24)]
    move()
    forget_strays()
    assert folder.objects() == named()


def test_a_lost_object_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.folder(tmp_path / "chunks").use(monkeypatch)
    job_with_items(range(4), chunk=2)
    store.remove(sorted(named())[:1])
    Place(None).use(monkeypatch)
    assert move() == {moving.MOVED: 1, moving.LOST: 1}


def test_chunks_of_the_first_release_are_counted_when_they_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Place(None).use(monkeypatch)
    job = job_with_items([{"x": 1}, {"x": 2}])
    with db.transaction() as session:
        session.query(Chunk).update({"counts": None, "input_bytes": None})
    stores.folder(tmp_path / "chunks").use(monkeypatch)
    move()
    with db.reading() as session:
        assert records.stats(session, job.id, Kind.ITEMS) == ({"x": 2}, 8, 2)
