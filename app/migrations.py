"""Bring the database to the present tables, and see that there is an admin key."""

import secrets
from pathlib import Path

from alembic.config import Config
from sqlalchemy import text

from alembic import command
from app.db import engine, transaction
from app.errors import BadSettings, Revoked
from app.services import apikeys
from app.settings import settings

ROOT = Path(__file__).parent.parent
KEPT = "admin-key"  # in the data directory
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


def known_admin_key() -> str | None:
    """The admin key of the settings, else the one kept in the data directory; None when there is neither."""
    kept = settings().data_dir / KEPT
    value = settings().api_key or (kept.read_text().strip() if kept.exists() else "")
    return value or None


def admin_key(make: bool) -> str | None:
    """The known admin key, else, if asked for, a new one; it is made valid in the database.

    Raises:
        BadSettings: CRAWLDOCK_API_KEY is a key that was revoked.

    """
    value = known_admin_key()
    if value is not None:
        try:
            with transaction() as session:
                apikeys.ensure_admin(session, value)
            return value
        except Revoked:
            if settings().api_key is not None:
                raise BadSettings("CRAWLDOCK_API_KEY: this key was revoked, set another one") from None
    if not make:
        return None
    value = secrets.token_hex(16)
    _keep(value)  # first: a key that nobody knows is worth nothing
    with transaction() as session:
        apikeys.ensure_admin(session, value)
    return value


def _keep(value: str) -> None:
    """Write the key down, for its owner alone; the file is there whole or not at all."""
    new = settings().data_dir / f"{KEPT}.new"
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(value + "\n")
    new.rename(settings().data_dir / KEPT)
