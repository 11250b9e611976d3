"""first tables."""

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("revoked_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_key_hash")),
        sa.UniqueConstraint("name", name=op.f("uq_api_key_name")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("spiders", sa.Integer(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
    )
    op.create_table(
        "worker",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("seen_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    op.create_table(
        "key_project",
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["api_key.id"],
            name=op.f("fk_key_project_key_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_key_project_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key_id", "project_id", name=op.f("pk_key_project")),
    )
    op.create_table(
        "project_egg",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_project_egg_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_project_egg")),
    )
    op.create_table(
        "spider",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("deployed", sa.Boolean(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_spider_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spider")),
        sa.UniqueConstraint(
            "project_id", "name", name=op.f("uq_spider_project_id_name")
        ),
        sa.UniqueConstraint(
            "project_id", "number", name=op.f("uq_spider_project_id_number")
        ),
    )
    op.create_table(
        "version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("stack", sa.String(255), nullable=True),
        sa.Column("requirements", sa.Text(), nullable=False),
        sa.Column("spiders", sa.JSON(), nullable=False),
        sa.Column("settings_module", sa.String(255), nullable=True),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("lease_time", sa.BigInteger(), nullable=True),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_version_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version")),
    )
    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_version_project_id_id"), ["project_id", "id"], unique=False
        )

    op.create_table(
        "job",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("spider_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("duplicate_key", sa.String(64), nullable=True),
        sa.Column("version", sa.String(255), nullable=True),
        sa.Column("spider_args", sa.JSON(), nullable=True),
        sa.Column("job_settings", sa.JSON(), nullable=True),
        sa.Column("environment", sa.JSON(), nullable=True),
        sa.Column("job_cmd", sa.JSON(), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=True),
        sa.Column("scrapystats", sa.JSON(), nullable=True),
        sa.Column("state_time", sa.BigInteger(), nullable=False),
        sa.Column("updated_time", sa.BigInteger(), nullable=False),
        sa.Column("touched_time", sa.BigInteger(), nullable=False),
        sa.Column("pending_time", sa.BigInteger(), nullable=True),
        sa.Column("running_time", sa.BigInteger(), nullable=True),
        sa.Column("finished_time", sa.BigInteger(), nullable=True),
        sa.Column("deleted_time", sa.BigInteger(), nullable=True),
        sa.Column("stop_time", sa.BigInteger(), nullable=True),
        sa.Column("scheduled_by", sa.String(100), nullable=True),
        sa.Column("started_by", sa.String(100), nullable=True),
        sa.Column("completed_by", sa.String(100), nullable=True),
        sa.Column("cancelled_by", sa.String(100), nullable=True),
        sa.Column("deleted_by", sa.String(100), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("token", sa.String(64), nullable=True),
        sa.Column("lease_time", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.String(64), nullable=True),
        sa.Column("worker", sa.String(255), nullable=True),
        sa.Column("compacted", sa.Boolean(), nullable=False),
        sa.Column("purged", sa.Boolean(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("logs", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_job_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["spider_id"], ["spider.id"], name=op.f("fk_job_spider_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint(
            "spider_id", "number", name=op.f("uq_job_spider_id_number")
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_queue",
            [sa.text("priority DESC"), "id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            "ix_job_lease",
            ["lease_time"],
            unique=False,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )
        batch_op.create_index(
            "ix_job_project", ["project_id", "state_time", "id"], unique=False
        )
        batch_op.create_index(
            "ix_job_project_state",
            ["project_id", "state", "state_time", "id"],
            unique=False,
        )
        batch_op.create_index(
            "ix_job_spider", ["spider_id", "state_time", "id"], unique=False
        )
        batch_op.create_index(
            "ix_job_retention",
            ["state_time"],
            unique=False,
            sqlite_where=sa.text("state = 'finished'"),
            postgresql_where=sa.text("state = 'finished'"),
        )
        batch_op.create_index(
            "ix_job_uncompacted",
            ["finished_time"],
            unique=False,
            sqlite_where=sa.text("state = 'finished' AND NOT compacted"),
            postgresql_where=sa.text("state = 'finished' AND NOT compacted"),
        )
        batch_op.create_index(
            "ix_job_unpurged",
            ["deleted_time"],
            unique=False,
            sqlite_where=sa.text("state = 'deleted' AND NOT purged"),
            postgresql_where=sa.text("state = 'deleted' AND NOT purged"),
        )
        batch_op.create_index(
            "uq_job_active",
            ["project_id", "duplicate_key"],
            unique=True,
            sqlite_where=sa.text("state IN ('pending', 'running')"),
            postgresql_where=sa.text("state IN ('pending', 'running')"),
        )

    op.create_table(
        "version_file",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["version.id"],
            name=op.f("fk_version_file_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("version_id", "name", name=op.f("pk_version_file")),
    )
    op.create_table(
        "chunk",
        sa.Column(
            "job_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_time", sa.BigInteger(), nullable=False),
        sa.Column("last_time", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_chunk_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "kind", "first", name=op.f("pk_chunk")),
    )
    op.create_table(
        "job_tag",
        sa.Column(
            "job_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("tag", sa.String(255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_tag_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "tag", name=op.f("pk_job_tag")),
    )
    with op.batch_alter_table("job_tag", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_job_tag_tag_job_id"), ["tag", "job_id"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("job_tag", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_tag_tag_job_id"))

    op.drop_table("job_tag")
    op.drop_table("chunk")
    op.drop_table("version_file")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_job_active",
            sqlite_where=sa.text("state IN ('pending', 'running')"),
            postgresql_where=sa.text("state IN ('pending', 'running')"),
        )
        batch_op.drop_index(
            "ix_job_unpurged",
            sqlite_where=sa.text("state = 'deleted' AND NOT purged"),
            postgresql_where=sa.text("state = 'deleted' AND NOT purged"),
        )
        batch_op.drop_index(
            "ix_job_uncompacted",
            sqlite_where=sa.text("state = 'finished' AND NOT compacted"),
            postgresql_where=sa.text("state = 'finished' AND NOT compacted"),
        )
        batch_op.drop_index(
            "ix_job_retention",
            sqlite_where=sa.text("state = 'finished'"),
            postgresql_where=sa.text("state = 'finished'"),
        )
        batch_op.drop_index("ix_job_spider")
        batch_op.drop_index("ix_job_project_state")
        batch_op.drop_index("ix_job_project")
        batch_op.drop_index(
            "ix_job_queue",
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.drop_index(
            "ix_job_lease",
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )

    op.drop_table("job")
    with op.batch_alter_table("version", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_version_project_id_id"))

    op.drop_table("version")
    op.drop_table("spider")
    op.drop_table("project_egg")
    op.drop_table("key_project")
    op.drop_table("worker")
    op.drop_table("project")
    op.drop_table("api_key")
