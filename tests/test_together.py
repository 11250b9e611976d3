"""Writes that are committed together: each is answered as if it had been alone."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app import broker, db
from app.errors import BadParameter
from app.keys import JobKey
from app.services import jobs
from app.together import Call, settle, together
from tests.factories import at_once, everything, states

pytestmark = pytest.mark.usefixtures("database", "sent")


def schedule(n: int, session: Session) -> JobKey:
    return jobs.schedule(session, 1, jobs.NewJob("quotes", {"n": str(n)}), "somebody")


def refuse(session: Session) -> JobKey:
    schedule(-1, session)
    raise BadParameter("no")


def settled(*works: Callable[[Session], Any]) -> list[Any]:
    """What came of a group with these works."""

    async def main() -> list[Any]:
        calls = [Call(work) for work in works]
        await asyncio.to_thread(settle, calls)
        return await asyncio.gather(*(call.future for call in calls), return_exceptions=True)

    return asyncio.run(main())


def test_all_are_committed_in_order_and_announced(sent: list[tuple[str, int]]) -> None:
    made = settled(*(partial(schedule, n) for n in range(5)))
    assert [key.job for key in made] == [1, 2, 3, 4, 5]
    assert (len(states()), len(sent)) == (5, 5)


def test_one_that_fails_amid_others_fails_alone(sent: list[tuple[str, int]]) -> None:
    first, failed, last = settled(partial(schedule, 1), refuse, partial(schedule, 2))
    assert isinstance(failed, BadParameter)
    assert (first.job, last.job, len(states()), len(sent)) == (1, 2, 2, 2)


def test_a_commit_that_fails_is_told_to_all_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, sent: list[tuple[str, int]]
) -> None:
    before, tried = everything(), []

    def fail(session: Session) -> None:
        tried.append(session)
        raise OSError("disk full")

    monkeypatch.setattr(db.Session, "commit", fail)
    answers = settled(partial(schedule, 1), partial(schedule, 2))
    monkeypatch.undo()
    assert ([str(each) for each in answers], len(tried)) == (["disk full", "disk full"], 1)
    assert (everything(), sent) == (before, [])


def test_what_follows_a_commit_is_not_undone_by_trying_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(priority: int) -> None:
        raise OSError("no thread")

    monkeypatch.setattr(broker._waker, "announce", fail)
    answers = settled(partial(schedule, 1), partial(schedule, 2))
    assert ([str(each) for each in answers], len(states())) == (["no thread", "no thread"], 2)


def test_killed_before_the_commit_a_group_leaves_nothing() -> None:
    before = everything()
    child = os.fork()
    if child == 0:
        db.forget_connections()

        def die(session: Session) -> None:
            rows = session.scalar(text("SELECT count(*) FROM job"))
            os.kill(os.getpid(), signal.SIGKILL if rows == 2 else signal.SIGTERM)

        settled(partial(schedule, 1), partial(schedule, 2), die)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert everything() == before


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
