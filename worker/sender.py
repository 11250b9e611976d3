"""Sends what webhooks are to be told: a thread of the scheduler, with an event loop of its own.

Any number of schedulers may send: each delivery is taken by one of them (services.deliveries). A slow
receiver occupies its own few places and a time limit covers the whole of a call, whatever it drips.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2
import orjson
from sqlalchemy.exc import DBAPIError

from app import db
from app.services import deliveries
from app.services.deliveries import Due

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
CALL_SECONDS = 10.0  # of one call, from looking up the name to the end of the answer
AT_ONCE = 32  # calls under way …
PER_WEBHOOK = 4  # … of one webhook
ANSWER_BYTES = 1000  # that are read

Result = TypeVar("Result")


def signed(due: Due, now: float) -> tuple[dict[str, str], bytes]:
    """Headers and body of a delivery, after the Standard Webhooks specification.

    Args:
        now: seconds since 1970, when it is sent.

    """
    body = orjson.dumps(due.body)
    name, moment = f"msg_{due.id}", str(int(now))
    key = base64.b64decode(due.secret.removeprefix("whsec_"))
    digest = hmac.new(key, b"%s.%s.%s" % (name.encode(), moment.encode(), body), hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Crawldock",
        "webhook-id": name,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    return headers, body


async def call(client: httpx2.AsyncClient, due: Due) -> tuple[int | None, str]:
    """Send it; the status and the beginning of the answer, or None and why there was none."""
    headers, body = signed(due, time.time())
    try:
        async with (
            asyncio.timeout(CALL_SECONDS),
            client.stream("POST", due.url, content=body, headers=headers) as answer,
        ):
            text = b""
            async for part in answer.aiter_bytes(ANSWER_BYTES):
                text += part
                if len(text) >= ANSWER_BYTES:
                    break
            return answer.status_code, text.decode("utf-8", "replace")
    except TimeoutError:
        return None, f"no answer within {CALL_SECONDS:g} s"
    except Exception as error:  # whatever a strange server makes the client stumble over
        return None, f"{type(error).__name__}: {error}"


class Sender(threading.Thread):
    """The loop: take what is due, send it, note what came of it."""

    def __init__(self) -> None:
        super().__init__(name="sender", daemon=True)
        self.ended = threading.Event()
        self._busy: Counter[int] = Counter()  # calls under way, by webhook
        # Apart from the threads that look up names, which may all be waiting.
        self._database = ThreadPoolExecutor(1)

    def run(self) -> None:
        """Send until ``ended``; what is under way then is waited for."""
        asyncio.run(self._send())

    def end(self) -> None:
        """End it. What it does not get done, another one sends after a while."""
        self.ended.set()
        self.join(CALL_SECONDS + 2)

    async def _send(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        async with httpx2.AsyncClient(follow_redirects=False, timeout=CALL_SECONDS) as client:
            while not self.ended.is_set():
                taken = await self._in_database(self._claim)
                for due in taken or ():
                    task = asyncio.create_task(self._deliver(client, due))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                if not tasks:
                    await asyncio.sleep(POLL_SECONDS)
                elif not taken:  # a call that ends makes room
                    await asyncio.wait(tasks, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if tasks:
                await asyncio.wait(tasks)

    async def _in_database(self, work: Callable[..., Result], *args: Any) -> Result | None:
        """Do it in the thread for that; a failure is logged, and None."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._database, work, *args)
        except DBAPIError as error:
            log.warning("sender: %s", type(error.orig).__name__)
        except Exception:
            log.exception("sender")
        return None

    def _claim(self) -> list[Due]:
        free = AT_ONCE - self._busy.total()
        if free <= 0:
            return []
        with db.reading() as session:
            if not deliveries.waiting(session):
                return []
        with db.transaction() as session:
            taken = deliveries.claim(session, free, PER_WEBHOOK, self._busy)
        self._busy.update(due.webhook_id for due in taken)
        return taken

    async def _deliver(self, client: httpx2.AsyncClient, due: Due) -> None:
        status, answer = await call(client, due)
        if status is None or not 200 <= status < 300:
            # The URL may hold a secret, and is not logged; the rest is in the delivery log.
            log.info("delivery %s, webhook %s: %s", due.id, due.webhook_id, status or "no answer")
        await self._in_database(_settle, due, status, answer)
        self._busy[due.webhook_id] -= 1


def _settle(due: Due, status: int | None, answer: str) -> None:
    with db.transaction() as session:
        deliveries.settle(session, due, status, answer)
