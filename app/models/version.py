"""Deployed versions of a project's code, and dependency eggs."""

from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field

from app.models.base import Json, Table, index_of


class VersionState(StrEnum):
    """What has become of a deploy."""

    PENDING = "pending"  # stored, waits for a builder
    BUILDING = "building"  # a builder holds the lease
    READY = "ready"  # may be the current one
    FAILED = "failed"  # `error` says why


class Version(Table, table=True):
    """One deploy.

    pending  -> building   claim_build      by a builder; writes the lease
    building -> ready      activate         by the owner of the lease; becomes the project's version
    pending | building -> failed   fail     by the owner, or by the reconciler when the lease expired
    """

    __tablename__ = "version"
    __table_args__ = (
        Index(None, "project_id", "id"),
        # For the reconciler, which asks every few seconds; by nothing that a builder's sign of life changes.
        index_of("state = 'pending'", "ix_version_pending", "id"),
        index_of("state = 'building'", "ix_version_building", "id"),
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id")
    name: str = Field(max_length=255)
    state: str = Field(default=VersionState.PENDING, max_length=10)
    stack: str | None = Field(default=None, max_length=255)  # as shub sends it, "scrapy:2.11"
    requirements: str = Field(default="", sa_type=Text)
    spiders: list[str] = Field(default_factory=list, sa_type=Json)
    settings_module: str | None = Field(default=None, max_length=255)
    created_by: str = Field(max_length=100)
    created_time: int = Field(sa_type=BigInteger)  # ms
    lease_time: int | None = Field(default=None, sa_type=BigInteger)  # ms, on the database's clock
    log: str = Field(default="", sa_type=Text)  # the build's output so far
    error: str | None = Field(default=None, sa_type=Text)


class VersionFile(Table, table=True):
    """An egg of a version: the project's own is named ``__main__`` (contract 4.6), others as sent."""

    __tablename__ = "version_file"
    __table_args__ = (Index(None, "sha256"),)

    version_id: int = Field(primary_key=True, foreign_key="version.id", ondelete="CASCADE")
    name: str = Field(primary_key=True, max_length=255)
    sha256: str = Field(max_length=64)
    data: bytes = Field(sa_type=LargeBinary)


class ProjectEgg(Table, table=True):
    """A dependency egg that all versions of the project find on their path (contract 4.6)."""

    __tablename__ = "project_egg"
    __table_args__ = (Index(None, "sha256"),)

    project_id: int = Field(primary_key=True, foreign_key="project.id", ondelete="CASCADE")
    name: str = Field(primary_key=True, max_length=255)
    version: str = Field(max_length=255)
    sha256: str = Field(max_length=64)
    data: bytes = Field(sa_type=LargeBinary)
