"""Move all data from one database to another, as from SQLite to PostgreSQL."""

from pathlib import Path

from sqlalchemy import Connection, Table, delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from app.db import engine, make_engine
from app.errors import BadParameter, Refused
from app.models import metadata
from app.settings import database_url

ROWS = 500  # in one INSERT
LARGE_ROWS = 5  # of tables whose rows hold files
REPLACED = ("api_key", "worker")  # what migrating or starting a platform has already put there


def copy_from(url: str) -> dict[str, int]:
    """Copy every table of the database at ``url`` into ours, all or nothing; returns rows per table.

    Raises:
        BadParameter: ``url`` cannot be read, or is our own database.
        Refused: our database holds something already, or was not migrated.

    """
    try:
        source = make_engine(database_url(url))
    except ValueError as error:
        raise BadParameter(f"the database to copy from {error}") from None
    if source.dialect.name == "sqlite" and not Path(source.url.database or "").exists():
        raise BadParameter(f"there is no file {source.url.database}")
    if source.url == engine().url:
        raise BadParameter("both databases are the same")
    copied = {}
    try:
        with source.connect() as old, engine().execution_options(writes=True).begin() as new:
            _check(old, new)
            for table in metadata.sorted_tables:
                copied[table.name] = _copy(table, old, new)
            if new.dialect.name == "postgresql":
                _set_sequences(new)
    except DBAPIError as error:
        raise BadParameter(f"a database cannot be read or written: {error.orig}") from None
    finally:
        source.dispose()
    return copied


def _check(old: Connection, new: Connection) -> None:
    revision = text("SELECT version_num FROM alembic_version")
    if old.execute(revision).scalar() != new.execute(revision).scalar():
        raise Refused("the databases are not at the same migration: run `crawldock migrate` on both")
    for table in metadata.sorted_tables:
        if table.name in REPLACED:
            new.execute(delete(table))
        elif new.execute(select(func.count()).select_from(table)).scalar():
            raise Refused(f"the database is not empty: table {table.name} has rows")


def _copy(table: Table, old: Connection, new: Connection) -> int:
    count = 0
    size = LARGE_ROWS if "data" in table.columns else ROWS
    result = old.execution_options(yield_per=size).execute(select(table))
    for rows in result.mappings().partitions(size):
        new.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
    return count


def _set_sequences(new: Connection) -> None:
    """Go on counting after the copied ids."""
    for table in metadata.sorted_tables:
        column = table.primary_key.columns.values()[0]
        sequence = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
        if new.execute(text(f"SELECT {sequence}")).scalar() is not None:
            last = new.execute(select(func.max(column))).scalar()
            if last is not None:
                new.execute(text(f"SELECT setval({sequence}, {int(last)})"))
