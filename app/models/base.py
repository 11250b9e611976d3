"""What tables share: constraint names, so that migrations can name what they drop, types, partial indexes."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, text
from sqlmodel import SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# A 64-bit key; SQLite only counts up a column whose type is exactly INTEGER.
BigKey = BigInteger().with_variant(Integer, "sqlite")


class Json(JSON):
    """JSON in which None is NULL, and not a stored ``null``."""

    def __init__(self) -> None:
        super().__init__(none_as_null=True)


def index_of(rows: str, name: str, *columns: Any, unique: bool = False) -> Index:
    """An index of some rows only, on either database.

    Args:
        rows: the condition they fulfil, as SQL.

    """
    return Index(name, *columns, unique=unique, sqlite_where=text(rows), postgresql_where=text(rows))


class Table(SQLModel):
    """Base of all tables."""
