"""No hot query reads a whole table: how the databases carry out what the services really ask them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import db, moving
from app.keys import JobKey
from app.models import Activity, Job, JobState, Kind
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
from tests.many import CHUNKS, FULL, JOBS, LATE, OUTSIDE, PROJECTS, RUNNING, TOKEN, WAITING
from tests.plans import MOST, check, rolled_back


def running(session: Session, ask: Callable[[Session, int, str], Any]) -> None:
    assert ask(session, RUNNING, TOKEN)


def batch(first: int, kind: Kind = Kind.ITEMS) -> records.Batch:
    return records.pack(kind, first, [1], [b"{}"])


IN_A_TRANSACTION: dict[str, Callable[[Session], Any]] = {
    "claim": lambda session: jobs.claim(session, "w", "task"),
    "start behind all others": lambda session: queue.start(session, 2, {}, "somebody"),
    "start one of many": lambda session: queue.start(session, OUTSIDE, {}, "somebody"),
    "start one of many behind many": lambda session: queue.start(session, 3, {}, "somebody"),
    "heartbeat": lambda session: jobs.heartbeat(session, RUNNING, TOKEN),
    "finish": lambda session: jobs.finish(session, RUNNING, TOKEN, "finished"),
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
    "records: append": lambda session: records.append(session, RUNNING, TOKEN, [batch(3 * CHUNKS)], None),
    "records: upload": lambda session: records.upload(session, FULL, Kind.ITEMS, 4, [batch(0)], 1, None),
    "records: total": lambda session: [records.total(session, FULL, kind) for kind in Kind],
    "collection: get": lambda session: collections.get(session, COLLECTION, b"00004000"),
    "strays: claim": lambda session: payloads.claim(session, ["file:///x/1"]),
}  # fmt: skip
# What passes over the jobs before the first one that it may take, as docs/scaling.md says.
WALKS = ("claim", "wanted", "start one of many", "start one of many behind many")
PASSED = WAITING // 2 + reconciler.MOST_WAKES
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
IN_ORDER = (
    "records: read", "activity", "activity of all", "frontier: queue", "frontier: fingerprints",
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("full")


@pytest.mark.parametrize("name", IN_A_TRANSACTION)
def test_in_a_transaction(name: str) -> None:
    check(rolled_back(IN_A_TRANSACTION[name]), PASSED if name in WALKS else MOST)


@pytest.mark.parametrize("name", WALKS)
def test_the_queue_is_not_sorted(name: str) -> None:
    check(rolled_back(IN_A_TRANSACTION[name]), PASSED, sorts=False)


@pytest.mark.parametrize("name", [*JobState, "spider and state"])
def test_a_page_of_one_state_is_not_sorted(name: str) -> None:
    check(rolled_back(lambda session: joblist.page(session, PAGES[name], 100, 0)), sorts=False)


@pytest.mark.parametrize("name", IN_ORDER)
def test_what_is_read_in_order_is_not_sorted(name: str) -> None:
    check(BY_THEMSELVES[name], sorts=False)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_jobs(name: str) -> None:
    check(rolled_back(lambda session: joblist.page(session, PAGES[name], 100, 0)))


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING, JobState.FINISHED])
@pytest.mark.parametrize("name", BOARDS)
def test_a_page_of_the_dashboard(name: str, state: JobState) -> None:
    wanted = BOARDS[name]
    # It says where in the line each waiting job is, and does not pass over all others to find them.
    most = WAITING // 2 + 300 if state == JobState.PENDING else MOST
    check(rolled_back(lambda session: jobboard.section(session, wanted, state)), most, least=0)
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
        check(rolled_back(found), most=3500)  # no samples are there: each job of a spider is looked at, 1000


BAD = {
    "scan": select(col(Job.id)).where(col(Job.worker) == "w"),
    "long walk": select(func.count()).select_from(Job).where(col(Job.state) == "pending", col(Job.items) > 0),
    "large sort": select(col(Activity.id))
    .where(col(Activity.project_id) < 9)
    .order_by(col(Activity.time))
    .limit(1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plan_is_found(name: str) -> None:
    with pytest.raises(AssertionError, match="FROM"):
        check(rolled_back(lambda session: session.execute(BAD[name]).all()))


def test_a_small_sort_is_found() -> None:
    some = select(col(Job.id)).where(col(Job.id) < 300).order_by(col(Job.updated_time) + 0)
    ask = rolled_back(lambda session: session.execute(some).all())
    check(ask)
    with pytest.raises(AssertionError, match=r"Sort of 299 rows|TEMP B-TREE FOR ORDER BY"):
        check(ask, sorts=False)


def test_a_tag_is_added_however_many_have_it() -> None:
    ask = rolled_back(lambda session: joblist.update_tags(session, range(3, 3003, 10), ["common"], []))
    check(ask, most=600 if db.engine().dialect.name == "postgresql" else MOST)


def test_a_changed_tag_leaves_the_row_of_the_job_as_it_is() -> None:
    """It is long, and has an entry in many indexes."""
    with Session(db.engine().execution_options(writes=True)) as session:
        before = session.execute(select(Job.__table__)).all()
        joblist.update_tags(session, range(1, JOBS, 10), ["new"], ["common"])
        assert session.execute(select(Job.__table__)).all() == before


def test_a_changed_job_writes_into_no_index_of_jobs() -> None:
    """On PostgreSQL, where a row's next version is in its page, and needs no new entries: a heartbeat's, too."""
    if db.engine().dialect.name != "postgresql":
        return
    written = text(
        "SELECT pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_hot_updated(oid)"
        " FROM pg_class WHERE oid = 'job'::regclass"
    )
    # In their pages no other test leaves versions of rows, as of jobs that are to be tidied: those take the
    # room for as long as some transaction might see them.
    chosen = [n for n in range(JOBS // 2 + 1, JOBS, 10) if 20 < n % 1000 < 980]
    with Session(db.engine().execution_options(writes=True)) as session:
        before = session.execute(written).one()  # by this connection, and not yet added to others'
        session.execute(update(Job).where(col(Job.id).in_(chosen)).values(touched_time=LATE, lease_time=LATE))
        changed, in_place = (
            now - then for now, then in zip(session.execute(written).one(), before, strict=True)
        )
        assert changed == in_place == len(chosen)
