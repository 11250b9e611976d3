"""The database: one engine per process, short transactions, and callbacks after commit."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import orjson
from sqlalchemy import (
    BigInteger,
    CursorResult,
    Dialect,
    Engine,
    Executable,
    Row,
    Text,
    TypeDecorator,
    bindparam,
    create_engine,
    event,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from app.errors import DatabaseBusy
from app.prepared import send
from app.settings import settings

AnyRow = Row[*tuple[Any, ...]]  # a result row; its columns are named in the function that makes it

BUSY_SECONDS = 30  # how long a SQLite writer waits for another one

# SQLite lets one writer in and makes the others poll with growing sleeps. Within a process a lock
# hands over at once, so threads queue here and only processes meet at the file. Whoever waits for it
# holds the place of the next one, which the last one has to wait for, too, before it writes again: else
# a thread that writes portion after portion takes the lock back before another has woken up.
_one_writer = threading.Lock()
_next_writer = threading.Lock()


class now_ms(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock, integer milliseconds since 1970. Leases are compared on it alone."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _now_sqlite(element: now_ms, compiler: Any, **kw: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_postgresql(element: now_ms, compiler: Any, **kw: Any) -> str:
    # Of the statement: the columns that one UPDATE stamps are equal, as they are on SQLite.
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000 AS BIGINT)"


class Ids(TypeDecorator[Sequence[int]]):
    """Row ids that travel as one value: the text of an array, on SQLite of a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> str:
        """The value as the driver takes it. Of a list, PostgreSQL's would look at each element by itself."""
        text = _dumps(list(value or ()))
        return text if dialect.name == "sqlite" else f"{{{text[1:-1]}}}"


class _Among(FunctionElement[Any]):
    inherit_cache = True  # without a type: SQLite's index is not used for what is compared with true


def among(column: Any, name: str) -> Any:
    """Is ``column`` one of the ids of the parameter ``name``? However many they are, the statement is the
    same: with a parameter for each of a thousand, PostgreSQL works longer on the text than on the rows.
    """
    return _Among(column, bindparam(name, type_=Ids()))


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: Any, **kw: Any) -> str:
    column, ids = (compiler.process(part, **kw) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 - nobody's words


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: Any, **kw: Any) -> str:
    column, ids = (compiler.process(part, **kw) for part in element.clauses)
    return f"{column} = ANY (({ids})::BIGINT[])"


def make_engine(url: str) -> Engine:
    """An engine for ``url`` with the settings that the platform relies on (design: traps of SQLite)."""
    if not url.startswith("sqlite"):
        return create_engine(
            url, json_serializer=_dumps, json_deserializer=orjson.loads, pool_pre_ping=True,
            hide_parameters=True,  # arguments of spiders are nothing for a log
            pool_size=10, max_overflow=30,  # 40 threads serve requests
            # A prepared statement may get a plan that fits any value, and then no partial index fits it.
            connect_args={"prepare_threshold": None},
        )  # fmt: skip
    engine = create_engine(
        url, json_serializer=_dumps, json_deserializer=orjson.loads, hide_parameters=True,
        pool_size=20, max_overflow=40, pool_use_lifo=True,  # the one used last knows most pages
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that writes begins as a writer: a reader that turns writer fails at once
        # (BUSY_SNAPSHOT) when somebody wrote in between.
        options = connection.get_execution_options()
        if not options.get("held"):
            send(connection, "BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")

    return engine


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


@lru_cache
def engine() -> Engine:
    """The engine of this process."""
    if settings().database_url is None:
        settings().folder()
    return make_engine(settings().database)


@lru_cache(maxsize=1)
def _writing(engine: Engine) -> Engine:
    """The same, and the same connections, for transactions that write."""
    return engine.execution_options(writes=True)


def forget_connections() -> None:
    """Drop the connections inherited over a fork; the parent still uses them."""
    engine().dispose(close=False)


@contextmanager
def reading() -> Iterator[Session]:
    """A transaction that only reads."""
    with Session(engine()) as session:
        yield session


@contextmanager
def transaction() -> Iterator[Session]:
    """A transaction that writes: commits at the end, then runs what ``after_commit`` collected.

    Raises:
        DatabaseBusy: another writer of this process has not ended within BUSY_SECONDS.

    An exception rolls back and drops the callbacks. Sync endpoints open it in their own body, never
    as a dependency: a dependency is entered and left in different threads of the pool, and with all
    of them waiting for the writer, the writer would wait for one of them.

    """
    bind = engine()
    alone = bind.dialect.name == "sqlite"
    if alone and not _take_turn(BUSY_SECONDS):
        raise DatabaseBusy("the database does not answer, try again")
    try:
        with Session(_writing(bind)) as session:
            yield session
            session.commit()
            callbacks = session.info.pop("after_commit", [])
    finally:
        if alone:
            _one_writer.release()
    for callback in callbacks:
        callback()


class _HeldSession(Session):
    """A session with one connection for all its life; to ask for it is part of every statement."""

    def connection(self, *_: Any, **__: Any) -> Connection:
        assert isinstance(self.bind, Connection)
        return self.bind


class HeldWriter:
    """A connection to SQLite that is kept for transactions which write, and wait for nobody else who does.

    SQLAlchemy begins one transaction that never ends; those of the database are begun and committed
    beneath it. What it does around each is a quarter of a short one.
    """

    def __init__(self) -> None:
        self._connection = engine().execution_options(held=True).connect()
        self._connection.detach()  # it is never given back, and nobody else has use for its PRAGMA
        self._session = _HeldSession(self._connection)
        send(self._connection, "PRAGMA busy_timeout = 0")

    def begin(self) -> Session:
        """Begin a transaction, which ends with ``commit`` or ``rollback``, maybe in another thread.

        Raises:
            DatabaseBusy: somebody else writes, or is about to.

        """
        if not _take_turn(0):
            raise DatabaseBusy("another thread writes")
        try:
            send(self._connection, "BEGIN IMMEDIATE")
        except BaseException as error:
            _one_writer.release()
            if isinstance(error, OperationalError):
                raise DatabaseBusy("another process writes") from error
            raise
        return self._session

    def commit(self) -> None:
        """Commit, then run what ``after_commit`` collected. What fails is rolled back."""
        try:
            send(self._connection, "COMMIT")
        except BaseException:
            self.rollback()
            raise
        _one_writer.release()
        for callback in self._session.info.pop("after_commit", ()):
            callback()

    def rollback(self) -> None:
        """Undo all of it, and drop what ``after_commit`` collected."""
        self._session.info.pop("after_commit", None)
        try:
            if self._connection.connection.in_transaction:  # SQLite itself ends one when the disk is full
                send(self._connection, "ROLLBACK")
        finally:
            _one_writer.release()


def _take_turn(seconds: float) -> bool:
    """Wait to be the one writer of this process; False: others did not end."""
    until = time.monotonic() + seconds
    if not _next_writer.acquire(timeout=seconds):
        return False
    try:
        return _one_writer.acquire(timeout=max(until - time.monotonic(), 0))
    finally:
        _next_writer.release()


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run ``callback`` once the transaction of ``session`` has been committed; never after a rollback."""
    session.info.setdefault("after_commit", []).append(callback)


def execute(session: Session, statement: Executable) -> "CursorResult[Any]":
    """Execute an INSERT, UPDATE or DELETE; its row count tells who won."""
    return cast("CursorResult[Any]", session.execute(statement))


def insert_into(session: Session, table: Any) -> Any:
    """An INSERT that knows ON CONFLICT, which each of the two databases writes in its own way."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(table)
