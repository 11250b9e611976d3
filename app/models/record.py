"""Items, log entries and requests of jobs, in compressed chunks."""

from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field

from app.models.base import BigKey, Json, Table


class Kind(StrEnum):
    """What a record is; the words of the storage API (contract 6.16-6.19)."""

    ITEMS = "items"
    LOGS = "logs"
    REQUESTS = "requests"
    SAMPLES = "samples"


class Chunk(Table, table=True):
    """Records ``first`` … ``first + count - 1`` of one kind of one job; ``app.chunks`` has the format.

    The primary key makes a retried write of the same records a conflict, never a second copy.
    """

    __tablename__ = "chunk"

    job_id: int = Field(primary_key=True, sa_type=BigKey, foreign_key="job.id", ondelete="CASCADE")
    kind: str = Field(primary_key=True, max_length=10)
    first: int = Field(primary_key=True)
    count: int
    first_time: int = Field(sa_type=BigInteger)  # ms, receive time of the first record
    last_time: int = Field(sa_type=BigInteger)  # ms, of the last
    size: int  # bytes before compression
    # What `stats` adds up (contract 6.16-6.18); NULL in chunks of the first release.
    counts: dict[str, int] | None = Field(default=None, sa_type=Json)
    input_bytes: int | None = Field(default=None, sa_type=BigInteger)
    data: bytes = Field(sa_type=LargeBinary)  # empty when an object of the chunk store has it
    object_url: str | None = Field(default=None, sa_type=Text)  # of that object


class StrayObject(Table, table=True):
    """An object of the chunk store that no row names, yet or any more; ``services.payloads`` says why.

    It may also not exist, when its writer died before writing it.
    """

    __tablename__ = "stray_object"
    __table_args__ = (Index(None, "time"),)

    url: str = Field(primary_key=True, max_length=255)
    time: int = Field(sa_type=BigInteger)  # ms, when it was noted
    condemned: bool = False  # it is being removed: no row may name it any more
