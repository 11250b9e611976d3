"""Writes that are committed together: on SQLite many calls wait for the disk once."""

import asyncio
import contextlib
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import engine, transaction

T = TypeVar("T")

MOST = 64  # calls of one transaction: others who write wait for its end


class Call:
    """What a call wants to do in a transaction, and who waits for what comes of it."""

    def __init__(self, work: Callable[[Session], Any]) -> None:
        self.work = work
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def answer(self, result: Any, error: Exception | None = None) -> None:
        """Tell who waits, from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._answer, result, error)

    def _answer(self, result: Any, error: Exception | None) -> None:
        if self.future.done():  # given up meanwhile
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class _Writer:
    """One thread that takes the calls which have queued up, and commits once for all of them.

    1. A call queues its work and waits. Nobody waits for more calls to come: the thread takes what is
       there, which under load is what came while it was busy with those before.
    2. It does the work of each in one transaction, one after the other, so each sees what those before
       it did, as if they had committed. Only after the commit is any of them answered: killed before
       it, the group has left nothing, and nobody was told otherwise.
    3. Should the work of one raise, all is rolled back, and each is done once more in a transaction of
       its own: the one fails alone. So work does nothing but in its session.
    4. A commit that fails, or a database that does not answer, is told to all: nothing is tried again
       of which it is not certain that it was undone.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Call] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None

    def put(self, call: Call) -> None:
        """Have a call done."""
        self._queue.put(call)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="writer", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            calls = [self._queue.get()]
            with contextlib.suppress(Empty):
                while len(calls) < MOST:
                    calls.append(self._queue.get_nowait())
            settle(calls)


def settle(calls: list[Call]) -> None:
    """Do the work of some calls in one transaction, and answer each."""
    results: list[Any] = []
    working = False
    try:
        with transaction() as session:
            working = True
            results = [call.work(session) for call in calls]
            working = False
    except Exception as error:
        for call in calls:
            if working and len(calls) > 1:
                settle([call])
            else:
                call.answer(None, error)
    else:
        for call, result in zip(calls, results, strict=True):
            call.answer(result)


_writer = _Writer()


async def together(work: Callable[[Session], T]) -> T:
    """The result of ``work`` once it has been committed, on SQLite maybe with that of others.

    It may be called twice, and does nothing but in its session.

    Raises:
        DatabaseBusy: as ``transaction``. And what ``work`` raises.

    On PostgreSQL, where writers do not wait for each other, it has a transaction and a thread of its own.

    """
    if engine().dialect.name != "sqlite":
        return await run_in_threadpool(_alone, work)
    call = Call(work)
    _writer.put(call)
    result: T = await call.future
    return result


def _alone(work: Callable[[Session], T]) -> T:
    with transaction() as session:
        return work(session)
