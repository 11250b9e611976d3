"""No hot query reads a whole table: how the databases carry out what the services really ask them."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker, chunks, db, moving, prepared
from app.keys import JobKey
from app.models import (
    Activity,
    Chunk,
    Collection,
    CollectionRecord,
    Fingerprint,
    FrontierBatch,
    FrontierSlot,
    Job,
    JobState,
    JobTag,
    Kind,
    Project,
    Spider,
    StrayObject,
    Worker,
)
from app.services import (
    activity,
    collections,
    frontier,
    jobboard,
    joblist,
    jobmeta,
    jobs,
    keyorder,
    payloads,
    queue,
    reader,
    reconciler,
    records,
    workers,
)
from app.services.collections import Range, Source
from app.services.jobboard import Wanted
from app.services.joblist import Filter
from app.settings import settings

PROJECTS, SPIDERS, JOBS = 10, 10, 20_000  # half of the jobs are project 1's
CHUNKS = 4000  # of one job; the others have one each
RECORDS = 8000  # of one of two collections, and fingerprints and batches of one of two slots
LARGE = (
    "job", "chunk", "job_tag", "activity", "stray_object", "collection_record", "fingerprint", "frontier_batch",
)  # fmt: skip
# Small whatever happens: a job is in one of them for a while only, and then never again.
WAITING = ("ix_job_queue", "ix_job_running", "ix_job_unpurged", "ix_job_uncompacted")
MOST = 2500  # rows of a large table that a query may touch: the longest page, or all that have a tag of some
RUNNING, FULL = 30, 31  # row ids of jobs: one that runs, and the one with many chunks
LATE = 1_700_000_000_000  # ms
DATA = chunks.pack([LATE] * 3, [b"{}"] * 3)


def state_of(n: int) -> JobState:
    if n % 200 == 0:
        return JobState.PENDING
    if n % 200 == RUNNING:
        return JobState.RUNNING
    return JobState.DELETED if n % 21 == 2 else JobState.FINISHED


def job_row(n: int) -> dict[str, Any]:
    project = 1 if n % 2 else n // 2 % PROJECTS + 1
    spider = (project - 1) * SPIDERS + n // 20 % SPIDERS + 1
    state, moment = state_of(n), LATE + n
    return {
        "project_id": project, "spider_id": spider, "number": n, "state": state, "priority": n % 5,
        "state_time": moment, "updated_time": moment, "touched_time": moment, "pending_time": moment,
        "finished_time": moment, "deleted_time": moment, "purged": n % 1000 != 2, "compacted": n % 1000 != 1,
        "token": "t" if state == JobState.RUNNING else None,
        "lease_time": LATE * 2 if state == JobState.RUNNING else None, "items": 3 * CHUNKS,
        "close_reason": "finished" if n % 3 else "cancelled",
    }  # fmt: skip


def chunk_row(job_id: int, first: int) -> dict[str, Any]:
    return {
        "job_id": job_id, "kind": "items", "first": first, "count": 3, "first_time": LATE, "last_time": LATE,
        "size": 100, "counts": {"n": 3}, "input_bytes": 9, "data": DATA, "object_url": None,
    }  # fmt: skip


def fill(connection: Connection) -> None:
    def put(table: Any, rows: list[dict[str, Any]]) -> None:
        connection.execute(insert(table), rows)

    ids = range(1, JOBS + 1)
    put(Project, [{"id": n, "name": f"p{n}", "created_time": 1} for n in range(1, PROJECTS + 1)])
    put(
        Spider,
        [
            {"project_id": p, "number": n, "name": f"s{n}", "deployed": True, "jobs": JOBS if p == 1 else 100}
            for p in range(1, PROJECTS + 1)
            for n in range(1, SPIDERS + 1)
        ],
    )
    put(Job, [job_row(n) for n in ids])
    put(
        JobTag,
        [{"job_id": n, "tag": "common" if n % 10 == 1 else f"rare{n % 1000}", "position": 0} for n in ids],
    )
    put(Chunk, [chunk_row(n, 0) for n in ids if n != FULL])
    put(Chunk, [chunk_row(FULL, 3 * n) for n in range(CHUNKS)])
    put(Activity, [{"project_id": n % PROJECTS + 1, "time": n, "event": "{}"} for n in ids])
    put(StrayObject, [{"url": f"file:///x/{n}", "time": LATE * 2} for n in ids])
    keys = [(each, b"%08d" % n) for n in range(RECORDS) for each in (1, 2)]
    put(Collection, [{"project_id": 1, "type": "s", "name": f"c{n}"} for n in (1, 2)])
    put(CollectionRecord, [{"collection_id": n, "key": k, "time": LATE, "value": b"{}"} for n, k in keys])
    put(FrontierSlot, [{"project_id": 1, "frontier": "f", "slot": f"s{n}"} for n in (1, 2)])
    put(Fingerprint, [{"slot_id": n, "fp": key, "fdata": None} for n, key in keys])
    batches = [{"slot_id": n, "priority": int(key) % 9, "number": int(key)} for n, key in keys]
    put(FrontierBatch, [{**each, "count": 1, "requests": b"[]"} for each in batches])
    put(Worker, [{"name": "w", "kind": workers.WORKER, "slots": 2000, "seen_time": LATE * 2}])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def full(
    request: pytest.FixtureRequest, sqlite_template: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A database with many rows. PostgreSQL has looked at them, as it does by itself; SQLite never does."""
    folder: Path = tmp_path_factory.mktemp("plans")
    (folder / "test.db").write_bytes(sqlite_template)
    url = f"sqlite:///{folder / 'test.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url_of_module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("CRAWLDOCK_DATA_DIR", str(folder / "data"))
        patch.setattr(joblist, "RARE", JOBS // 20)
        patch.setattr(jobboard, "LOOK", 50)
        patch.setattr(jobboard, "COUNTED", 1000)
        patch.setattr(broker._sender, "send", lambda *_: None)
        settings.cache_clear()
        db.engine.cache_clear()
        with db.engine().execution_options(writes=True).begin() as connection:
            fill(connection)
        if request.param == "postgres":
            with db.engine().execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
        yield
        db.engine().dispose()
    db.engine.cache_clear()
    settings.cache_clear()


@contextmanager
def captured() -> Iterator[list[tuple[str, Any]]]:
    """What is asked of the database meanwhile: statements and parameters."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if re.match(r"(SELECT|UPDATE|DELETE|WITH)\b|INSERT INTO \S+ \(.*\) SELECT", statement) and not many:
            found.append((statement, parameters))

    def send(connection: Connection, text: str, bound: Any = ()) -> list[Any]:
        note(connection, None, text, bound, None, many=False)
        return plain_send(connection, text, bound)

    plain_send = prepared.send
    event.listen(db.engine(), "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepared, "send", send)  # which no event tells of
            yield found
    finally:
        event.remove(db.engine(), "before_cursor_execute", note)


def faults(statement: str, parameters: Any, most: int) -> list[str]:
    """What is wrong with how the database carries a statement out."""
    with db.engine().execution_options(writes=True).connect() as connection:
        if connection.dialect.name == "sqlite":
            steps = [
                row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
            return [step for step in steps if _scans(step)]
        explain = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, FORMAT JSON)"  # carried out, and rolled back
        (plan,) = connection.exec_driver_sql(f"{explain} {statement}", parameters).scalars()
    return list(_walk((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"], most))


def _scans(step: str) -> bool:
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
    return found is not None and found[1] in LARGE and found[2] not in WAITING


def _walk(node: dict[str, Any], most: int) -> Iterator[str]:
    table = node.get("Relation Name")
    if table in LARGE and node["Node Type"] != "ModifyTable":
        gone = sum(node.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
        touched = (node["Actual Rows"] + gone) * node["Actual Loops"]
        if node["Node Type"] == "Seq Scan" or touched > most:
            yield f"{node['Node Type']} of {table} by {node.get('Index Name')}: {touched:.0f} rows"
    for child in node.get("Plans", ()):
        yield from _walk(child, most)


def check(ask: Callable[[], Any], most: int = MOST, least: int = 1) -> None:
    with captured() as asked:
        ask()
    assert len(asked) >= least
    found = {statement: faults(statement, parameters, most) for statement, parameters in asked}
    assert [f"{wrong}: {statement}" for statement, wrong in found.items() if wrong] == []


def rolled_back(ask: Callable[[Session], Any]) -> Callable[[], Any]:
    def run() -> None:
        with Session(db.engine().execution_options(writes=True)) as session:
            ask(session)

    return run


def running(session: Session, ask: Callable[[Session, int, str], Any]) -> None:
    assert ask(session, RUNNING, "t")


def batch(first: int, kind: Kind = Kind.ITEMS) -> records.Batch:
    return records.pack(kind, first, [1], [b"{}"])


IN_A_TRANSACTION: dict[str, Callable[[Session], Any]] = {
    "claim": lambda session: jobs.claim(session, "w", "task"),
    "start outside": lambda session: queue.start(session, 2, {}, "somebody"),
    "heartbeat": lambda session: jobs.heartbeat(session, RUNNING, "t"),
    "finish": lambda session: jobs.finish(session, RUNNING, "t", "finished"),
    "reap": jobs.reap,
    "end what was stopped": jobs.end_stopped,
    "wanted": lambda session: workers.wanted(session, reconciler.MOST_WAKES),
    "retention": lambda session: reconciler._expire(session, 1),
    "purge": reconciler._purge,
    "purge in parts": lambda session: records.purge_some(session, FULL),
    "job by key": lambda session: jobs.find(session, JobKey(1, 1, 1)),
    "jobs by key": lambda session: joblist.page(session, Filter(1, keys=[JobKey(1, 1, 1)]), 100, 0),
    "stop": lambda session: jobs.request_stop(session, [JobKey(1, 5, 29)], "somebody"),
    "delete": lambda session: jobs.delete(session, [JobKey(1, 5, 29)], "somebody"),
    "schedule": lambda session: jobs.schedule(session, 1, jobs.NewJob("s1"), "somebody"),
    "metadata": lambda session: jobmeta.by_id(session, range(1, 100)),
    "tags": lambda session: joblist.update_tags(session, range(1, 100), ["new"], ["common"]),
    "records: append": lambda session: records.append(session, RUNNING, "t", [batch(3 * CHUNKS)], None),
    "records: upload": lambda session: records.upload(session, FULL, Kind.ITEMS, 4, [batch(0)], 1, None),
    "records: total": lambda session: [records.total(session, FULL, kind) for kind in Kind],
    "collection: get": lambda session: collections.get(session, COLLECTION, b"00004000"),
    "strays: claim": lambda session: payloads.claim(session, ["file:///x/1"]),
}  # fmt: skip
PAGES = {
    "project": Filter(1),
    "spider": Filter(1, spider="s1"),
    **{str(state): Filter(1, states=[state]) for state in JobState},
    "spider and state": Filter(1, spider="s1", states=[JobState.FINISHED]),
    "common tag": Filter(1, has_tag=["common"]),
    "rare tag": Filter(2, has_tag=["rare22"]),
    "lacking tag": Filter(1, lacks_tag=["rare22"]),
    "unknown tag": Filter(1, has_tag=["nosuch"]),
    "unknown spider": Filter(1, spider="nosuch"),
    "spider, state and common tag": Filter(1, spider="s1", states=[JobState.FINISHED], has_tag=["common"]),
    "spider, state and rare tag": Filter(2, spider="s1", states=[JobState.FINISHED], has_tag=["rare22"]),
    "times": Filter(1, startts=LATE + 10, endts=LATE + 5000),
}
BOARDS = {
    "project": Wanted(1),
    "small project": Wanted(2),
    "spider": Wanted(1, spider="s1"),
    "outcome": Wanted(1, outcome="cancelled"),
    "other outcomes": Wanted(1, outcome="!finished"),
    "spider and outcome": Wanted(1, spider="s1", outcome="cancelled"),
    "since": Wanted(1, since=LATE + JOBS - 100),
    "common tag": Wanted(1, tags=["common"]),
    "rare tag": Wanted(2, tags=["rare22"]),
    "argument": Wanted(1, args={"n": "1"}),
}
COLLECTION = Source(1, None)
BY_THEMSELVES: dict[str, Callable[[], Any]] = {
    "records: read": lambda: list(reader.read(FULL, Kind.ITEMS, 5000, 5010)),
    "records: read late": lambda: list(reader.read(FULL, Kind.ITEMS, 5000, 5010, since=LATE)),
    "compact": reconciler._compact,
    "strays: sweep": payloads.sweep,
    "move chunks": lambda: next(moving.move_all()),
    "activity": lambda: next(activity.newest([1])),
    "collection: scan": lambda: next(collections.scan(COLLECTION, Range())),
    "collection: go on": lambda: next(collections.scan(COLLECTION, Range(start=b"00004000"), values=False)),
    "collection: prefix": lambda: next(collections.scan(COLLECTION, Range(prefixes=[b"000055"]))),
    "collection: keys": lambda: next(collections.scan(COLLECTION, Range(keys=[b"00000007", b"00007000"]))),
    "frontier: queue": lambda: next(frontier.batches(1, 100)),
    "frontier: fingerprints": lambda: next(frontier.fingerprints(1)),
    "activity of all": lambda: next(activity.newest(range(1, PROJECTS + 1))),
}

pytestmark = pytest.mark.usefixtures("full")


@pytest.mark.parametrize("name", IN_A_TRANSACTION)
def test_in_a_transaction(name: str) -> None:
    check(rolled_back(IN_A_TRANSACTION[name]))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_jobs(name: str) -> None:
    check(rolled_back(lambda session: joblist.page(session, PAGES[name], 100, 0)))


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING, JobState.FINISHED])
@pytest.mark.parametrize("name", BOARDS)
def test_a_page_of_the_dashboard(name: str, state: JobState) -> None:
    wanted = BOARDS[name]
    check(rolled_back(lambda session: jobboard.section(session, wanted, state)), least=0)
    check(rolled_back(lambda session: jobboard.outcomes(session, wanted.project)))


@pytest.mark.parametrize("name", ["project", "spider", "pending", "spider and state", "rare tag"])
def test_a_count_reads_no_more_than_it_counts(name: str) -> None:
    wanted = replace(PAGES[name], project=2)
    with db.reading() as session:
        number = joblist.count(session, wanted)
    check(rolled_back(lambda session: joblist.count(session, wanted)), most=number + 200)


@pytest.mark.parametrize("name", ["project", "spider", "finished", "spider and state", "rare tag"])
def test_all_jobs_are_read_from_an_index(name: str) -> None:
    """As ``jobs/list.jl`` and ``jobs/update.json`` do, which then go through them some at a time."""
    wanted = replace(PAGES[name], project=2)
    with db.reading() as session:
        number = joblist.count(session, wanted)
    check(rolled_back(lambda session: joblist.ids(session, wanted, 2**31 - 1, 0)), most=number + 200)


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_by_itself(name: str) -> None:
    check(BY_THEMSELVES[name])


@pytest.mark.parametrize("project", [1, 2], ids=["large", "small"])
@pytest.mark.parametrize("spider", [None, 3])
def test_lists_by_key(project: int, spider: int | None) -> None:
    check(lambda: next(keyorder.ids(project, spider, JobKey(project, 0, 0), 1000)))
    check(lambda: next(keyorder.ids(project, spider, JobKey(project, 3, 500), 1000), None))
    after = JobKey(project, 0, 0)
    for kind in (Kind.ITEMS, Kind.SAMPLES):
        found = partial(
            keyorder.with_records, project=project, spider=spider, kind=kind, after=after, limit=99
        )
        check(rolled_back(found))


def test_a_bad_plan_is_found() -> None:
    by_worker = select(col(Job.id)).where(col(Job.worker) == "w")
    with pytest.raises(AssertionError, match="job"):
        check(rolled_back(lambda session: session.execute(by_worker).all()))
