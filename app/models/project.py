"""Projects and their spiders."""

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field

from app.models.base import Table


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
    jobs: int = 0  # job numbers handed out, never reused
