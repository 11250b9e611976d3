"""Writes that are committed together: each is answered as if it had been alone."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app import broker, db
from app.errors import BadParameter
from app.keys import JobKey
from app.services import jobs
from app.together import _Writer, settle, together
from tests.factories import at_once, everything, states

pytestmark = pytest.mark.usefixtures("database", "sent")


def schedule(n: int, session: Session) -> JobKey:
    return jobs.schedule(session, 1, jobs.NewJob("quotes", {"n": str(n)}), "somebody")


def refuse(session: Session) -> JobKey:
    schedule(-1, session)
    raise BadParameter("no")


@pytest.fixture(params=["loop", "commit in a thread", "thread"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which thread does the work of a group: that of the event loop, all of it or but the commit, or another."""
    monkeypatch.setattr(_Writer, "_slow", request.param != "loop")
    monkeypatch.setattr("app.together.QUICK_SECONDS", 60 if request.param == "loop" else 0)
    return str(request.param)


def settled(where: str, *works: Callable[[Session], Any]) -> list[Any]:
    """What came of a group with these works."""
    if where == "thread" or db.engine().dialect.name != "sqlite":
        return [result if error is None else error for result, error in settle(works)]

    async def main() -> list[Any]:
        return await asyncio.gather(*map(together, works), return_exceptions=True)

    return asyncio.run(main())


def test_all_are_committed_in_order_and_announced(where: str, sent: list[tuple[str, int]]) -> None:
    made = settled(where, *(partial(schedule, n) for n in range(5)))
    assert [key.job for key in made] == [1, 2, 3, 4, 5]
    assert (len(states()), len(sent)) == (5, 5)


def test_one_that_fails_amid_others_fails_alone(where: str, sent: list[tuple[str, int]]) -> None:
    first, failed, last = settled(where, partial(schedule, 1), refuse, partial(schedule, 2))
    assert isinstance(failed, BadParameter)
    assert (first.job, last.job, len(states()), len(sent)) == (1, 2, 2, 2)


def test_a_commit_that_fails_is_told_to_all_and_not_tried_again(
    where: str, monkeypatch: pytest.MonkeyPatch, sent: list[tuple[str, int]]
) -> None:
    before, tried, send = everything(), [], db.send

    def fail(connection: Any, statement: str = "COMMIT") -> Any:
        if statement == "COMMIT":
            tried.append(connection)
            raise OSError("disk full")
        return send(connection, statement)

    with monkeypatch.context() as patch:
        patch.setattr(db.Session, "commit", fail)
        patch.setattr(db, "send", fail)
        answers = settled(where, partial(schedule, 1), partial(schedule, 2))
    assert ([str(each) for each in answers], len(tried)) == (["disk full", "disk full"], 1)
    assert (everything(), sent) == (before, [])


def test_what_follows_a_commit_is_not_undone_by_trying_again(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(priority: int) -> None:
        raise OSError("no thread")

    monkeypatch.setattr(broker._waker, "announce", fail)
    answers = settled(where, partial(schedule, 1), partial(schedule, 2))
    assert ([str(each) for each in answers], len(states())) == (["no thread", "no thread"], 2)


def test_killed_before_the_commit_a_group_leaves_nothing(where: str) -> None:
    before = everything()
    child = os.fork()
    if child == 0:
        db.forget_connections()

        def die(session: Session) -> None:
            rows = session.scalar(text("SELECT count(*) FROM job"))
            os.kill(os.getpid(), signal.SIGKILL if rows == 2 else signal.SIGTERM)

        settled(where, partial(schedule, 1), partial(schedule, 2), die)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert everything() == before


@contextmanager
def a_thread_writes() -> Iterator[None]:
    """Another thread of this process is in a transaction that writes."""
    begun, end = Event(), Event()

    def write() -> None:
        with db.transaction():
            begun.set()
            end.wait()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write)
        begun.wait()
        try:
            yield
        finally:
            end.set()


@contextmanager
def a_stranger_writes() -> Iterator[None]:
    """Somebody is, who knows nothing of this process's locks."""
    with closing(sqlite3.connect(str(db.engine().url.database), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("somebody_writes", [a_thread_writes, a_stranger_writes])
def test_the_loop_waits_for_nobody_who_writes(
    somebody_writes: Callable[[], AbstractContextManager[None]],
) -> None:
    async def main() -> list[JobKey]:
        with somebody_writes():
            calls = [asyncio.create_task(together(partial(schedule, n))) for n in range(3)]
            await asyncio.sleep(0.2)
            assert not any(call.done() for call in calls)
        return [*await asyncio.gather(*calls), await together(partial(schedule, 3))]

    assert [key.job for key in asyncio.run(main())] == [1, 2, 3, 4]


def test_whoever_has_given_up_is_passed_over() -> None:
    async def main() -> JobKey:
        gone = asyncio.create_task(together(partial(schedule, 1)))
        await asyncio.sleep(0)
        gone.cancel()
        return await together(partial(schedule, 2))

    assert asyncio.run(main()).project == 1


@pytest.mark.parametrize("path", ["schedule.json", "run.json"])
def test_many_callers_at_once_some_of_them_wrong(client: TestClient, path: str) -> None:
    def call(n: int) -> tuple[int, int]:
        spider, same = ("nobody" if n % 4 == 1 else "quotes"), n % 4 == 2
        data = {"project": 1, "spider": spider, "n": "same" if same else n}
        return n % 4, client.post(f"/api/{path}", data=data).status_code

    answers = at_once(16, call)
    assert {kind for kind, status in answers if status == 200} == {0, 2, 3}
    assert [status for kind, status in answers if kind in (0, 3)] == [200] * 8
    assert [status for kind, status in answers if kind == 1] == [400] * 4
    assert sorted(status for kind, status in answers if kind == 2) == [200, 400, 400, 400]
    assert len(states()) == 9
