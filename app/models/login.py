"""Who is signed in to the dashboard."""

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from app.models.base import Table


class Login(Table, table=True):
    """One browser that somebody has signed in with."""

    __tablename__ = "login"
    __table_args__ = (Index(None, "expires_time"),)

    digest: str = Field(primary_key=True, max_length=64)  # SHA-256 of the cookie's value
    key_id: int = Field(foreign_key="api_key.id", ondelete="CASCADE", index=True)
    created_time: int = Field(sa_type=BigInteger)  # ms
    expires_time: int = Field(sa_type=BigInteger)  # ms
