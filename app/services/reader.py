"""Records of a job as they are read: a block at a time, from the chunks that have them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import BigInteger, bindparam, select

from app import chunks
from app.db import AnyRow, reading
from app.keys import LARGEST
from app.models import Chunk, Kind
from app.services import payloads
from app.services.records import MAX_RECORDS

AHEAD = 16  # chunks that a reader fetches at once, and
AHEAD_BYTES = 4 << 20  # of their records, as far as those before tell


@dataclass(frozen=True)
class Block:
    """Some records, at least one."""

    text: bytes  # JSON lines, without a newline at the end
    numbers: Sequence[int]  # index of each in the job, or in whatever they are of
    times: Sequence[int] = ()  # ms, when each was received

    @classmethod
    def of(
        cls, lines: Sequence[bytes], numbers: Sequence[int] | None = None, times: Sequence[int] = ()
    ) -> "Block":
        """The block of lines, which are JSON without newlines."""
        return cls(b"\n".join(lines), range(len(lines)) if numbers is None else numbers, times)

    @cached_property
    def lines(self) -> list[bytes]:
        """The records one by one. Most answers are never looked at so closely."""
        return self.text.split(b"\n")


# The chunks from a position on: made once, on the plain table.
_CHUNK = Chunk.__table__.c  # type: ignore[attr-defined]
_START, _STOP = bindparam("start", type_=BigInteger), bindparam("stop", type_=BigInteger)
_NEXT = (
    select(*payloads.COLUMNS)
    .where(
        _CHUNK.job_id == bindparam("job_id"),
        _CHUNK.kind == bindparam("kind"),
        # No chunk is longer than MAX_RECORDS: this bound lets the primary key find them.
        _CHUNK.first.between(_START - MAX_RECORDS + 1, _STOP - 1),
        _CHUNK.first + _CHUNK.count > _START,
        _CHUNK.last_time >= bindparam("since"),
    )
    .order_by(_CHUNK.first)
    .limit(bindparam("ahead"))
)


def read(
    job_id: int, kind: Kind, start: int, stop: int, *, times: bool = False, since: int | None = None
) -> Iterator[Block]:
    """The records ``start`` … ``stop - 1`` in blocks; fewer when there are fewer.

    Args:
        times: fill in ``Block.times``, which cost unpacking them.
        since: pass over chunks that were received before, ms; some of the first block may still be older.

    One chunk is unpacked at a time; those of the next few are fetched with it in one transaction, which
    is over before any of them is used: a client that reads slowly holds nothing. They are looked up by
    the position reached, never by a remembered list: chunks may be merged or purged meanwhile.

    Raises:
        StoreAway: the chunk store did not give one.

    """
    stop = min(stop, LARGEST)
    ahead = 1  # nobody waits for more than the first
    while start < stop:
        wanted = {"job_id": job_id, "kind": kind, "start": start, "stop": stop, "since": since or 0}
        with reading() as session:
            rows = session.connection().execute(_NEXT, {**wanted, "ahead": ahead}).all()
        if not rows:
            return
        for row in rows:
            yield _block(row, start, stop, times)
            start = row.first + row.number
        ahead = max(1, min(AHEAD, AHEAD_BYTES * len(rows) // (sum(row.size for row in rows) + 1)))


def _block(row: AnyRow, start: int, stop: int, times: bool) -> Block:
    """What a reader wants of a chunk. It is unpacked here, so that nobody keeps it but who is given it."""
    data = payloads.read(row)
    low, high = max(start - row.first, 0), min(stop - row.first, row.number)
    text = chunks.text(data)
    if high - low < row.number:
        text = b"\n".join(text.split(b"\n")[low:high])
    moments = payloads.times(row, data)[low:high] if times else ()
    return Block(text, range(row.first + low, row.first + high), moments)
