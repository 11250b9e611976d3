"""Records coming in: checked, packed, and stored all or nothing (contract 6.16)."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from app import jsonlines, store
from app.api.storage.wire import Call, empty, enter_job
from app.auth import JobPrincipal
from app.db import now_ms, reading, transaction
from app.errors import BadParameter, Elsewhere, NotAuthenticated, NotFound
from app.keys import LARGEST, JobKey
from app.models import Kind
from app.services import jobs, records
from app.services.records import MAX_BYTES, MAX_RECORDS, Batch

SPOOL = 8 << 20  # bytes of packed chunks that wait in memory
PLACED = 8  # chunks in memory on their way to the chunk store
LATEST = 1 << 47  # ms: the year 6429


class Spool:
    """Packed chunks on their way to the database: in memory while they are few, then in a file."""

    def __init__(self, kind: Kind) -> None:
        self.count = 0
        self._kind = kind
        self._file = tempfile.SpooledTemporaryFile(SPOOL)  # noqa: SIM115 - closed in __exit__
        self._batches: list[tuple[Batch, int]] = []  # without data; its length
        self._lines: list[bytes] = []
        self._values: list[Any] = []
        self._size = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, line: bytes, value: Any) -> None:
        """Take one record."""
        if self._lines and (len(self._lines) == MAX_RECORDS or self._size + len(line) > MAX_BYTES):
            self.pack()
        self._lines.append(line)
        self._values.append(value)
        self._size += len(line)
        self.count += 1

    def pack(self) -> None:
        """Compress what has been taken."""
        if self._lines:
            first = self.count - len(self._lines)
            batch = records.pack(self._kind, first, [0] * len(self._lines), self._lines, self._values)
            self._file.write(batch.data)
            self._batches.append((replace(batch, data=b""), len(batch.data)))
            self._lines, self._values, self._size = [], [], 0

    def place(self) -> None:
        """Bring what was packed to where chunks belong."""
        self._file.seek(0)
        for start in range(0, len(self._batches), PLACED):
            some = self._batches[start : start + PLACED]
            read = [replace(batch, data=self._file.read(length)) for batch, length in some]
            self._batches[start : start + PLACED] = [
                (replace(batch, data=b""), length)
                for batch, (_, length) in zip(records.placed(read), some, strict=True)
            ]

    def batches(self) -> Iterator[Batch]:
        """What was packed, from the beginning."""
        self._file.seek(0)
        for batch, length in self._batches:
            yield replace(batch, data=self._file.read(length))


def write(call: Call, kind: Kind, project: str, spider: str, job: str) -> Response:
    """Store records. All of a body or nothing: it is checked and packed before the transaction begins."""
    with reading() as session:
        principal, key = enter_job(session, call, project, spider, job)
        job_id = _known(session, key)
        now = session.scalar(select(now_ms())) or 0
    start = _start(call)
    with Spool(kind) as spool:
        for place, line in enumerate(call.lines(), 1):
            spool.add(*_checked(kind, *jsonlines.parse(line, place), place, now))
        spool.pack()
        if (start or 0) + spool.count > LARGEST:
            raise BadParameter(f"invalid value for start: {start}")
        if spool.count:
            token = principal.token if isinstance(principal, JobPrincipal) else None
            spool.place()
            if not _store(job_id, kind, start, spool, token) and token is not None:
                raise NotAuthenticated("Unauthorized")  # it ended while the body was read
    return empty()


def _store(job_id: int, kind: Kind, start: int | None, spool: Spool, token: str | None) -> bool:
    """Store what was packed. Parts of other chunks that stay are fetched before, which may take turns."""
    fetched: dict[str, bytes] = {}
    while True:
        try:
            with transaction() as session:
                return records.upload(
                    session, job_id, kind, start, spool.batches(), spool.count, token, fetched
                )
        except Elsewhere as parts:
            fetched.update((url, store.read(url)) for url in parts.urls)


def _known(session: Session, key: JobKey) -> int:
    job_id = jobs.find(session, key)
    if job_id is None:
        raise NotFound(f"unknown job: {key}")
    return job_id


def _start(call: Call) -> int | None:
    """The index of the first record: the parameter, else the header (contract 6.16), else None."""
    params = call.params
    if params.maybe("start") is not None:
        return params.integer("start", 0, low=0)
    unit, _, span = (call.content_range or "").partition(" ")
    first = span.partition("-")[0]
    if not call.content_range:
        return None
    if unit != "items" or not (first.isascii() and first.isdigit() and int(first) <= LARGEST):
        raise BadParameter(f"invalid value for Content-Range: {call.content_range[:100]}")
    return int(first)


def _checked(kind: Kind, line: bytes, value: Any, place: int, now: int) -> tuple[bytes, Any]:
    """The record as it is kept.

    Raises:
        BadParameter: it is none of this kind.

    """
    if kind == Kind.SAMPLES and isinstance(value, list):
        return line, value
    if kind == Kind.SAMPLES or not isinstance(value, dict):
        wanted = "array" if kind == Kind.SAMPLES else "object"
        raise BadParameter(f"Error parsing data, line {place} is not a JSON {wanted}")
    if kind == Kind.LOGS:
        value = _entry(value, now)
        return jsonlines.dumps(value), value
    if kind == Kind.REQUESTS and None in value.values():
        # Fields without a value are absent when read back (contract 6.18).
        value = {name: each for name, each in value.items() if each is not None}
        return jsonlines.dumps(value), value
    return line, value


def _entry(given: dict[str, Any], now: int) -> dict[str, Any]:
    """A log entry of the three fields that are kept (contract 6.17).

    A client whose entries are refused waits for a day: what is missing or odd gets a sensible value.
    """
    moment, level, message = given.get("time"), given.get("level"), given.get("message", "")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment < LATEST:
        moment = now
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 127:
        level = 20
    if not isinstance(message, str):
        message = jsonlines.dumps(message).decode()
    return {"time": int(moment), "level": level, "message": message}
