"""Jobs: the rows that are the truth about every run."""

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlmodel import Field

from app.models.base import BigKey, Json, Table, index_of


class JobState(StrEnum):
    """Contract 7.1."""

    PENDING = "pending"  # waits for a slot
    RUNNING = "running"  # an owner holds the lease
    FINISHED = "finished"  # has exactly one close reason
    DELETED = "deleted"  # hidden from lists that do not ask for it; its records go later


class Job(Table, table=True):
    """One run of a spider.

    pending  -> running    claim()          best row: priority DESC, then oldest; writes token, lease, task id
    pending  -> running    queue.start()    the same for somebody outside: a token, but neither lease nor task
    pending  -> finished   request_stop()   close_reason "cancelled", never ran
    running  -> running    heartbeat(token) extends the lease, answers "stop asked?" and "still mine?" at once
    running  -> finished   finish(token)    by the owner, after the last record is stored
    running  -> finished   reap()           by the reconciler, lease expired; "worker lost"
    running  -> finished   end_stopped()    by the reconciler, outside, stopped in vain; "cancel_timeout"
    pending  -> deleted    delete()         never ran
    finished -> deleted    delete()         records are removed by prune, later
    any      -> later      queue.change()   by whoever has a key; a job of ours is taken from its worker

    Each arrow is one function of ``services.jobs``, or of ``services.queue``: one UPDATE that names the
    state it leaves and, for the owner's arrows, the token. Times are milliseconds on the database's clock.
    """

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("spider_id", "number"),
        # The duplicate rule (contract 7.6) as a constraint: no race can get past it.
        index_of(
            "state IN ('pending', 'running')", "uq_job_active", "project_id", "duplicate_key", unique=True,
        ),
        index_of("state = 'pending'", "ix_job_queue", text("priority DESC"), "id"),
        # By nothing that a heartbeat changes: PostgreSQL would write into every index each time.
        index_of("state = 'running'", "ix_job_running", "id"),
        index_of("state = 'deleted' AND NOT purged", "ix_job_unpurged", "deleted_time"),
        index_of("state = 'finished' AND NOT compacted", "ix_job_uncompacted", "finished_time"),
        Index("ix_job_project", "project_id", "state_time", "id"),
        Index("ix_job_project_state", "project_id", "state", "state_time", "id"),
        Index("ix_job_spider", "spider_id", "state", "state_time", "id"),
        index_of("state = 'finished'", "ix_job_retention", "state_time"),
        index_of("state = 'finished'", "ix_job_outcome", "project_id", "close_reason", "state_time", "id"),
        # Room for the next version of a row of 900 bytes beside it, for the same reason.
        {"sqlite_autoincrement": True, "postgresql_with": {"fillfactor": 85}},
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True, sa_type=BigKey)
    project_id: int = Field(foreign_key="project.id")
    spider_id: int = Field(foreign_key="spider.id")
    number: int  # counts up per spider: the J of the key
    state: str = Field(default=JobState.PENDING, max_length=10)
    priority: int = 2  # 0 lowest … 4 highest
    units: int = 1
    duplicate_key: str | None = Field(default=None, max_length=64)
    version: str | None = Field(
        default=None, max_length=255
    )  # at creation the current one, then the one that ran

    spider_args: dict[str, str] | None = Field(default=None, sa_type=Json)
    job_settings: dict[str, Any] | None = Field(default=None, sa_type=Json)
    environment: dict[str, str] | None = Field(default=None, sa_type=Json)
    job_cmd: list[str] | None = Field(default=None, sa_type=Json)
    meta: dict[str, Any] | None = Field(default=None, sa_type=Json)  # other metadata fields of the user's
    scrapystats: dict[str, Any] | None = Field(default=None, sa_type=Json)

    state_time: int = Field(sa_type=BigInteger)  # entered the current state
    updated_time: int = Field(sa_type=BigInteger)  # last change of state or data
    touched_time: int = Field(sa_type=BigInteger)  # last change of anything; see JobTagged
    pending_time: int | None = Field(default=None, sa_type=BigInteger)
    running_time: int | None = Field(default=None, sa_type=BigInteger)
    finished_time: int | None = Field(default=None, sa_type=BigInteger)
    deleted_time: int | None = Field(default=None, sa_type=BigInteger)
    stop_time: int | None = Field(default=None, sa_type=BigInteger)  # stop was asked for
    kill_time: int | None = Field(default=None, sa_type=BigInteger)  # not to wait for it any longer, too
    scheduled_by: str | None = Field(default=None, max_length=100)
    started_by: str | None = Field(default=None, max_length=100)
    completed_by: str | None = Field(default=None, max_length=100)
    cancelled_by: str | None = Field(default=None, max_length=100)
    deleted_by: str | None = Field(default=None, max_length=100)
    close_reason: str | None = Field(default=None, sa_type=Text)  # at most 255 characters, contract 7.5

    token: str | None = Field(default=None, max_length=64)  # random per claim; only its holder may write
    lease_time: int | None = Field(default=None, sa_type=BigInteger)
    task_id: str | None = Field(default=None, max_length=64)  # of the Celery task that runs it
    worker: str | None = Field(default=None, max_length=255)

    pushed: bool = False  # made through the job queue: it shows only the fields it was given (contract 7.3)
    compacted: bool = False  # its small chunks have been merged
    purged: bool = False  # its records have been removed
    items: int = 0
    pages: int = 0
    logs: int = 0
    errors: int = 0


class JobTag(Table, table=True):
    """A tag of a job; ``position`` keeps the order in which tags were added."""

    __tablename__ = "job_tag"
    __table_args__ = (Index(None, "tag", "job_id"),)

    job_id: int = Field(primary_key=True, sa_type=BigKey, foreign_key="job.id", ondelete="CASCADE")
    tag: str = Field(primary_key=True, max_length=255)
    position: int


class JobTagged(Table, table=True):
    """When ``joblist.update_tags`` last changed a job's tags; no row: never.

    The job's own row is fifty times as long, and one call may change the tags of a hundred thousand jobs.
    """

    __tablename__ = "job_tagged"

    job_id: int = Field(primary_key=True, sa_type=BigKey, foreign_key="job.id", ondelete="CASCADE")
    time: int = Field(sa_type=BigInteger)  # ms
