"""Writes that are committed together: on SQLite many calls wait for the disk once."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import HeldWriter, engine, transaction
from app.errors import DatabaseBusy

T = TypeVar("T")
Work = Callable[[Session], Any]
Outcome = tuple[Any, Exception | None]  # what work returned, or why it failed

QUICK_SECONDS = 0.002  # a commit that the loop does itself
MOST = 64  # calls of one transaction: others who write wait for its end


class _Writer:
    """Takes the calls of an event loop which have queued up, and commits once for all of them.

    1. A call queues its work and waits. Nobody waits for more calls to come: what is there is taken,
       which under load is what came while those before were committed.
    2. The work of each is done in one transaction, one after the other, so each sees what those before
       it did, as if they had committed. Only after the commit is any of them answered: killed before
       it, the group has left nothing, and nobody was told otherwise.
    3. The work is done in the loop's own thread: a statement takes SQLite some ten microseconds, and
       handing Python's lock to another thread and back at each of them takes longer. A commit waits for
       the disk: after one that took its time the next has a thread. When somebody else writes just now,
       the whole transaction has a thread, and waits there: the loop waits for nobody.
    4. Should the work of one raise, all is rolled back, and each is done once more in a transaction of
       its own: the one fails alone. So work does nothing but in its session.
    5. A commit that fails, or a database that does not answer, is told to all: nothing is tried again
       of which it is not certain that it was undone.
    """

    _slow = False  # was the last commit?

    def __init__(self) -> None:
        self._calls: list[tuple[Work, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "writer")
        self._held = HeldWriter()

    def put(self, work: Work) -> asyncio.Future[Any]:
        """Have a call done; its result comes."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._calls.append((work, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._calls:
            calls, self._calls = self._calls[:MOST], self._calls[MOST:]
            outcomes = await self._settle([work for work, _ in calls])
            for (_, future), (result, error) in zip(calls, outcomes, strict=True):
                if future.done():  # given up meanwhile
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        self._task = None

    async def _settle(self, works: list[Work]) -> list[Outcome]:
        in_thread = asyncio.get_running_loop().run_in_executor
        try:
            results = self._do(works)
        except DatabaseBusy:
            return await in_thread(self._thread, settle, works)
        except Exception as error:
            if len(works) == 1:
                return [(None, error)]
            return await in_thread(self._thread, _one_by_one, works)
        try:
            began = time.perf_counter()
            if self._slow:
                await in_thread(self._thread, self._held.commit)
            else:
                self._held.commit()
            self._slow = time.perf_counter() - began > QUICK_SECONDS
        except Exception as error:
            return [(None, error)] * len(works)
        return [(result, None) for result in results]

    def _do(self, works: Sequence[Work]) -> list[Any]:
        session = self._held.begin()
        try:
            return [work(session) for work in works]
        except BaseException:
            self._held.rollback()
            raise


def settle(works: Sequence[Work]) -> list[Outcome]:
    """Do some work in one transaction, for which other writers are waited for."""
    working = False
    try:
        with transaction() as session:
            working = True
            results = [work(session) for work in works]
            working = False
    except Exception as error:
        if working and len(works) > 1:
            return _one_by_one(works)
        return [(None, error)] * len(works)
    return [(result, None) for result in results]


def _one_by_one(works: Sequence[Work]) -> list[Outcome]:
    return [outcome for work in works for outcome in settle([work])]


_writers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Writer] = WeakKeyDictionary()


async def together(work: Callable[[Session], T]) -> T:
    """The result of ``work`` once it has been committed, on SQLite maybe with that of others.

    It may be called more than once, and does nothing but in its session, which it does not wait for.

    Raises:
        DatabaseBusy: as ``transaction``. And what ``work`` raises.

    On PostgreSQL, where writers do not wait for each other, it has a transaction and a thread of its own.

    """
    if engine().dialect.name != "sqlite":
        return await run_in_threadpool(_alone, work)
    loop = asyncio.get_running_loop()
    if (writer := _writers.get(loop)) is None:
        writer = _writers[loop] = _Writer()
    result: T = await writer.put(work)
    return result


def _alone(work: Callable[[Session], T]) -> T:
    with transaction() as session:
        return work(session)
