"""Items, log entries, requests and samples of a job: append, upload, count, purge. `reader` reads them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import orjson
import ormsgpack
from sqlalchemy import and_, case, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import chunks
from app.db import execute, now_ms
from app.errors import Elsewhere, OutOfStep
from app.models import Chunk, Job, JobState, Kind
from app.services import payloads

MAX_RECORDS = 1000  # in one chunk
MAX_BYTES = 1 << 20  # of a chunk before compression, unless one record alone is larger
AT_ONCE = 50  # chunks in one INSERT
ERROR = 40  # the level from which a log entry is an error
STATUS = "status="  # before a status in what is counted of requests

# The column of a job that counts its records. Samples are not counted (contract 6.19).
COUNTERS = {Kind.ITEMS: "items", Kind.REQUESTS: "pages", Kind.LOGS: "logs"}


@dataclass(frozen=True)
class Batch:
    """One chunk to be: records of one kind that follow each other, packed."""

    kind: Kind
    first: int  # index of the first record in the job
    count: int
    first_time: int  # ms, the earliest receive time
    last_time: int  # the latest
    size: int  # bytes before compression
    counts: dict[str, int]  # what `stats` adds up
    input_bytes: int
    data: bytes
    object_url: str | None = None  # where the data are, when not in the row

    @property
    def stop(self) -> int:
        """The index after the last record."""
        return self.first + self.count

    @property
    def errors(self) -> int:
        """How many are log entries of level ERROR or above."""
        return _errors(self.counts) if self.kind == Kind.LOGS else 0


def pack(
    kind: Kind, first: int, times: Sequence[int], lines: Sequence[bytes], values: Sequence[Any] | None = None
) -> Batch:
    """Compress and measure records; slow, so never inside a transaction.

    Args:
        first: index of the first record in the job.
        times: ms, when each was received.
        lines: JSON, without newlines.
        values: the same, read, when the caller has them at hand.

    """
    counts, input_bytes = measure(kind, [orjson.loads(line) for line in lines] if values is None else values)
    size = sum(map(len, lines))
    data = chunks.pack(times, lines)
    # Replaced records are younger than those after them: times need not ascend.
    return Batch(kind, first, len(lines), min(times), max(times), size, counts, input_bytes, data)


def measure(kind: Kind, values: Sequence[Any]) -> tuple[dict[str, int], int]:
    """What `stats` tells of records: how many have each field (logs: each level), and their bytes.

    Of requests also how many have each status, as ``status=200``, which `stats` keeps to itself.
    Bytes are those of the MessagePack form; of log entries those of the message and one (contract 6.16-6.18).
    """
    if kind == Kind.SAMPLES:
        return {}, 0
    if kind == Kind.LOGS:
        levels = Counter(str(value.get("level")) for value in values)
        return dict(levels), sum(len(value.get("message", "").encode()) + 1 for value in values)
    counts: Counter[str] = Counter()
    size = 0
    for value in values:
        if isinstance(value, dict):
            counts.update(value.keys())
            if kind == Kind.REQUESTS and isinstance(status := value.get("status"), int) and 0 < status < 1000:
                counts[f"{STATUS}{status:d}"] += 1
        size += _packed_size(value)
    if kind == Kind.REQUESTS:
        del counts["time"]
    return dict(counts), size


def _packed_size(value: Any) -> int:
    try:
        return len(ormsgpack.packb(value))
    except TypeError:  # nested more deeply than it writes: not worth a second packer
        return 0


def _errors(counts: dict[str, int]) -> int:
    return sum(count for level, count in counts.items() if level.isdigit() and int(level) >= ERROR)


def append(
    session: Session, job_id: int, token: str, batches: Sequence[Batch], stats: dict[str, Any] | None
) -> bool:
    """Store batches, counters and, when given, the Scrapy stats of a running job, all or nothing.

    1. The guarded UPDATE comes first: it holds the row until commit, so the job cannot end or be taken
       away under the insert, nor another writer store records of it.
    2. It also names where each counter must stand: a batch goes to the end, and nowhere else. Samples
       have no counter: under the row that 1 holds, their end is looked up.

    Returns: False when the token is not the owner's any more; nothing was written then.

    Raises:
        OutOfStep: the job has more records, or fewer, than the batches follow on; nothing was written.

    """
    values: dict[str, Any] = {"updated_time": now_ms(), "touched_time": now_ms()}
    guard = [col(Job.id) == job_id, col(Job.token) == token, col(Job.state) == JobState.RUNNING]
    for kind, counter in COUNTERS.items():
        mine = [batch for batch in batches if batch.kind == kind]
        if mine:
            guard.append(getattr(Job, counter) == mine[0].first)
            values[counter] = mine[-1].stop
    if errors := sum(batch.errors for batch in batches):
        values["errors"] = Job.errors + errors
    if stats is not None:
        values["scrapystats"] = stats
    if execute(session, update(Job).where(*guard).values(values)).rowcount != 1:
        if session.scalar(select(col(Job.id)).where(*guard[:3])) is None:
            return False
        raise _out_of_step(job_id)
    samples = next((batch for batch in batches if batch.kind == Kind.SAMPLES), None)
    if samples is not None and _end(session, job_id, Kind.SAMPLES)[0] != samples.first:
        raise _out_of_step(job_id)
    add(session, job_id, batches)
    return True


def _out_of_step(job_id: int) -> OutOfStep:
    return OutOfStep(f"job row {job_id}: its records do not end where these begin")


def has(session: Session, job_id: int, batches: Sequence[Batch]) -> bool:
    """Are these very batches stored already? Then the answer to an earlier ``append`` was lost."""
    for batch in batches:
        stored = select(col(Chunk.data), col(Chunk.object_url)).where(
            of(job_id, batch.kind), col(Chunk.first) == batch.first
        )
        row = _row(job_id, batch)
        if session.execute(stored).one_or_none() != (row["data"], row["object_url"]):
            return False
    return bool(batches)


def placed(batches: Sequence[Batch]) -> list[Batch]:
    """The batches, with their data where new ones belong. Slow, so never inside a transaction.

    Raises:
        StoreAway: the chunk store did not take them.

    """
    urls = payloads.place([batch.data for batch in batches])
    return [replace(batch, object_url=url) for batch, url in zip(batches, urls, strict=True)]


def add(session: Session, job_id: int, batches: Sequence[Batch]) -> None:
    """Insert the rows of batches.

    Raises:
        Condemned: objects among them may be gone; the transaction must not be committed.

    """
    if batches:
        payloads.claim(session, [batch.object_url for batch in batches])
        session.execute(insert(Chunk), [_row(job_id, batch) for batch in batches])


def _row(job_id: int, batch: Batch) -> dict[str, Any]:
    columns = {"job_id": job_id, **vars(batch)}
    return columns if batch.object_url is None else {**columns, "data": b""}


def upload(
    session: Session,
    job_id: int,
    kind: Kind,
    start: int | None,
    batches: Iterable[Batch],
    count: int,
    token: str | None,
    fetched: Mapping[str, bytes] | None = None,
) -> bool:
    """Store records at ``start``, in place of those that are there (contract 6.16): a retry changes nothing.

    Args:
        start: index of the first record; None: after the last one.
        batches: their ``first`` counts from 0, their times are set here.
        count: how many records they hold.
        token: of the job when it writes itself; None: somebody with a key.
        fetched: payloads from the chunk store by their URLs, see Elsewhere.

    1. The guarded UPDATE holds the row until commit: writers of one job take turns, and a job that has
       ended or was deleted meanwhile takes nothing.
    2. All records of an upload have one receive time, later than those before (contract 5.8).
    3. What the upload covers is removed, and put back what it covers only in part.

    Returns: False when there is nothing to write to: a deleted job, or one that does not run under the token.

    Raises:
        Elsewhere: roll back, fetch these payloads, and try again.
        Condemned: as ``add``.

    """
    writable = [col(Job.id) == job_id, col(Job.state) != JobState.DELETED]
    if token is not None:
        writable += [col(Job.state) == JobState.RUNNING, col(Job.token) == token]
    values = {"updated_time": now_ms(), "touched_time": now_ms(), "compacted": False}
    now = execute(session, update(Job).where(*writable).values(values).returning(now_ms())).scalar()
    if now is None:
        return False
    end, last_time = _end(session, job_id, kind)
    start = end if start is None else start
    moment = max(now, last_time + 1)
    kept, errors = _cut(session, job_id, kind, start, start + count, fetched or {})
    new = (
        replace(batch, first=start + batch.first, first_time=moment, last_time=moment) for batch in batches
    )
    parts = iter((*kept, *new)) if kept else new
    while some := list(islice(parts, AT_ONCE)):
        add(session, job_id, some)
        errors += sum(batch.errors for batch in some)
    if kind in COUNTERS:
        counter = getattr(Job, COUNTERS[kind])
        grown = case((counter < start + count, start + count), else_=counter)
        session.execute(
            update(Job)
            .where(col(Job.id) == job_id)
            .values({COUNTERS[kind]: grown, "errors": Job.errors + errors})
        )
    return True


def of(job_id: int, kind: Kind) -> Any:
    """The chunks of a kind."""
    return and_(col(Chunk.job_id) == job_id, col(Chunk.kind) == kind)


def _end(session: Session, job_id: int, kind: Kind) -> tuple[int, int]:
    """The index after the last record, and its receive time."""
    last = session.execute(
        select((col(Chunk.first) + col(Chunk.count)).label("stop"), col(Chunk.last_time))
        .where(of(job_id, kind))
        .order_by(col(Chunk.first).desc())
        .limit(1)
    ).one_or_none()
    return (0, 0) if last is None else (last.stop, last.last_time)


def _overlapping(job_id: int, kind: Kind, start: int, stop: int) -> Any:
    """The chunks that hold any of ``start`` … ``stop - 1``."""
    # No chunk is longer than MAX_RECORDS: this bound lets the primary key find them.
    near = col(Chunk.first).between(start - MAX_RECORDS + 1, stop - 1)
    return and_(of(job_id, kind), near, col(Chunk.first) + col(Chunk.count) > start)


def _cut(
    session: Session, job_id: int, kind: Kind, start: int, stop: int, fetched: Mapping[str, bytes]
) -> tuple[list[Batch], int]:
    """Remove the chunks of a range; returns what they hold outside of it, and minus the errors removed."""
    covered = _overlapping(job_id, kind, start, stop)
    edges = session.execute(
        select(*payloads.COLUMNS).where(
            covered, (col(Chunk.first) < start) | (col(Chunk.first) + col(Chunk.count) > stop)
        )
    ).all()
    if absent := [row.object_url for row in edges if row.object_url and row.object_url not in fetched]:
        raise Elsewhere(absent)
    kept = []
    for row in edges:
        data = fetched[row.object_url] if row.object_url else row.data
        times, lines = payloads.times(row, data), chunks.lines(data)
        for low, high in ((0, start - row.first), (stop - row.first, len(lines))):
            if (low := max(low, 0)) < (high := min(high, len(lines))):
                kept.append(pack(kind, row.first + low, times[low:high], lines[low:high]))
    counts = session.scalars(select(col(Chunk.counts)).where(covered)) if kind == Kind.LOGS else ()
    errors = sum(_errors(each) for each in counts if each)
    payloads.remove(session, covered)
    return kept, -errors


def total(session: Session, job_id: int, kind: Kind) -> int:
    """The index after the last record of the kind."""
    if kind not in COUNTERS:
        return _end(session, job_id, kind)[0]
    return session.scalar(select(getattr(Job, COUNTERS[kind])).where(col(Job.id) == job_id)) or 0


def stats(session: Session, job_id: int, kind: Kind) -> tuple[dict[str, int], int, int]:
    """How many records have each field (logs: each level), their bytes, and how many there are."""
    counts: Counter[str] = Counter()
    size = number = 0
    columns = (col(Chunk.first), col(Chunk.count), col(Chunk.counts), col(Chunk.input_bytes))
    for first, count, fields, bytes_ in session.execute(select(*columns).where(of(job_id, kind))):
        if fields is None:  # stored by the first release
            # In its row: whatever brings a payload elsewhere, counts it.
            chunk = select(col(Chunk.data)).where(of(job_id, kind), col(Chunk.first) == first)
            lines = chunks.lines(session.scalars(chunk).one())
            fields, bytes_ = measure(kind, [orjson.loads(line) for line in lines])  # noqa: PLW2901
        counts.update(fields)
        size += bytes_ or 0
        number += count
    shown = {name: each for name, each in counts.items() if kind != Kind.REQUESTS or STATUS not in name}
    return shown, size, number


def purge(session: Session, job_ids: Sequence[int]) -> None:
    """Remove all records of jobs."""
    payloads.remove(session, col(Chunk.job_id).in_(job_ids))


def purge_some(session: Session, job_id: int, limit: int = 500) -> bool:
    """Remove a part of a job's records; True: there may be more. A long DELETE would block writers."""
    some = select(col(Chunk.kind), col(Chunk.first)).where(col(Chunk.job_id) == job_id)
    keys = session.execute(some.order_by(col(Chunk.kind), col(Chunk.first)).limit(limit)).all()
    for kind in {key.kind for key in keys}:
        firsts = [key.first for key in keys if key.kind == kind]
        payloads.remove(session, of(job_id, kind) & col(Chunk.first).in_(firsts))
    return len(keys) == limit
