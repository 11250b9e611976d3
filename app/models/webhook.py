"""Webhooks, and what is to be delivered to them."""

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field

from app.models.base import BigKey, Json, Table, index_of


class Webhook(Table, table=True):
    """Where somebody wants to be told of what happens in a project."""

    __tablename__ = "webhook"
    __table_args__ = (Index(None, "project_id"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    url: str = Field(sa_type=Text)
    secret: str = Field(max_length=100)  # signs what is sent; shown once
    events: list[str] = Field(default_factory=list, sa_type=Json)  # which ones; none: all
    enabled: bool = True
    created_by: str = Field(max_length=100)
    created_time: int = Field(sa_type=BigInteger)  # ms


class DeliveryState(StrEnum):
    """What has become of a delivery."""

    PENDING = "pending"  # is tried at ``next_time``
    DELIVERED = "delivered"  # was answered with 2xx
    FAILED = "failed"  # was tried as often as it may be


class Delivery(Table, table=True):
    """One event for one webhook: written with the change that it tells of, sent later, tried again.

    pending -> pending              claim()   a sender takes it: ``next_time`` moves on, so nobody else does
    pending -> delivered | failed   settle()  by the sender
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index(None, "webhook_id", "id"),
        index_of("state = 'pending'", "ix_delivery_pending", "next_time"),
        index_of("state = 'failed'", "ix_delivery_failed", "tried_time"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True, sa_type=BigKey)
    webhook_id: int = Field(foreign_key="webhook.id", ondelete="CASCADE")
    event: str = Field(max_length=100)
    body: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    state: str = Field(default=DeliveryState.PENDING, max_length=10)
    attempts: int = 0
    next_time: int | None = Field(default=None, sa_type=BigInteger)  # ms
    status: int | None = None  # of the last answer
    answer: str | None = Field(default=None, sa_type=Text)  # its beginning, or why there was none
    created_time: int = Field(sa_type=BigInteger)  # ms
    tried_time: int | None = Field(default=None, sa_type=BigInteger)  # ms
