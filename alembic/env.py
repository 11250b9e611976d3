"""Migrations run on the database of the settings, or on the connection that a caller hands over."""

from alembic import context
from app.db import make_engine
from app.models import metadata
from app.settings import settings


def run(connection) -> None:  # type: ignore[no-untyped-def]
    # SQLite cannot alter a column in place: batch mode copies the table.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with make_engine(settings().database).begin() as connection:
        run(connection)
