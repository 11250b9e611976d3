"""The frontier: slots with the fingerprints they have seen and batches of requests (contract 6.21)."""

from sqlalchemy import BigInteger, LargeBinary, Text, UniqueConstraint
from sqlmodel import Field

from app.models.base import BigKey, Table, index_of


class FrontierSlot(Table, table=True):
    """One slot of a frontier; it comes into being with its first request."""

    __tablename__ = "frontier_slot"
    __table_args__ = (
        UniqueConstraint("project_id", "frontier", "slot"),
        index_of("slot IS NULL", "ix_frontier_slot_deleted", "id"),
        # No id is given twice: a slow reader of a deleted slot must not see another one's requests.
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    frontier: str = Field(max_length=255)
    # NULL: deleted. Its fingerprints and batches are removed later, a part at a time.
    slot: str | None = Field(default=None, max_length=255)
    batches: int = Field(default=0, sa_type=BigInteger)  # numbers handed out, never reused


class Fingerprint(Table, table=True):
    """A fingerprint that the slot has seen; bytes, so that both databases sort alike."""

    __tablename__ = "fingerprint"

    slot_id: int = Field(primary_key=True, foreign_key="frontier_slot.id", ondelete="CASCADE")
    fp: bytes = Field(primary_key=True, sa_type=LargeBinary)
    fdata: str | None = Field(default=None, sa_type=Text)  # JSON


class FrontierBatch(Table, table=True):
    """At most 100 requests that are handed out together, the lowest priority first, then the oldest."""

    __tablename__ = "frontier_batch"

    slot_id: int = Field(primary_key=True, foreign_key="frontier_slot.id", ondelete="CASCADE")
    priority: int = Field(primary_key=True, sa_type=BigInteger)
    number: int = Field(primary_key=True, sa_type=BigKey)
    count: int
    requests: bytes = Field(sa_type=LargeBinary)  # a JSON array of [fp, qdata]
