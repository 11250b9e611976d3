"""Projects and their spiders."""

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlmodel import Field

from app.models.base import BigKey, Json, Table


class Project(Table, table=True):
    """A project; its id is the P of every key."""

    __tablename__ = "project"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=100)
    # The deployed version that runs. No foreign key: versions point back here.
    version_id: int | None = None
    spiders: int = 0  # numbers handed out, never reused
    created_time: int = Field(sa_type=BigInteger)  # ms


class Spider(Table, table=True):
    """A spider of a project; its number is the S of job keys (contract 7.2)."""

    __tablename__ = "spider"
    __table_args__ = (UniqueConstraint("project_id", "number"), UniqueConstraint("project_id", "name"))

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id")
    number: int
    name: str = Field(max_length=255)
    type: str = Field(default="manual", max_length=20)  # contract 4.3
    deployed: bool = False  # the current version has it: our workers may run it
    declared: bool = (
        False  # made by hand through ids/ (contract 6.2); listed and schedulable without a deploy
    )
    tags: list[str] | None = Field(default=None, sa_type=Json)  # contract 4.14
    jobs: int = 0  # job numbers handed out, never reused


class ProjectSetting(Table, table=True):
    """One entry of the project's settings (contract 6.4)."""

    __tablename__ = "project_setting"

    project_id: int = Field(primary_key=True, foreign_key="project.id", ondelete="CASCADE")
    name: str = Field(primary_key=True, max_length=255)
    value: str = Field(sa_type=Text)  # JSON; null is a value too


class Activity(Table, table=True):
    """Something that happened in a project (contract 6.22); ``id`` is the order."""

    __tablename__ = "activity"
    __table_args__ = (Index(None, "project_id", "id"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True, sa_type=BigKey)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    time: int = Field(sa_type=BigInteger)  # ms
    event: str = Field(sa_type=Text)  # a JSON object


class Report(Table, table=True):
    """A text that a job, or somebody, leaves about a job (contract 4.9)."""

    __tablename__ = "report"
    __table_args__ = (UniqueConstraint("project_id", "job_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    job_id: int | None = Field(default=None, sa_type=BigKey, foreign_key="job.id", ondelete="CASCADE")
    key: str = Field(max_length=255)
    content_type: str = Field(max_length=100)
    content: str = Field(sa_type=Text)
    created_time: int = Field(sa_type=BigInteger)  # ms


class Comment(Table, table=True):
    """A remark on an item, or on one field of it (contract 4.10)."""

    __tablename__ = "comment"
    __table_args__ = (Index(None, "job_id", "item"),)

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    job_id: int = Field(sa_type=BigKey, foreign_key="job.id", ondelete="CASCADE")
    item: int = Field(sa_type=BigInteger)  # index of the item in the job
    field: str | None = Field(default=None, max_length=255)
    author: str = Field(max_length=100)
    text: str = Field(sa_type=Text)
    created_time: int = Field(sa_type=BigInteger)  # ms
    archived_time: int | None = Field(default=None, sa_type=BigInteger)  # ms
