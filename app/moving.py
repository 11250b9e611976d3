"""Move the payloads of chunks, from wherever they are, to where CRAWLDOCK_CHUNK_STORE says."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from sqlalchemy import and_, func, select, tuple_, update
from sqlmodel import col

from app import chunks, store
from app.db import AnyRow, execute, reading, transaction
from app.errors import ObjectLost
from app.models import Chunk
from app.services import payloads, records
from app.settings import settings

PORTION = 1000  # chunks that are looked at together
AT_ONCE = 4  # of them in memory

MOVED = "moved"
THERE = "there already"
SMALL = "too small for the chunk store"
CHANGED = "changed meanwhile"
LOST = "missing from the chunk store"


def move_all() -> Iterator[Counter[str]]:
    """Move all chunks; yields, after each portion, how many have been moved or not, in words.

    Each chunk is moved by itself: a kill leaves some here and some there, which is how the platform
    always reads them, and the next call moves the rest.

    Raises:
        StoreAway: a chunk store does not answer.

    """
    counts: Counter[str] = Counter()
    after: tuple[Any, ...] = (0, "", 0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while rows := _portion(after):
            wanted = [row for row in rows if _why_not(row) is None]
            counts.update(filter(None, map(_why_not, rows)))
            counts.update(pool.map(_move, wanted))
            yield counts
            after = tuple(rows[-1][:3])


def _portion(after: tuple[Any, ...]) -> list[AnyRow]:
    key = tuple_(col(Chunk.job_id), col(Chunk.kind), col(Chunk.first))
    columns = (*key, col(Chunk.object_url), func.length(col(Chunk.data)).label("size"))
    with reading() as session:
        return list(session.execute(select(*columns).where(key > after).order_by(*key).limit(PORTION)))


def _why_not(row: AnyRow) -> str | None:
    target = settings().chunk_store
    if target == (row.object_url and store.base_of(row.object_url)):
        return THERE
    if row.object_url is None and row.size < payloads.SMALL:
        return SMALL
    return None


def _move(key: AnyRow) -> str:
    """Move one chunk.

    1. It is read and written to its new place; nothing of that is in a transaction.
    2. The row changes hands if it is still the one that was read, to the byte: an upload or a merge may
       have replaced it. Then what was written is a stray, else what the row named before.
    """
    this = and_(col(Chunk.job_id) == key.job_id, col(Chunk.kind) == key.kind, col(Chunk.first) == key.first)
    columns = *payloads.COLUMNS, col(Chunk.counts), col(Chunk.input_bytes)
    with reading() as session:
        row = session.execute(select(*columns).where(this)).one_or_none()
    if row is None:
        return CHANGED
    try:
        data = payloads.read(row)
    except ObjectLost:
        return LOST
    counts, input_bytes = row.counts, row.input_bytes
    if counts is None:  # stored by the first release
        counts, input_bytes = records.measure(key.kind, [orjson.loads(line) for line in chunks.lines(data)])
    (url,) = payloads.place([data])
    same = col(Chunk.data) == row.data, col(Chunk.object_url).is_not_distinct_from(row.object_url)
    values = {
        "data": data if url is None else b"",
        "object_url": url,
        "counts": counts,
        "input_bytes": input_bytes,
    }
    with transaction() as session:
        if execute(session, update(Chunk).where(this, *same).values(values)).rowcount != 1:
            return CHANGED
        payloads.claim(session, [url])
        payloads.strayed(session, [row.object_url])
    return MOVED
