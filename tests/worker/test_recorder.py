"""Records on their way to the database: complete, in order, once, whatever the database does meanwhile."""

import time
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from sqlalchemy import text

from app import db
from app.models import Job, Kind, StrayObject
from app.services import jobs, payloads, reader, records
from app.services.jobs import Claimed, NewJob
from app.services.records import MAX_BYTES, MAX_RECORDS
from tests import stores
from tests.stores import Place
from worker import fifo
from worker.recorder import FIRST_FLUSHES, FIRST_SECONDS, FLUSH_SECONDS, FULL_BYTES, Recorder


@pytest.fixture
def job(database: str, sent: object) -> Claimed:
    """A running job, which is ours."""
    with db.transaction() as session:
        jobs.schedule(session, 1, NewJob("quotes"), "admin")
        claimed = jobs.claim(session, "worker@here", "task")
    assert claimed
    return claimed


@pytest.fixture
def recorder(job: Claimed) -> Recorder:
    return Recorder(job.id, job.token)


def take(recorder: Recorder, *lines: bytes) -> None:
    for line in lines:
        recorder.take(fifo.parse(line))


def stored(job: Claimed, kind: Kind) -> list[object]:
    return [orjson.loads(line) for block in reader.read(job.id, kind, 0, 1 << 40) for line in block.lines]


def log_of(job: Claimed) -> list[tuple[int, str]]:
    return [(entry["level"], entry["message"]) for entry in stored(job, Kind.LOGS)]  # type: ignore[index]


def row(job: Claimed) -> Job:
    with db.reading() as session:
        found = session.get(Job, job.id)
        assert found
        return found


def rename(table: str, name: str) -> None:
    """Rename a table: while it is away, the database refuses every write to it."""
    with db.transaction() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def test_each_kind_is_stored_and_counted(job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"a": 1.0}', b'LOG {"time":5,"level":40,"message":"oh"}', b'STA {"stats":{"n":1}}')
    take(
        recorder,
        b'REQ {"url":"u","parent":null}',
        b'FIN {"outcome":"done"}',
        b'LOG {"level":20,"message":""}',
    )
    assert recorder.flush() and recorder.outcome == "done"
    assert stored(job, Kind.ITEMS) == [{"a": 1.0}] and stored(job, Kind.REQUESTS) == [{"url": "u"}]
    assert stored(job, Kind.LOGS)[0] == {"time": 5, "level": 40, "message": "oh"}
    now = row(job)
    assert (now.items, now.pages, now.logs, now.errors, now.scrapystats) == (1, 1, 2, 1, {"n": 1})


def test_records_are_cut_into_chunks(job: Claimed, recorder: Recorder) -> None:
    lines = [b'ITM {"n":%d}' % n for n in range(2 * MAX_RECORDS + 1)]
    big = b'ITM {"b":"' + b"x" * (MAX_BYTES * 2 // 3) + b'"}'
    take(recorder, *lines, big, big, *lines)
    assert recorder.due() and recorder.flush() and not recorder.due()
    with db.reading() as session:
        sizes = session.execute(text("SELECT count FROM chunk ORDER BY first")).scalars().all()
    assert sizes == [1000, 1000, 2, 1000, 1000, 2]
    assert stored(job, Kind.ITEMS) == [orjson.loads(line[4:]) for line in [*lines, big, big, *lines]]


def test_the_first_flushes_come_sooner(
    job: Claimed, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = recorder._flushed
    clock = SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns)
    monkeypatch.setattr("worker.recorder.time", clock)
    for n in range(FIRST_FLUSHES + 1):
        recorder.flush()  # there is nothing to write
        take(recorder, b'ITM {"n":%d}' % n)
        assert not recorder.due()
        now += FIRST_SECONDS + 0.001
        assert recorder.due() == (n < FIRST_FLUSHES)
        now += 0 if recorder.due() else FLUSH_SECONDS
        assert recorder.due() and recorder.flush()


def test_a_second_flush_goes_on_where_the_first_ended(job: Claimed, recorder: Recorder) -> None:
    for n in range(3):
        take(recorder, b'ITM {"n":%d}' % n, b'LOG {"level":40,"message":"%d"}' % n)
        assert recorder.flush()
    assert stored(job, Kind.ITEMS) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert (row(job).items, row(job).logs, row(job).errors) == (3, 3, 3)


def test_nothing_is_lost_or_doubled_over_a_database_error(job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"n":0}', b'LOG {"level":40,"message":"a"}')
    rename("chunk", "away")
    assert not recorder.flush()
    take(recorder, b'ITM {"n":1}', b'STA {"stats":{"n":2}}')
    assert not recorder.flush()
    rename("away", "chunk")
    assert recorder.flush() and recorder.flush()
    assert stored(job, Kind.ITEMS) == [{"n": 0}, {"n": 1}] and log_of(job) == [(40, "a")]
    assert (row(job).items, row(job).errors, row(job).scrapystats) == (2, 1, {"n": 2})


def test_a_retry_sends_the_same_chunks(job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"n":0}')
    rename("chunk", "away")
    assert not recorder.flush()
    rename("away", "chunk")
    take(recorder, b'ITM {"n":1}')
    assert recorder.flush()
    with db.reading() as session:
        firsts = session.execute(text("SELECT first, count FROM chunk ORDER BY first")).all()
    assert [tuple(first) for first in firsts] == [(0, 1), (1, 1)]


def test_a_commit_whose_answer_was_lost_is_not_repeated(job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"n":0}', b'LOG {"level":40,"message":"a"}')
    rename("chunk", "away")
    assert not recorder.flush()
    rename("away", "chunk")
    assert recorder._sending
    with db.transaction() as session:  # the attempt that was stored after all
        assert records.append(session, job.id, job.token, *recorder._sending)
    take(recorder, b'ITM {"n":1}')
    assert recorder.flush() and not recorder.lost
    assert stored(job, Kind.ITEMS) == [{"n": 0}, {"n": 1}]
    assert (row(job).items, row(job).logs, row(job).errors) == (2, 1, 1)


def test_without_the_token_nothing_is_written(job: Claimed) -> None:
    stranger = Recorder(job.id, "0" * 32)
    take(stranger, b'ITM {"n":0}', b'STA {"stats":{}}')
    assert stranger.flush() and stranger.lost
    take(stranger, b'ITM {"n":1}')
    assert stranger.flush()
    assert stored(job, Kind.ITEMS) == [] and (row(job).items, row(job).scrapystats) == (0, None)


def test_after_the_end_nothing_is_written(job: Claimed, recorder: Recorder) -> None:
    with db.transaction() as session:
        assert jobs.finish(session, job.id, job.token, "finished")
    take(recorder, b'ITM {"n":0}')
    assert recorder.flush() and recorder.lost and stored(job, Kind.ITEMS) == []


def test_rubbish_becomes_an_error_entry(job: Claimed, recorder: Recorder) -> None:
    take(recorder, b"\xff\x00", b'LOG {"level":"x"}', b'LOG {"level":20,"message":5}')
    assert recorder.flush()
    assert log_of(job) == [
        (40, r"[pipe] not a message: \xff\x00"),
        (40, '[pipe] a log entry without level or message: {"level":"x"}'),
        (40, '[pipe] a log entry without level or message: {"level":20,"message":5}'),
    ]


def test_what_is_nested_too_deep_to_be_stored_becomes_an_error_entry(
    job: Claimed, recorder: Recorder
) -> None:
    deep = b"[" * 1000 + b"]" * 1000
    take(recorder, b'REQ {"a":' + deep + b"}", b'STA {"stats":{"a":' + deep + b"}}")
    take(
        recorder, b'LOG {"level":' + deep + b"}", b'FIN {"outcome":' + deep + b"}", b'ITM {"a":' + deep + b"}"
    )
    assert recorder.flush() and recorder.outcome == "no_reason"
    assert [level for level, _ in log_of(job)] == [40, 40, 40]
    assert (row(job).items, row(job).pages, row(job).scrapystats) == (1, 0, None)


def test_a_log_entry_with_a_bad_time_gets_the_time_it_came(job: Claimed, recorder: Recorder) -> None:
    for moment in (b"-1", b"0", b"1e3", b'"1"', b"null", b"9007199254740993"):
        take(recorder, b'LOG {"time":' + moment + b',"level":20,"message":"x"}')
    assert recorder.flush()
    times = [entry["time"] for entry in stored(job, Kind.LOGS)]  # type: ignore[index]
    assert len(times) == 6 and all(1_600_000_000_000 < time < 1 << 44 for time in times)


def test_nul_and_lone_surrogates_reach_the_database_in_no_text(job: Claimed, recorder: Recorder) -> None:
    nasty = b"x\\u0000y\\ud800z"
    for line in (b'LOG {"level":20,"message":"%s"}', b'FIN {"outcome":"%s"}', b'STA {"stats":{"%s":"%s"}}'):
        take(recorder, line.replace(b"%s", nasty))
    assert recorder.flush() and recorder.outcome == "x\ufffdy?z"
    with db.transaction() as session:
        assert jobs.finish(session, job.id, job.token, recorder.outcome)
    assert log_of(job) == [(20, "x\ufffdy?z")]


@pytest.mark.parametrize("outcome", [b"null", b'""', b"[]", b"5"])
def test_an_outcome_that_says_nothing(outcome: bytes) -> None:
    recorder = Recorder(1, "token")
    take(recorder, b'FIN {"outcome":' + outcome + b"}")
    assert recorder.outcome == "no_reason"


def test_it_is_full_when_much_waits_for_the_database(recorder: Recorder) -> None:
    line = b'ITM {"a":"' + b"x" * 900_000 + b'"}'
    rename("chunk", "away")
    for _ in range(FULL_BYTES // len(line)):
        take(recorder, line)
        assert not recorder.full
    take(recorder, line)
    assert recorder.full
    rename("away", "chunk")
    assert recorder.flush() and not recorder.full


def test_a_sample_counts_what_came_before_it(job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"n":0}', b'LOG {"level":50,"message":"x"}')
    recorder.sample(7)
    assert recorder.flush()
    take(recorder, b'ITM {"n":1}', b'REQ {"url":"u"}', b'LOG {"level":30,"message":"x"}')
    recorder.sample(9)
    assert recorder.flush()
    samples = stored(job, Kind.SAMPLES)
    assert [sample[1:] for sample in samples] == [[1, 0, 1, 1, 7], [2, 1, 2, 1, 9]]  # type: ignore[index]


def test_samples_follow_those_that_the_spider_has_written(job: Claimed, recorder: Recorder) -> None:
    theirs = records.pack(Kind.SAMPLES, 0, [5], [b"[1,2,3]"])
    with db.transaction() as session:
        assert records.upload(session, job.id, Kind.SAMPLES, 0, [theirs], 1, job.token)
    take(recorder, b'ITM {"n":0}')
    recorder.sample(7)
    assert recorder.flush() and len(stored(job, Kind.SAMPLES)) == 2
    assert stored(job, Kind.ITEMS) == [{"n": 0}]


def strays() -> int:
    with db.reading() as session:
        return session.query(StrayObject).count()


@pytest.fixture
def folder(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A chunk store, where all chunks belong."""
    place = stores.folder(tmp_path / "chunks")
    place.use(monkeypatch)
    return place


def test_chunks_go_into_the_store(folder: Place, job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"n":0}', b'LOG {"level":40,"message":"a"}')
    assert recorder.flush() and len(folder.objects()) == 2 and strays() == 0
    assert stored(job, Kind.ITEMS) == [{"n": 0}] and log_of(job) == [(40, "a")]


def test_while_the_store_is_away_records_are_kept(
    folder: Place, job: Claimed, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(recorder, b'ITM {"n":0}')
    with folder.away(monkeypatch):
        assert not recorder.flush() and not recorder.flush()
        take(recorder, b'ITM {"n":1}')
    assert recorder.flush() and stored(job, Kind.ITEMS) == [{"n": 0}, {"n": 1}]
    assert len(folder.objects()) == 2


def test_when_the_store_stays_away_the_database_takes_them(
    folder: Place, job: Claimed, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(recorder, b'ITM {"n":0}')
    with folder.away(monkeypatch):
        assert not recorder.flush()
        monkeypatch.setattr("worker.recorder.PATIENCE_SECONDS", 0)
        assert recorder.flush() and stored(job, Kind.ITEMS) == [{"n": 0}]
    take(recorder, b'ITM {"n":1}')
    assert recorder.flush() and len(folder.objects()) == 1
    assert stored(job, Kind.ITEMS) == [{"n": 0}, {"n": 1}]


def test_while_the_database_is_away_the_store_is_written_once(
    folder: Place, job: Claimed, recorder: Recorder
) -> None:
    take(recorder, b'ITM {"n":0}')
    rename("chunk", "away")
    assert not recorder.flush() and not recorder.flush()
    rename("away", "chunk")
    assert recorder.flush() and len(folder.objects()) == 1 and strays() == 0
    assert stored(job, Kind.ITEMS) == [{"n": 0}]


def test_what_was_swept_meanwhile_is_written_anew(folder: Place, job: Claimed, recorder: Recorder) -> None:
    take(recorder, b'ITM {"n":0}')
    rename("chunk", "away")
    assert not recorder.flush()
    with db.transaction() as session:
        session.query(StrayObject).update({"time": 5})
    payloads.sweep()
    assert folder.objects() == set()
    rename("away", "chunk")
    assert recorder.flush() and stored(job, Kind.ITEMS) == [{"n": 0}]


def test_a_lost_answer_is_recognised_in_the_store_too(
    folder: Place, job: Claimed, recorder: Recorder
) -> None:
    take(recorder, b'ITM {"n":0}')
    rename("chunk", "away")
    assert not recorder.flush()
    rename("away", "chunk")
    assert recorder._sending
    with db.transaction() as session:
        assert records.append(session, job.id, job.token, *recorder._sending)
    assert recorder.flush() and len(folder.objects()) == 1
    assert stored(job, Kind.ITEMS) == [{"n": 0}]
