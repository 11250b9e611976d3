"""Buffers a job's records and writes them in chunks; counts them; keeps what the database could not take."""

import logging
import time
from dataclasses import replace
from typing import Any

from sqlalchemy.exc import DBAPIError

from app.db import reading, transaction
from app.errors import BadParameter, Condemned, OutOfStep, StoreAway
from app.jsonlines import dumps
from app.models import Kind
from app.services import records
from app.services.records import MAX_BYTES, MAX_RECORDS, Batch
from worker.fifo import Message, Rubbish

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5  # a record is readable at most about a second after it was produced
FIRST_FLUSHES, FIRST_SECONDS = 5, 0.1  # people wait for the first lines of a new job
FULL_BYTES = 8 << 20  # with so much waiting for the database, the spider must wait too
INFO, ERROR = 20, 40
MESSAGE_LENGTH = 256 << 10  # characters of one log entry
PATIENCE_SECONDS = 20.0  # with the chunk store away for so long, chunks go into the database
NO_REASON = "no_reason"  # the outcome when none was told (contract 7.5)


def _now() -> int:
    return time.time_ns() // 1_000_000


class _Buffer:
    """Records of one kind that are not stored yet."""

    def __init__(self) -> None:
        self.first = 0  # index of the next record in the job
        self.clear()

    def clear(self) -> None:
        self.times: list[int] = []
        self.lines: list[bytes] = []
        self.size = 0

    @property
    def stop(self) -> int:
        """The index after the last record, stored or not."""
        return self.first + len(self.lines)

    def add(self, line: bytes) -> None:
        self.times.append(_now())
        self.lines.append(line)
        self.size += len(line)


class Recorder:
    """The records of one run, on their way to the database."""

    def __init__(self, job_id: int, token: str) -> None:
        self._job_id = job_id
        self._token = token
        self._buffers = {kind: _Buffer() for kind in Kind}
        self._stats: dict[str, Any] | None = None
        self._sending: tuple[list[Batch], dict[str, Any] | None] | None = None
        self._placed = False  # has it been written to where chunks belong?
        self._flushed = time.monotonic()
        self._flushes = 0  # how many have written something
        self._errors = 0  # log entries of level ERROR or above
        self._store_since: float | None = None  # since when the chunk store has been away
        self.outcome: str | None = None  # of the FIN message
        self.lost = False  # the job is not ours any more: nothing can be written

    def take(self, message: Message | Rubbish) -> None:
        """Record what came through the pipe."""
        if isinstance(message, Rubbish):
            self.log(ERROR, f"[pipe] {message.reason}")
            return
        try:
            self._take(message)
        except BadParameter as error:  # nested deeper than can be written
            self.log(ERROR, f"[pipe] a {message.kind} message was dropped: {error}")

    def _take(self, message: Message) -> None:
        if message.kind == "ITM":
            self._buffers[Kind.ITEMS].add(message.line)
        elif message.kind == "LOG":
            self._take_log(message)
        elif message.kind == "REQ":
            # Fields without a value are absent when read back (contract 6.18).
            fields = {name: value for name, value in message.value.items() if value is not None}
            self._buffers[Kind.REQUESTS].add(dumps(fields))
        elif message.kind == "STA" and isinstance(stats := message.value.get("stats"), dict):
            dumps(stats)  # raises here, not on the way to the database
            self._stats = stats
        elif message.kind == "FIN":
            outcome = message.value.get("outcome")
            # PostgreSQL has no NUL in a text.
            self.outcome = (
                outcome.replace("\0", "\ufffd") if outcome and isinstance(outcome, str) else NO_REASON
            )

    def _take_log(self, message: Message) -> None:
        entry = message.value
        level, text, moment = entry.get("level"), entry.get("message"), entry.get("time")
        if not isinstance(level, int) or not isinstance(text, str):
            shown = message.line[:200].decode("utf-8", "replace")
            self.log(ERROR, f"[pipe] a log entry without level or message: {shown}")
        else:
            self.log(level, text, moment if isinstance(moment, int) and 0 < moment < 1 << 52 else None)

    def sample(self, memory: int) -> None:
        """Note where the job stands (``services.series`` has the columns).

        Args:
            memory: bytes, the most that its processes used since the last sample.

        """
        stand = [self._buffers[kind].stop for kind in (Kind.ITEMS, Kind.REQUESTS, Kind.LOGS)]
        self._buffers[Kind.SAMPLES].add(dumps([_now(), *stand, self._errors, memory]))

    def log(self, level: int, message: str, moment: int | None = None) -> None:
        """Add a log entry, ours or the spider's."""
        message = message.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:MESSAGE_LENGTH]
        entry = {"time": moment or _now(), "level": level, "message": message}
        self._errors += level >= ERROR
        self._buffers[Kind.LOGS].add(dumps(entry))

    @property
    def full(self) -> bool:
        """Is so much waiting that the spider must wait?"""
        return sum(buffer.size for buffer in self._buffers.values()) >= FULL_BYTES

    def due(self) -> bool:
        """Is it time to write?"""
        if any(buffer.size >= MAX_BYTES for buffer in self._buffers.values()):
            return True
        waiting = self._sending or self._stats is not None or any(b.lines for b in self._buffers.values())
        pause = FIRST_SECONDS if self._flushes < FIRST_FLUSHES else FLUSH_SECONDS
        return bool(waiting) and time.monotonic() - self._flushed >= pause

    def flush(self) -> bool:
        """Write everything; False: the database did not take it, and it is kept.

        1. What is sent is frozen first: a retry sends the very same chunks, whatever has come since.
           What the chunk store has taken it has: only when that is being removed is it written anew.
        2. When a commit's answer was lost, the retry is out of step with its own rows; then it was stored.
        3. When somebody else has written records of this job, ours follow after theirs.
        """
        self._flushed = time.monotonic()
        while not self.lost and (self._sending or self._freeze()):
            assert self._sending is not None
            try:
                self._place()
                self._send(*self._sending)
            except (DBAPIError, StoreAway) as error:
                what = type(error.orig if isinstance(error, DBAPIError) else error).__name__
                log.warning("job row %s: records not stored yet: %s", self._job_id, what)
                return False
        return True

    def _place(self) -> None:
        """Bring what was frozen to where chunks belong, once."""
        assert self._sending is not None
        batches, stats = self._sending
        if self._placed:
            return
        now = time.monotonic()
        try:
            batches = records.placed(batches)
            self._store_since = None
        except StoreAway:
            self._store_since = self._store_since or now
            if now - self._store_since < PATIENCE_SECONDS:
                raise
        self._sending, self._placed = (batches, stats), True

    def _send(self, batches: list[Batch], stats: dict[str, Any] | None) -> None:
        try:
            with transaction() as session:
                self.lost = not records.append(session, self._job_id, self._token, batches, stats)
            self._sending = None
            self._flushes += 1
        except OutOfStep:
            self._step_back_in(batches, stats)
        except Condemned:
            self._placed = False

    def _step_back_in(self, batches: list[Batch], stats: dict[str, Any] | None) -> None:
        with reading() as session:
            if records.has(session, self._job_id, batches):
                log.info("job row %s: records were stored by an earlier attempt", self._job_id)
                self._sending = None
                return
            ends = {kind: records.total(session, self._job_id, kind) for kind in Kind}
        moved = []
        for kind, end in ends.items():
            mine = [batch for batch in batches if batch.kind == kind]
            shift = end - (mine[0].first if mine else self._buffers[kind].first)
            moved += [replace(batch, first=batch.first + shift) for batch in mine]
            self._buffers[kind].first += shift
        self._sending = (moved, stats)

    def _freeze(self) -> bool:
        """Move what has been buffered into ``_sending``, in chunks of the usual size."""
        batches = []
        for kind, buffer in self._buffers.items():
            start = size = 0
            for place, line in enumerate(buffer.lines):
                if place > start and (size + len(line) > MAX_BYTES or place - start == MAX_RECORDS):
                    batches.append(self._batch(kind, start, place))
                    start, size = place, 0
                size += len(line)
            if buffer.lines:
                batches.append(self._batch(kind, start, len(buffer.lines)))
                buffer.first += len(buffer.lines)
                buffer.clear()
        if batches or self._stats is not None:
            self._sending, self._stats, self._placed = (batches, self._stats), None, False
            return True
        return False

    def _batch(self, kind: Kind, start: int, stop: int) -> Batch:
        buffer = self._buffers[kind]
        return records.pack(kind, buffer.first + start, buffer.times[start:stop], buffer.lines[start:stop])
