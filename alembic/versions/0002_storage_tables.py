"""storage tables."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_activity_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("activity", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_activity_project_id_id"), ["project_id", "id"], unique=False)

    op.create_table(
        "collection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(3), nullable=False),
        sa.Column("name", sa.String(255), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_collection_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collection")),
        sa.UniqueConstraint("project_id", "type", "name", name=op.f("uq_collection_project_id_type_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "frontier_slot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("frontier", sa.String(255), nullable=False),
        sa.Column("slot", sa.String(255), nullable=True),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_frontier_slot_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frontier_slot")),
        sa.UniqueConstraint(
            "project_id", "frontier", "slot", name=op.f("uq_frontier_slot_project_id_frontier_slot")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "project_setting",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_project_setting_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_project_setting")),
    )
    op.create_table(
        "collection_record",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collection.id"],
            name=op.f("fk_collection_record_collection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", "key", name=op.f("pk_collection_record")),
    )
    with op.batch_alter_table("collection_record", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_collection_record_collection_id_time"), ["collection_id", "time"], unique=False
        )

    op.create_table(
        "fingerprint",
        sa.Column("slot_id", sa.Integer(), nullable=False),
        sa.Column("fp", sa.LargeBinary(), nullable=False),
        sa.Column("fdata", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["slot_id"], ["frontier_slot.id"], name=op.f("fk_fingerprint_slot_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("slot_id", "fp", name=op.f("pk_fingerprint")),
    )
    op.create_table(
        "frontier_batch",
        sa.Column("slot_id", sa.Integer(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("requests", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["slot_id"], ["frontier_slot.id"], name=op.f("fk_frontier_batch_slot_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("slot_id", "priority", "number", name=op.f("pk_frontier_batch")),
    )
    op.create_table(
        "comment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.String(255), nullable=True),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("archived_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_comment_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_comment_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comment")),
    )
    with op.batch_alter_table("comment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_comment_job_id_item"), ["job_id", "item"], unique=False)

    op.create_table(
        "report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_report_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_report_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("project_id", "job_id", "key", name=op.f("uq_report_project_id_job_id_key")),
    )
    op.add_column("chunk", sa.Column("counts", sa.JSON(), nullable=True))
    op.add_column("chunk", sa.Column("input_bytes", sa.BigInteger(), nullable=True))
    op.drop_index("ix_job_spider", "job")
    op.create_index("ix_job_spider", "job", ["spider_id", "state", "state_time", "id"])
    op.add_column("job", sa.Column("pushed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("spider", sa.Column("declared", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("spider", sa.Column("tags", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("spider", "tags")
    op.drop_column("spider", "declared")
    op.drop_column("job", "pushed")
    op.drop_index("ix_job_spider", "job")
    op.create_index("ix_job_spider", "job", ["spider_id", "state_time", "id"])
    op.drop_column("chunk", "input_bytes")
    op.drop_column("chunk", "counts")
    op.drop_table("report")
    with op.batch_alter_table("comment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_comment_job_id_item"))

    op.drop_table("comment")
    op.drop_table("frontier_batch")
    op.drop_table("fingerprint")
    with op.batch_alter_table("collection_record", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_collection_record_collection_id_time"))

    op.drop_table("collection_record")
    op.drop_table("project_setting")
    op.drop_table("frontier_slot")
    op.drop_table("collection")
    with op.batch_alter_table("activity", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_activity_project_id_id"))

    op.drop_table("activity")
