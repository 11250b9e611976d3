"""API keys and the projects they may touch."""

from sqlalchemy import BigInteger
from sqlmodel import Field

from app.models.base import Table


class ApiKey(Table, table=True):
    """One key. Only its SHA-256 is stored: a key has 128 random bits, so a slow hash adds nothing."""

    __tablename__ = "api_key"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True, max_length=100)  # the user name in error messages
    hash: str = Field(unique=True, max_length=64)
    admin: bool = False  # may touch every project
    created_time: int = Field(sa_type=BigInteger)  # ms
    revoked_time: int | None = Field(default=None, sa_type=BigInteger)  # ms


class KeyProject(Table, table=True):
    """The key ``key_id`` may touch the project ``project_id``."""

    __tablename__ = "key_project"

    key_id: int = Field(primary_key=True, foreign_key="api_key.id", ondelete="CASCADE")
    project_id: int = Field(primary_key=True, foreign_key="project.id", ondelete="CASCADE")
