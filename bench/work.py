"""What a slot does to the database: the platform's services, and beside them the least that a queue does."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import create_engine

from app import broker, db
from app.models import Kind
from app.services import jobs, records, workers
from app.services.records import Batch
from bench import typical

PER_MACHINE = 16  # slots of one worker
# What a spider says of a page within half a second: the item, the request, a line of its log.
KINDS = {
    Kind.ITEMS: typical.lines(1).strip(),
    Kind.REQUESTS: (
        b'{"time":1700000000000,"method":"GET","url":"https://shop.example.com/product/1","status":200,'
        b'"duration":120,"rs":48213,"fp":"b1d6f0c8a27e4b7f9f4a6f1f3c5d2e1a0b9c8d7e"}'
    ),
    Kind.LOGS: (
        b'{"time":1700000000000,"level":10,"message":"[scrapy.core.engine] Crawled (200) <GET '
        b'https://shop.example.com/product/1> (referer: https://shop.example.com/list?page=1)"}'
    ),
}


def some_records(first: int) -> Sequence[Batch]:
    """One record of each kind, packed, as the runner has them."""
    return [records.pack(kind, first, [1_700_000_000_000], [line]) for kind, line in KINDS.items()]


class Work(Protocol):
    """What a slot does to the database."""

    def claim(self, worker: str, /) -> Any:  # noqa: D102
        ...

    def beat(self, job: Any) -> bool:  # noqa: D102
        ...

    def store(self, job: Any, first: int, /) -> bool:  # noqa: D102
        ...

    def finish(self, job: Any) -> bool:  # noqa: D102
        ...

    def pass_on(self, freed: bool, /) -> None:  # noqa: D102
        ...

    def seen(self, worker: str, /) -> None:  # noqa: D102
        ...


class Ours:
    """The platform's services, each in a transaction as the runner has it."""

    def claim(self, worker: str) -> Any:
        """Claim the best job."""
        with db.transaction() as session:
            return jobs.claim(session, worker, "task")

    def beat(self, job: Any) -> bool:
        """Renew the lease."""
        with db.transaction() as session:
            return jobs.heartbeat(session, job.id, job.token).mine

    def store(self, job: Any, first: int) -> bool:
        """Store records, one of each kind."""
        batches = some_records(first)
        with db.transaction() as session:
            return records.append(session, job.id, job.token, batches, None)

    def finish(self, job: Any) -> bool:
        """Say the last word."""
        with db.transaction() as session:
            return jobs.finish(session, job.id, job.token, "finished")

    def pass_on(self, freed: bool) -> None:
        """Wake the next free slot."""
        with db.reading() as session:
            for priority in (workers.next_up if freed else workers.wanted)(session, 1):
                broker.wake(priority)

    def seen(self, worker: str) -> None:
        """Note that the worker is alive."""
        with db.transaction() as session:
            workers.seen(session, worker, workers.WORKER, PER_MACHINE)


class Plain:
    """The least that a queue in PostgreSQL does, with as many commits."""

    TABLE = """
        CREATE TABLE plain (
            id bigserial PRIMARY KEY, priority int NOT NULL, state text NOT NULL, token text, lease bigint,
            payload text NOT NULL
        );
        CREATE INDEX plain_queue ON plain (priority DESC, id) WHERE state = 'pending';
        CREATE TABLE plain_chunk (
            job bigint, kind text, first int, data bytea, PRIMARY KEY (job, kind, first)
        );
    """
    CLAIM = """
        UPDATE plain SET state = 'running', token = %s, lease = %s WHERE id = (
            SELECT id FROM plain WHERE state = 'pending' ORDER BY priority DESC, id LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) RETURNING id, priority, token, payload
    """
    BEAT = "UPDATE plain SET lease = %s WHERE id = %s AND token = %s AND state = 'running'"
    STORE = "INSERT INTO plain_chunk VALUES " + ", ".join(["(%s, %s, %s, %s)"] * len(KINDS))
    FINISH = "UPDATE plain SET state = 'finished', token = NULL WHERE id = %s AND token = %s"

    def __init__(self, url: str) -> None:
        engine = create_engine(url)
        self._connection = engine.raw_connection()
        self._cursor = self._connection.cursor()

    def _execute(self, statement: str, *values: Any) -> Any:
        self._cursor.execute(statement, values)
        row = self._cursor.fetchone() if self._cursor.description else None
        self._connection.commit()
        return row if row is not None else self._cursor.rowcount > 0

    def claim(self, _: str) -> Any:
        """Claim the best row."""
        row = self._execute(self.CLAIM, jobs.new_token(), time.time_ns())
        return Row(*row) if row else None

    def beat(self, job: Any) -> bool:
        """Renew the lease."""
        done: bool = self._execute(self.BEAT, time.time_ns(), job.id, job.token)
        return done

    def store(self, job: Any, first: int) -> bool:
        """Store records, one of each kind, under a lease that is renewed."""
        self._cursor.execute(self.BEAT, (time.time_ns(), job.id, job.token))
        rows = [(job.id, batch.kind, first, batch.data) for batch in some_records(first)]
        done: bool = self._execute(self.STORE, *itertools.chain(*rows))
        return done

    def finish(self, job: Any) -> bool:
        """Say the last word."""
        done: bool = self._execute(self.FINISH, job.id, job.token)
        return done

    def pass_on(self, _: bool) -> None:
        """Nobody is woken."""

    def seen(self, _: str) -> None:
        """Nobody is noted."""


@dataclass(frozen=True)
class Row:
    """A row of the plain table that is ours."""

    id: int
    priority: int
    token: str
    payload: str
