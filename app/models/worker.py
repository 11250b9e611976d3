"""Processes of the platform that have been heard of lately."""

from sqlalchemy import BigInteger
from sqlmodel import Field

from app.models.base import Table


class Worker(Table, table=True):
    """A worker or scheduler process; alive while ``seen_time`` is recent on the database's clock."""

    __tablename__ = "worker"

    name: str = Field(primary_key=True, max_length=255)  # Celery's node name
    kind: str = Field(max_length=10)  # "worker" or "scheduler"
    slots: int = 0
    seen_time: int = Field(sa_type=BigInteger)  # ms
    started_time: int | None = Field(default=None, sa_type=BigInteger)  # ms
    version: str | None = Field(default=None, max_length=50)  # of the platform
    drain_time: int | None = Field(default=None, sa_type=BigInteger)  # ms; since then it takes no new job
