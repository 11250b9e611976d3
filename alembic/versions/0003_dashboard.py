"""Sign in, periodic jobs, webhooks."""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "login",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("expires_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_key.id"], name=op.f("fk_login_key_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login")),
    )
    with op.batch_alter_table("login", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_login_key_id"), ["key_id"], unique=False)

    op.create_table(
        "periodic_job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("declared", sa.String(255), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("paused_by", sa.String(100), nullable=True),
        sa.Column("cron", sa.String(255), nullable=False),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("jitter_seconds", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.String(10), nullable=False),
        sa.Column("missed", sa.String(10), nullable=False),
        sa.Column("next_time", sa.BigInteger(), nullable=True),
        sa.Column("due_time", sa.BigInteger(), nullable=True),
        sa.Column("spiders", sa.JSON(), nullable=False),
        sa.Column("job_settings", sa.JSON(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("updated_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_periodic_job_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_periodic_job")),
        sa.UniqueConstraint("project_id", "declared", name=op.f("uq_periodic_job_project_id_declared")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("periodic_job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_periodic_job_due",
            ["due_time"],
            unique=False,
            sqlite_where=sa.text("due_time IS NOT NULL"),
            postgresql_where=sa.text("due_time IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_periodic_job_project_id_id"), ["project_id", "id"], unique=False)

    op.create_table(
        "webhook",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(100), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_webhook_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("webhook", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_project_id"), ["project_id"], unique=False)

    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("webhook_id", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(100), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_time", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("tried_time", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhook.id"], name=op.f("fk_delivery_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_delivery_pending",
            ["next_time"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            "ix_delivery_failed",
            ["tried_time"],
            unique=False,
            sqlite_where=sa.text("state = 'failed'"),
            postgresql_where=sa.text("state = 'failed'"),
        )
        batch_op.create_index(batch_op.f("ix_delivery_webhook_id_id"), ["webhook_id", "id"], unique=False)

    op.create_table(
        "periodic_run",
        sa.Column("periodic_id", sa.Integer(), nullable=False),
        sa.Column("fire_time", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("by", sa.String(100), nullable=True),
        sa.Column("jobs", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["periodic_id"], ["periodic_job.id"], name=op.f("fk_periodic_run_periodic_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("periodic_id", "fire_time", name=op.f("pk_periodic_run")),
    )
    with op.batch_alter_table("periodic_run", schema=None) as batch_op:
        batch_op.create_index(
            "ix_periodic_run_waiting",
            ["fire_time"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )
        batch_op.create_index(batch_op.f("ix_periodic_run_state_time"), ["state", "time"], unique=False)

    op.add_column("api_key", sa.Column("used_time", sa.BigInteger(), nullable=True))
    op.add_column("api_key", sa.Column("password", sa.String(255), nullable=True))

    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_outcome",
            ["project_id", "close_reason", "state_time", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'finished'"),
            postgresql_where=sa.text("state = 'finished'"),
        )

    # A heartbeat then changes one page, and no index (models.job says why).
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE job SET (fillfactor = 90)")
    op.drop_index("ix_job_lease", "job")
    op.create_index(
        "ix_job_running",
        "job",
        ["id"],
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )

    op.add_column("job", sa.Column("kill_time", sa.BigInteger(), nullable=True))
    op.add_column("worker", sa.Column("started_time", sa.BigInteger(), nullable=True))
    op.add_column("worker", sa.Column("version", sa.String(50), nullable=True))
    op.add_column("worker", sa.Column("drain_time", sa.BigInteger(), nullable=True))

    # Neither database copies the table for it: it may hold a hundred million rows.
    op.add_column("chunk", sa.Column("object_url", sa.Text(), nullable=True))
    op.create_table(
        "stray_object",
        sa.Column("url", sa.String(255), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("condemned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_stray_object")),
    )
    op.create_index(op.f("ix_stray_object_time"), "stray_object", ["time"])


def downgrade() -> None:
    elsewhere = sa.text("SELECT 1 FROM chunk WHERE object_url IS NOT NULL LIMIT 1")
    if op.get_bind().execute(elsewhere).first() is not None:
        raise RuntimeError("records are in the chunk store: unset CRAWLDOCK_CHUNK_STORE, `crawldock move-chunks`")
    op.drop_table("stray_object")
    op.drop_column("chunk", "object_url")

    op.drop_column("worker", "drain_time")
    op.drop_column("worker", "version")
    op.drop_column("worker", "started_time")
    op.drop_column("job", "kill_time")

    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE job RESET (fillfactor)")
    op.drop_index("ix_job_running", "job")
    op.create_index(
        "ix_job_lease",
        "job",
        ["lease_time"],
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )

    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_job_outcome",
            sqlite_where=sa.text("state = 'finished'"),
            postgresql_where=sa.text("state = 'finished'"),
        )

    op.drop_column("api_key", "password")
    op.drop_column("api_key", "used_time")

    with op.batch_alter_table("periodic_run", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_periodic_run_state_time"))
        batch_op.drop_index(
            "ix_periodic_run_waiting",
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )

    op.drop_table("periodic_run")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delivery_webhook_id_id"))
        batch_op.drop_index(
            "ix_delivery_failed",
            sqlite_where=sa.text("state = 'failed'"),
            postgresql_where=sa.text("state = 'failed'"),
        )
        batch_op.drop_index(
            "ix_delivery_pending",
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    op.drop_table("delivery")
    with op.batch_alter_table("webhook", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhook_project_id"))

    op.drop_table("webhook")
    with op.batch_alter_table("periodic_job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_periodic_job_project_id_id"))
        batch_op.drop_index(
            "ix_periodic_job_due", sqlite_where=sa.text("due_time IS NOT NULL"), postgresql_where=sa.text("due_time IS NOT NULL")
        )

    op.drop_table("periodic_job")
    with op.batch_alter_table("login", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_login_key_id"))

    op.drop_table("login")
