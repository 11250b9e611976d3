"""Collections: records of a project under keys (contract 6.20)."""

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from app.models.base import Table, index_of


class Collection(Table, table=True):
    """One collection; it comes into being with its first record."""

    __tablename__ = "collection"
    __table_args__ = (
        UniqueConstraint("project_id", "type", "name"),
        # What tidying looks for: the deleted ones, and those whose records expire.
        index_of("name IS NULL", "ix_collection_deleted", "id"),
        Index(None, "type"),
        # No id is given twice: a slow reader of a deleted collection must not see another one's records.
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: int | None = Field(default=None, primary_key=True)
    project_id: int = Field(foreign_key="project.id", ondelete="CASCADE")
    type: str = Field(max_length=3)  # s, cs, vs or vcs
    # NULL: deleted. Its records are removed later, a part at a time.
    name: str | None = Field(default=None, max_length=255)


class CollectionRecord(Table, table=True):
    """A record. Keys are bytes, UTF-8: both databases then sort them alike, and any character is allowed."""

    __tablename__ = "collection_record"
    __table_args__ = (Index(None, "collection_id", "time"),)

    collection_id: int = Field(primary_key=True, foreign_key="collection.id", ondelete="CASCADE")
    key: bytes = Field(primary_key=True, sa_type=LargeBinary)
    time: int = Field(sa_type=BigInteger)  # ms, of the last write
    value: bytes = Field(sa_type=LargeBinary)  # a JSON object without its _key
