"""The frontier: slots, the fingerprints they have seen, and their queues of requests (contract 6.21)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from app.db import execute, insert_into, reading
from app.models import Fingerprint, FrontierBatch, FrontierSlot

BATCH = 100  # requests in a batch, contract 6.21; and
BATCH_BYTES = 1 << 20  # of them, unless one alone is larger
HELD_BYTES = 8 << 20  # of requests that wait for their batch to fill up
BATCHES = 20  # read in one transaction
FINGERPRINTS = 1000  # likewise
PURGED = 5000  # rows removed in one transaction
FP_LENGTH = 1024  # bytes

LOWEST, HIGHEST = -(2**31), 2**31 - 1  # priorities

# Plain tables: the ORM adds nothing to statements over many rows.
_SLOTS = FrontierSlot.__table__  # type: ignore[attr-defined]
_FINGERPRINTS = Fingerprint.__table__  # type: ignore[attr-defined]
_BATCHES = FrontierBatch.__table__  # type: ignore[attr-defined]
_SLOT, _FINGERPRINT, _BATCH = _SLOTS.c, _FINGERPRINTS.c, _BATCHES.c


@dataclass(frozen=True)
class Address:
    """What a slot is known by."""

    project_id: int
    frontier: str
    slot: str


@dataclass(frozen=True)
class Request:
    """A request that somebody wants to be queued."""

    fp: bytes
    priority: int  # LOWEST to HIGHEST, the lower the earlier
    entry: bytes  # JSON: [fp, qdata]
    fdata: str | None  # JSON


# Ids of batches: their order as text is the order of the queue, for all priorities.

_ID = re.compile(r"(?:([0-9a-f]{2})|-([0-9a-f]{8})|x([0-9a-f]{8}))([0-9a-f]{16})")


def batch_id(priority: int, number: int) -> str:
    """The priority in two hex digits, then the number; ``-`` comes before all digits and ``x`` after them."""
    if 0 <= priority <= 0xFF:
        return f"{priority:02x}{number:016x}"
    return f"-{priority - LOWEST:08x}{number:016x}" if priority < 0 else f"x{priority:08x}{number:016x}"


def parse_batch_id(text: str) -> tuple[int, int] | None:
    """Priority and number; None when it is no id of ours."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    near, negative, large, number = match.groups()
    found = int(negative, 16) + LOWEST if negative else int(near or large, 16), int(number, 16)
    return found if found[1] < 2**63 and batch_id(*found) == text else None  # each has one spelling


# Writing. Whoever changes a slot holds its row: writers of one slot take turns, and none writes to a
# slot that was deleted meanwhile.


def _is(address: Address) -> Any:
    return and_(
        _SLOT.project_id == address.project_id,
        _SLOT.frontier == address.frontier,
        _SLOT.slot == address.slot,
    )


def _lock(session: Session, address: Address) -> int | None:
    return session.scalar(select(_SLOT.id).where(_is(address)).with_for_update())


def add(session: Session, address: Address, portions: Iterable[Sequence[Request]]) -> int:
    """Queue the requests whose fingerprints the slot has not seen; returns how many these are.

    The slot comes into being when there is none.

    1. Holding the slot's row, each portion's fingerprints are stored: those that come back are new.
    2. Their requests are cut, by priority and in the order given, into batches.
    """
    while (slot_id := _lock(session, address)) is None:
        new = insert_into(session, _SLOTS).values(**vars(address), batches=0)
        session.execute(new.on_conflict_do_nothing())
    queue = _Queue(session, slot_id)
    count = 0
    for portion in portions:
        fresh = _remember(session, slot_id, portion)
        count += len(fresh)
        for request in portion:
            if request.fp in fresh:  # of several with one fingerprint, the first
                fresh.remove(request.fp)
                queue.put(request)
    queue.close()
    return count


def _remember(session: Session, slot_id: int, portion: Sequence[Request]) -> set[bytes]:
    """Store fingerprints; returns those that are new."""
    rows: dict[bytes, dict[str, Any]] = {}
    for each in portion:
        rows.setdefault(each.fp, {"slot_id": slot_id, "fp": each.fp, "fdata": each.fdata})
    statement = insert_into(session, _FINGERPRINTS).on_conflict_do_nothing().returning(_FINGERPRINT.fp)
    return set(session.scalars(statement, list(rows.values()))) if rows else set()


class _Queue:
    """Cuts requests into batches and stores these."""

    def __init__(self, session: Session, slot_id: int) -> None:
        self._session = session
        self._slot_id = slot_id
        self._open: defaultdict[int, list[bytes]] = defaultdict(list)  # by priority
        self._full: list[tuple[int, list[bytes]]] = []
        self._held = 0  # bytes

    def put(self, request: Request) -> None:
        """Take one request."""
        batch = self._open[request.priority]
        if batch and sum(map(len, batch)) + len(request.entry) > BATCH_BYTES:
            self._full.append((request.priority, batch))
            batch = self._open[request.priority] = []
        batch.append(request.entry)
        self._held += len(request.entry)
        if len(batch) == BATCH:
            self._full.append((request.priority, self._open.pop(request.priority)))
        if self._held > HELD_BYTES:
            self._store_full()
            if self._held > HELD_BYTES // 2:
                self.close()

    def close(self) -> None:
        """Store what has been taken, batches that are not full too."""
        self._full += self._open.items()
        self._open.clear()
        self._store_full()

    def _store_full(self) -> None:
        batches, self._full = self._full, []
        if not batches:
            return
        take = update(_SLOTS).where(_SLOT.id == self._slot_id).values(batches=_SLOT.batches + len(batches))
        last: int = self._session.scalars(take.returning(_SLOT.batches)).one()
        rows = [
            {
                "slot_id": self._slot_id,
                "priority": priority,
                "number": number,
                "count": len(entries),
                "requests": b"[" + b",".join(entries) + b"]",
            }
            for number, (priority, entries) in enumerate(batches, last - len(batches) + 1)
        ]
        self._session.execute(insert(_BATCHES), rows)
        self._held -= sum(sum(map(len, entries)) for _, entries in batches)


def remove_batches(session: Session, address: Address, ids: Iterable[str]) -> None:
    """Remove batches from the queue; ids that are unknown or malformed are passed over."""
    slot_id = _lock(session, address)
    if slot_id is not None:
        _delete(session, slot_id, filter(None, map(parse_batch_id, ids)))


def _delete(session: Session, slot_id: int, batches: Iterable[tuple[int, int]]) -> None:
    statement = delete(_BATCHES).where(
        _BATCH.slot_id == slot_id,
        _BATCH.priority == bindparam("its_priority"),
        _BATCH.number == bindparam("its_number"),
    )
    rows = [{"its_priority": priority, "its_number": number} for priority, number in batches]
    if rows:
        session.execute(statement, rows)


def drop(session: Session, address: Address) -> None:
    """Delete a slot: it is gone at once; ``purge_some`` removes what it held."""
    session.execute(update(_SLOTS).where(_is(address)).values(slot=None))


def purge_some(session: Session, limit: int = PURGED) -> bool:
    """Remove a part of what deleted slots held; True: there may be more."""
    deleted = select(_SLOT.id).where(_SLOT.slot.is_(None)).limit(1)
    found = session.scalar(deleted.with_for_update(skip_locked=True))
    if found is None:
        return False
    mine = _FINGERPRINT.slot_id == found
    first = select(_FINGERPRINT.fp).where(mine).order_by(_FINGERPRINT.fp).limit(limit).subquery().c
    last = select(first.fp).order_by(first.fp.desc()).limit(1).scalar_subquery()
    if execute(session, delete(_FINGERPRINTS).where(mine, _FINGERPRINT.fp <= last)).rowcount:
        return True
    queue = select(_BATCH.priority, _BATCH.number).where(_BATCH.slot_id == found)
    some = session.execute(queue.order_by(_BATCH.priority, _BATCH.number).limit(limit // BATCH + 1)).all()
    _delete(session, found, ((each.priority, each.number) for each in some))
    if not some:
        session.execute(delete(_SLOTS).where(_SLOT.id == found))
    return True


# Reading. Each page is read in a transaction of its own when it is asked for: a slow client holds nothing.


def frontiers(session: Session, project_id: int) -> list[str]:
    """Names of the project's frontiers that have slots."""
    mine = and_(_SLOT.project_id == project_id, _SLOT.slot.is_not(None))
    # Sorted here: each database sorts text by rules of its own.
    return sorted(session.scalars(select(_SLOT.frontier).where(mine).distinct()))


def slots(session: Session, project_id: int, frontier: str) -> list[str]:
    """Names of a frontier's slots."""
    mine = and_(_SLOT.project_id == project_id, _SLOT.frontier == frontier, _SLOT.slot.is_not(None))
    return sorted(session.scalars(select(_SLOT.slot).where(mine)))


def find(session: Session, address: Address) -> int | None:
    """The row id of a slot, if there is one."""
    return session.scalar(select(_SLOT.id).where(_is(address)))


@dataclass(frozen=True)
class Batch:
    """Requests that are handed out together."""

    priority: int
    number: int
    count: int
    requests: bytes  # JSON: an array of [fp, qdata]

    @property
    def id(self) -> str:
        """Its name on the wire."""
        return batch_id(self.priority, self.number)


def batches(slot_id: int, mincount: int | None = None) -> Iterator[list[Batch]]:
    """The queue, lowest priority first, then oldest: all of it, or until there are ``mincount`` requests."""
    order = (_BATCH.priority, _BATCH.number)
    columns = select(*order, _BATCH.count, _BATCH.requests).where(_BATCH.slot_id == slot_id)
    after = (LOWEST - 1, 0)
    while mincount is None or mincount > 0:
        page = columns.where(tuple_(*order) > tuple_(*after)).order_by(*order).limit(BATCHES)
        with reading() as session:
            found = [Batch(*row) for row in session.execute(page)]
        if mincount is not None:
            found = list(_enough(found, mincount))
            mincount -= sum(batch.count for batch in found)
        if found:
            yield found
        if len(found) < BATCHES:
            return
        after = (found[-1].priority, found[-1].number)


def _enough(found: Iterable[Batch], mincount: int) -> Iterator[Batch]:
    for batch in found:
        if mincount <= 0:
            return
        yield batch
        mincount -= batch.count


def fingerprints(slot_id: int) -> Iterator[list[bytes]]:
    """All fingerprints that the slot has seen, in the order of their bytes."""
    statement = select(_FINGERPRINT.fp).where(_FINGERPRINT.slot_id == slot_id).order_by(_FINGERPRINT.fp)
    after = b""
    while True:
        with reading() as session:
            found = list(session.scalars(statement.where(_FINGERPRINT.fp > after).limit(FINGERPRINTS)))
        if found:
            yield found
        if len(found) < FINGERPRINTS:
            return
        after = found[-1]
