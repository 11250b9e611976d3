"""Server-sent events: their framing, and a loop that looks again and again and holds no thread in between."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto

from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.errors import CrawldockError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between two looks
HEARTBEAT_SECONDS = 15.0  # a proxy may close a line on which nothing is said
RETRY_MS = 3000  # after which a client that lost its line connects again

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would wait until it has a buffer full
}

_closing = threading.Event()


def close() -> None:
    """End all streams within a second: the server waits for them before it ends."""
    _closing.set()


class Then(Enum):
    """What follows a look."""

    WAIT = auto()  # a pause
    GO_ON = auto()  # the next one at once
    END = auto()  # nothing


Look = Callable[[], tuple[bytes, Then]]


def frame(event: str, data: bytes, event_id: int | None = None) -> bytes:
    """One event; ``data`` is JSON in one line."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    # JSON has a carriage return only between its parts, and here it would end the line.
    return b"%sevent: %s\ndata: %s\n\n" % (head, event.encode(), data.replace(b"\r", b" "))


def stream(look: Look, check: Callable[[], object], seconds: int | None) -> StreamingResponse:
    """The answer that tells what ``look`` finds.

    Args:
        look: what is new, framed, and how to go on; it runs in the thread pool and should be short.
        check: raises a CrawldockError when the caller may not listen any more; asked at each heartbeat.
        seconds: after which the stream ends; None: it does not end by itself. 0: one look.

    """
    return StreamingResponse(
        _parts(look, check, seconds), headers=HEADERS, media_type="text/event-stream; charset=UTF-8"
    )


async def _parts(look: Look, check: Callable[[], object], seconds: int | None) -> AsyncIterator[bytes]:
    yield b"retry: %d\n\n" % RETRY_MS
    started = beaten = time.monotonic()
    then = Then.WAIT
    while then is not Then.END and not _closing.is_set():
        try:
            part, then = await run_in_threadpool(look)
            if time.monotonic() - beaten >= HEARTBEAT_SECONDS:
                beaten = time.monotonic()
                await run_in_threadpool(check)
                part += b": still here\n\n"
        except CrawldockError:  # the key was revoked, the session has ended
            return
        except OperationalError as error:  # the client comes back
            log.warning("events: no answer from the database: %s", str(error.orig).partition("\n")[0])
            return
        if part:
            yield part
        if seconds is not None and time.monotonic() - started >= seconds and then is Then.WAIT:
            return
        if then is Then.WAIT:
            await asyncio.sleep(POLL_SECONDS)
