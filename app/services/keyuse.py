"""When each key was last used: collected by the process, written down once a minute.

A call that only reads must not write. So a use is noted in memory; whoever kills the process loses the
uses of a minute, and nothing else.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy import or_, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from app.db import now_ms, transaction
from app.errors import DatabaseBusy
from app.models import ApiKey

log = logging.getLogger(__name__)

WRITE_SECONDS = 60.0
LEAST_MS = 60_000  # a time that is not older stays as it is: of many processes one writes

_used: set[int] = set()


def note(key_id: int) -> None:
    """The key was used, now."""
    _used.add(key_id)


def write() -> None:
    """Write down what was noted; a database that is away costs the notes."""
    used = list(_used)
    _used.difference_update(used)
    if not used:
        return
    old = or_(col(ApiKey.used_time).is_(None), col(ApiKey.used_time) < now_ms() - LEAST_MS)
    try:
        with transaction() as session:
            session.execute(
                update(ApiKey).where(col(ApiKey.id).in_(sorted(used)), old).values(used_time=now_ms())
            )
    except (DBAPIError, DatabaseBusy) as error:
        log.warning("use of keys not noted: %s", type(error).__name__)


@contextmanager
def noting() -> Iterator[None]:
    """Write every minute, and at the end; for the life of a process that answers requests."""
    ended = Event()

    def go_on() -> None:
        while not ended.wait(WRITE_SECONDS):
            write()

    thread = Thread(target=go_on, name="keyuse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2)
        write()
