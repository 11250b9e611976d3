"""Indexes of what the reconciler, tidying and builders look for; room for the next version of a job's row."""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Name, table, columns, and the rows that it is of; None: all.
INDEXES = (
    ("ix_version_pending", "version", ["id"], "state = 'pending'"),
    ("ix_version_building", "version", ["id"], "state = 'building'"),
    ("ix_version_file_sha256", "version_file", ["sha256"], None),
    ("ix_project_egg_sha256", "project_egg", ["sha256"], None),
    ("ix_login_expires_time", "login", ["expires_time"], None),
    ("ix_collection_deleted", "collection", ["id"], "name IS NULL"),
    ("ix_collection_type", "collection", ["type"], None),
    ("ix_frontier_slot_deleted", "frontier_slot", ["id"], "slot IS NULL"),
)


def upgrade() -> None:
    for name, table, columns, rows in INDEXES:
        where = None if rows is None else sa.text(rows)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE job SET (fillfactor = 85)")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE job SET (fillfactor = 90)")
    for name, table, *_ in reversed(INDEXES):
        op.drop_index(name, table)
