"""Users, which are API keys with a name, and the projects they may touch."""

from sqlalchemy import BigInteger
from sqlmodel import Field

from app.models.base import Table


class ApiKey(Table, table=True):
    """A user. Of the key only the SHA-256 is stored: it has 128 random bits, so a slow hash adds nothing."""

    __tablename__ = "api_key"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True, max_length=100)  # the user name in error messages
    hash: str = Field(unique=True, max_length=64)
    admin: bool = False  # may touch every project
    created_time: int = Field(sa_type=BigInteger)  # ms
    revoked_time: int | None = Field(default=None, sa_type=BigInteger)  # ms
    used_time: int | None = Field(default=None, sa_type=BigInteger)  # ms, of the last use, to some minutes
    password: str | None = Field(default=None, max_length=255)  # Argon2; NULL: only the key signs in


class KeyProject(Table, table=True):
    """The key ``key_id`` may touch the project ``project_id``."""

    __tablename__ = "key_project"

    key_id: int = Field(primary_key=True, foreign_key="api_key.id", ondelete="CASCADE")
    project_id: int = Field(primary_key=True, foreign_key="project.id", ondelete="CASCADE")
