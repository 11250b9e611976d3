"""What watchers read: each event once, in order, whoever commits when; counters when they have changed."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import text

from app import db
from app.models import Kind
from app.services import activity, events
from tests.factories import append, at_once, batch, finish, log_entry, make_job, make_project, running_job
from tests.platform import until

pytestmark = pytest.mark.usefixtures("database", "sent")
# SQLite has one writer: nobody else can take an id meanwhile.
ONLY_POSTGRES = pytest.mark.parametrize("database", ["postgres"], indirect=True)


def read(feed: events.Feed) -> list[str]:
    """Read once; the events as they were added."""
    with db.reading() as session:
        return [row.event for row in feed.read(session)]


def add(*names: str, project: int = 1) -> None:
    with db.transaction() as session:
        activity.add(session, project, [b'"%s"' % name.encode() for name in names])


def test_only_what_comes_after_the_first_look_is_read_once_and_in_order() -> None:
    add("old")
    feed = events.Feed(1, None)
    assert read(feed) == []
    add("a", "b")
    add("elsewhere", project=make_project())
    assert read(feed) == ['"a"', '"b"']
    assert read(feed) == []
    add("c")
    assert read(feed) == ['"c"']


def test_reading_goes_on_after_an_id() -> None:
    add("a", "b", "c")
    first = events.Feed(1, 0)
    assert read(first) == ['"a"', '"b"', '"c"']
    assert first.last is not None
    assert read(events.Feed(1, first.last - 1)) == ['"c"']
    assert read(events.Feed(1, first.last)) == []


def test_an_id_that_the_database_has_not_reached_is_no_gap() -> None:
    """As after a backup was put back."""
    add("a")
    feed = events.Feed(1, 10**14)
    assert read(feed) == []
    add("b")
    assert read(feed) == ['"b"']


def test_many_events_and_long_ones_are_read_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE_ROWS", 3)
    monkeypatch.setattr(events, "PAGE_CHARACTERS", 50)
    names = [*"abcdefg", "x" * 60, "y" * 60, "z"]
    add(*names)
    feed = events.Feed(1, 0)
    found = [read(feed)]
    while feed.more:
        found.append(read(feed))
    assert [len(page) for page in found] == [3, 3, 2, 1, 1]
    assert [name for page in found for name in page] == [f'"{name}"' for name in names]


@ONLY_POSTGRES
def test_an_event_that_is_committed_after_a_younger_one_is_neither_lost_nor_overtaken() -> None:
    feed = events.Feed(1, 0)
    with db.transaction() as session:
        activity.add(session, 1, [b'"early"'])  # has its id
        add("late")
        assert read(feed) == []  # not yet: a smaller id may come
        add("later")
    assert read(feed) == ['"early"', '"late"']
    assert read(feed) == ['"later"']


@ONLY_POSTGRES
def test_what_is_being_committed_at_the_first_look_is_not_new() -> None:
    feed = events.Feed(1, None)
    with db.transaction() as session:
        activity.add(session, 1, [b'"early"'])
        add("late")
        assert (read(feed), feed.last) == ([], None)
    assert read(feed) == []
    add("new")
    assert read(feed) == ['"new"']


def test_a_reader_beside_many_writers_misses_and_doubles_none() -> None:
    found: list[str] = []
    done = threading.Event()
    feed = events.Feed(1, 0)

    def work(n: int) -> None:
        if n == 0:
            until(lambda: found.extend(read(feed)) or (done.is_set() and read_up(feed, found)), pause=0)
            return
        for i in range(30):
            with db.transaction() as session:
                activity.add(session, 1, [b'"%d-%d"' % (n, i)])
                if i % 3 == 0:
                    session.execute(text("SELECT 1"))  # a moment longer
        ended.append(n)
        if len(ended) == 4:
            done.set()

    ended: list[int] = []
    assert not [problem for problem in at_once(5, work) if problem]
    assert sorted(found) == sorted(f'"{n}-{i}"' for n in range(1, 5) for i in range(30))
    for n in range(1, 5):
        mine = [name for name in found if name.startswith(f'"{n}-')]
        assert mine == [f'"{n}-{i}"' for i in range(30)]


def read_up(feed: events.Feed, found: list[str]) -> bool:
    """Read what is left, now that nobody writes."""
    found += read(feed)
    return len(found) == 120


def counted(job_id: int | None = None) -> Callable[[], list[tuple[str, int, int]]]:
    counters = events.Counters(1, job_id)

    def look() -> list[tuple[str, int, int]]:
        with db.reading() as session:
            return [(each["job"], each["items"], each["errors"]) for each in counters.read(session)]

    return look


def test_counters_are_told_when_they_have_changed_and_at_the_end() -> None:
    job = running_job()
    make_job()  # waits: it has none
    look = counted()
    assert look() == [(str(job.key), 0, 0)]
    assert look() == []
    append(job, batch(Kind.ITEMS, [{}, {}]), batch(Kind.LOGS, [log_entry("a", 40)]))
    assert look() == [(str(job.key), 2, 1)]
    append(job, batch(Kind.ITEMS, [{}], first=2))
    finish(job)
    assert look() == [(str(job.key), 3, 1)]
    assert look() == []


def test_counters_of_one_job_alone() -> None:
    one, _ = running_job(), running_job()
    assert counted(one.id)() == [(str(one.key), 0, 0)]
