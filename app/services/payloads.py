"""Payloads of chunks: in their rows, or in objects of the chunk store that the rows name.

No row names an object that is not there, and no object stays that no row names, whoever dies when:

1. ``place`` notes the URLs of objects to be as strays, and commits; then it writes them.
2. ``claim``, in the transaction that writes the rows, takes the URLs off the strays. A writer that dies
   before, or whose rows are refused, leaves strays.
3. What removes a row notes its object as a stray in the same transaction: ``remove``.
4. ``sweep`` condemns what has been a stray for an hour, and commits; it removes the objects, then forgets
   them. It may die anywhere: what is condemned can never be claimed, and is removed again next time.

The hour is for whoever has read a row and is about to read its object; steps 2 and 4 hold without it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import chunks, store
from app.db import AnyRow, execute, now_ms, transaction
from app.errors import Condemned
from app.models import Chunk, StrayObject
from app.settings import settings

SMALL = 4096  # bytes; smaller payloads stay in their rows: a request for each would cost more
STRAY_MS = 3_600_000
SWEPT = 200  # objects in one go


# What the records of a chunk are read from; of the plain table: what the ORM adds costs as much again.
_CHUNK = Chunk.__table__.c  # type: ignore[attr-defined]
COLUMNS: Sequence[Any] = (
    *(_CHUNK[name] for name in ("first", "first_time", "last_time", "size", "data", "object_url")),
    _CHUNK.count.label("number"),
)


def read(row: AnyRow) -> bytes:
    """The payload of a row of ``COLUMNS``. May be slow, so never inside a transaction.

    Raises:
        StoreAway: the chunk store did not give it.

    """
    return row.data if row.object_url is None else store.read(row.object_url)


def times(row: AnyRow, data: bytes) -> list[int]:
    """When each record was received, ms; an upload's have one time, which only its row knows."""
    if row.first_time == row.last_time:
        return [row.first_time] * row.number
    return chunks.times(data)


def place(payloads: Sequence[bytes]) -> list[str | None]:
    """Write payloads to where new ones belong; the URL of each, None: into its row. Never in a transaction.

    Raises:
        StoreAway: not all were written; the others are strays.

    """
    base = settings().chunk_store
    if base is None:
        return [None] * len(payloads)
    urls = [store.new_url(base) if len(data) >= SMALL else None for data in payloads]
    objects = [(url, data) for url, data in zip(urls, payloads, strict=True) if url is not None]
    if objects:
        with transaction() as session:
            strayed(session, [url for url, _ in objects])
        store.write(objects)
    return urls


def claim(session: Session, urls: Sequence[str | None]) -> None:
    """Objects that rows of this transaction name are no strays any more.

    Raises:
        Condemned: one of them may be gone; the transaction must not be committed.

    """
    if named := [url for url in urls if url is not None]:
        mine = col(StrayObject.url).in_(named), ~col(StrayObject.condemned)
        if execute(session, delete(StrayObject).where(*mine)).rowcount != len(named):
            raise Condemned("the chunk store took too long, try again")


def strayed(session: Session, urls: Sequence[str | None]) -> None:
    """No row names these objects."""
    if named := [url for url in urls if url is not None]:
        now = session.scalar(select(now_ms()))
        session.execute(insert(StrayObject), [{"url": url, "time": now} for url in named])


def remove(session: Session, chosen: Any) -> None:
    """Remove chunks."""
    gone = session.scalars(delete(Chunk).where(chosen).returning(col(Chunk.object_url)))
    strayed(session, gone.all())


def sweep() -> bool:
    """Remove objects that have been strays for long; True: there may be more of them."""
    with transaction() as session:
        urls = session.scalars(
            select(col(StrayObject.url))
            .where(col(StrayObject.time) < now_ms() - STRAY_MS)
            .order_by(col(StrayObject.time))
            .limit(SWEPT)
            .with_for_update(skip_locked=True)
        ).all()
        if not urls:
            return False
        session.execute(update(StrayObject).where(col(StrayObject.url).in_(urls)).values(condemned=True))
    left = store.remove(urls)
    with transaction() as session:
        gone = col(StrayObject.url).in_(set(urls) - set(left))
        session.execute(delete(StrayObject).where(gone))
        # The others queue up behind those that can be removed.
        session.execute(update(StrayObject).where(col(StrayObject.url).in_(left)).values(time=now_ms()))
    return len(urls) == SWEPT and not left
