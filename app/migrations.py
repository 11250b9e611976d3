"""Bring the database to the present tables, and see that there is an admin key."""

import secrets
from pathlib import Path

from alembic.config import Config
from sqlalchemy import text

from alembic import command
from app.db import engine, transaction
from app.services import apikeys
from app.settings import settings

ROOT = Path(__file__).parent.parent
LOCK = 0x63726177  # any number; PostgreSQL's advisory locks have no names


def config() -> Config:
    """Alembic's configuration, wherever the process was started."""
    return Config(ROOT / "alembic.ini")


def migrate(revision: str = "head") -> None:
    """Upgrade to a revision. Of several processes that do it at once one works, the others wait."""
    setup = config()
    with engine().execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        setup.attributes["connection"] = connection
        command.upgrade(setup, revision)


def admin_key(make: bool) -> str | None:
    """The admin key of the settings, else the one kept in the data directory, else, if asked for, a new one.

    It is made valid in the database; None when there is none.
    """
    kept = settings().data_dir / "admin-key"
    value = settings().api_key or (kept.read_text().strip() if kept.exists() else None)
    if value is None and make:
        value = secrets.token_hex(16)
    if value is None:
        return None
    with transaction() as session:
        apikeys.ensure_admin(session, value)
    if settings().api_key is None:
        kept.touch(mode=0o600)
        kept.write_text(value + "\n")
    return value
