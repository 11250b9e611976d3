"""Periodic jobs: schedules, and what has become of each of their fire times."""

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlmodel import Field

from app.models.base import BigKey, Json, Table, index_of


class Overlap(StrEnum):
    """What happens at a fire time while a job of the one before is pending or running."""

    SKIP = "skip"  # nothing, and the run says so
    QUEUE = "queue"  # the run waits until they have ended


class Missed(StrEnum):
    """What happens with fire times at which no scheduler was alive."""

    SKIP = "skip"  # nothing, and each run says so
    RUN_ONCE = "run_once"  # the last one of them is run late


class PeriodicJob(Table, table=True):
    """A schedule: spiders that are run again and again.

    ``next_time`` is the token of a firing: whoever moves it on from the value it has, in the transaction
    that inserts the run and its jobs, has fired that time; everybody else finds no such row.
    """

    __tablename__ = "periodic_job"
    __table_args__ = (
        Index(None, "project_id", "id"),
        UniqueConstraint("project_id", "declared"),
        index_of("due_time IS NOT NULL", "ix_periodic_job_due", "due_time"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    description: str = Field(default="", max_length=255)
    # Its name in the project's yml, when it comes from there: a deploy updates or removes it.
    declared: str | None = Field(default=None, max_length=255)
    enabled: bool = True
    paused_by: str | None = Field(default=None, max_length=100)  # by hand; a deploy leaves it paused then

    cron: str = Field(max_length=255)  # minute, hour, day of month, month, day of week
    timezone: str = Field(default="UTC", max_length=64)  # IANA name
    jitter_seconds: int = 0  # jobs come up to so much later, at random
    overlap: str = Field(default=Overlap.SKIP, max_length=10)
    missed: str = Field(default=Missed.SKIP, max_length=10)
    next_time: int | None = Field(default=None, sa_type=BigInteger)  # ms, by cron; NULL: none, or paused
    due_time: int | None = Field(default=None, sa_type=BigInteger)  # ms, with jitter

    # What is run: [{"name": …, "args": {…}, "priority": …, "tags": […]}]; the last three may be missing.
    spiders: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    job_settings: dict[str, Any] | None = Field(default=None, sa_type=Json)
    tags: list[str] | None = Field(default=None, sa_type=Json)
    priority: int = 2

    problem: str | None = Field(default=None, sa_type=Text)  # why the last run did not start, in words
    created_by: str = Field(max_length=100)
    created_time: int = Field(sa_type=BigInteger)  # ms
    updated_time: int = Field(sa_type=BigInteger)  # ms


class RunState(StrEnum):
    """What has become of a fire time."""

    WAITING = "waiting"  # for the jobs of the runs before (Overlap.QUEUE)
    STARTED = "started"  # its jobs were scheduled
    SKIPPED = "skipped"  # for the jobs of the runs before, or because somebody paused the schedule
    MISSED = "missed"  # no scheduler was alive
    FAILED = "failed"  # ``reason`` says why no job could be scheduled


class PeriodicRun(Table, table=True):
    """One fire time of a schedule, or one "run now".

    waiting -> started | skipped | failed   start_waiting(), once the run before has ended
    failed -> started                       fire(), late, once the platform does not fail to run it

    The primary key makes a second run of the same fire time impossible.
    """

    __tablename__ = "periodic_run"
    __table_args__ = (
        index_of("state = 'waiting'", "ix_periodic_run_waiting", "fire_time"),
        Index(None, "state", "time"),
    )  # fmt: skip

    periodic_id: int = Field(primary_key=True, foreign_key="periodic_job.id", ondelete="CASCADE")
    fire_time: int = Field(primary_key=True, sa_type=BigKey)  # ms
    state: str = Field(max_length=10)
    by: str | None = Field(default=None, max_length=100)  # who pressed "run now"
    jobs: list[str] | None = Field(default=None, sa_type=Json)  # keys
    reason: str | None = Field(default=None, sa_type=Text)  # in words
    time: int = Field(sa_type=BigInteger)  # ms, when it was written or last changed
