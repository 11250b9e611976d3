"""Collections: records of a project under keys; write, read, scan, rename, delete (contract 6.20)."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import and_, bindparam, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import execute, insert_into, now_ms, reading
from app.errors import NameTaken, NotFound
from app.models import Collection, CollectionRecord

TYPES = ("s", "vs", "cs", "vcs")  # in the order of the list
CACHED = ("cs", "vcs")
EXPIRE_MS = 30 * 86_400_000  # a record of a cached type that is older is not there any more
KEY_LENGTH = 1024  # bytes

PAGE = 1000  # records read in one transaction, and
PAGE_BYTES = 4 << 20  # of their values, unless one alone is larger
AT_ONCE = 500  # keys in one condition
PURGE_BYTES = 16 << 20  # of values that one transaction removes
ALL = sys.maxsize

Test = Callable[[Any], bool]

# Plain tables: the ORM adds nothing to statements over many rows.
_COLLECTIONS = Collection.__table__  # type: ignore[attr-defined]
_RECORDS = CollectionRecord.__table__  # type: ignore[attr-defined]
_COLLECTION, _RECORD = _COLLECTIONS.c, _RECORDS.c


@dataclass(frozen=True)
class Address:
    """What a collection is known by."""

    project_id: int
    type: str  # one of TYPES
    name: str


# Writing. Whoever changes records of a collection holds its row: writers take turns, in whatever order
# their keys come, and none writes to a collection that was deleted or renamed meanwhile.


def _is(address: Address) -> Any:
    return and_(
        _COLLECTION.project_id == address.project_id,
        _COLLECTION.type == address.type,
        _COLLECTION.name == address.name,
    )


def _lock(session: Session, address: Address) -> int | None:
    return session.scalar(select(_COLLECTION.id).where(_is(address)).with_for_update())


def put(session: Session, address: Address, portions: Iterable[Sequence[tuple[bytes, ...]]]) -> None:
    """Store records, (key, value) each, in place of those that have the same key; the last one wins.

    The collection comes into being when there is none. A portion is sent to the database at once.
    """
    while (collection_id := _lock(session, address)) is None:
        session.execute(insert_into(session, _COLLECTIONS).values(**vars(address)).on_conflict_do_nothing())
    new = insert_into(session, _RECORDS)
    statement = new.on_conflict_do_update(
        index_elements=[_RECORD.collection_id, _RECORD.key],
        set_={"time": new.excluded.time, "value": new.excluded.value},
    )
    common = {"collection_id": collection_id, "time": session.scalar(select(now_ms()))}
    for portion in portions:
        session.execute(statement, [{**common, "key": key, "value": value} for key, value in portion])


def remove(session: Session, address: Address, keys: Sequence[bytes]) -> int:
    """Remove the records of these keys; returns how many there were."""
    collection_id = _lock(session, address)
    count = 0
    for first in range(0, len(keys), AT_ONCE):
        these = _RECORD.key.in_(keys[first : first + AT_ONCE])
        statement = delete(_RECORDS).where(_RECORD.collection_id == collection_id, these)
        count += execute(session, statement).rowcount
    return count


def remove_unchanged(session: Session, address: Address, records: Sequence["Record"]) -> int:
    """Remove records that nobody has written since they were read; returns how many."""
    collection_id = _lock(session, address)
    statement = delete(_RECORDS).where(
        _RECORD.collection_id == collection_id,
        _RECORD.key == bindparam("its_key"),
        _RECORD.time == bindparam("its_time"),
    )
    rows = [{"its_key": record.key, "its_time": record.time} for record in records]
    return session.connection().execute(statement, rows).rowcount if rows else 0


# The collections of a project.


def listing(session: Session, project_id: int) -> list[tuple[str, str]]:
    """(type, name) of each collection, by name; emptied ones too."""
    mine = and_(_COLLECTION.project_id == project_id, _COLLECTION.name.is_not(None))
    found = session.execute(select(_COLLECTION.type, _COLLECTION.name).where(mine))
    # Sorted here: each database sorts text by rules of its own.
    return sorted(
        ((each.type, each.name) for each in found), key=lambda each: (each[1], TYPES.index(each[0]))
    )


def _named(session: Session, project_id: int, *names: str) -> dict[str | None, list[int]]:
    """Ids of the collections of some names, of all types; locked, always in the same order."""
    mine = and_(_COLLECTION.project_id == project_id, _COLLECTION.name.in_(names))
    found: dict[str | None, list[int]] = {}
    held = select(_COLLECTION.id, _COLLECTION.name).where(mine).order_by(_COLLECTION.id)
    for row in session.execute(held.with_for_update()):
        found.setdefault(row.name, []).append(row.id)
    return found


def drop(session: Session, project_id: int, name: str) -> None:
    """Delete all collections of a name: they are gone at once; ``purge_some`` removes what they held."""
    these = and_(
        _COLLECTION.id.in_(_named(session, project_id, name).get(name, [])), _COLLECTION.name == name
    )
    session.execute(update(_COLLECTIONS).where(these).values(name=None))


def rename(session: Session, project_id: int, name: str, new_name: str) -> None:
    """Rename all collections of a name.

    Raises:
        NotFound: there is none.
        NameTaken: there is one of the new name, of whichever type.

    """
    held = _named(session, project_id, name, new_name)
    if name not in held:
        raise NotFound(f"unknown collection: {name}")
    these = and_(_COLLECTION.id.in_(held[name]), _COLLECTION.name == name)
    try:
        if new_name in held:
            raise NameTaken(f"collection {new_name} exists")
        if execute(session, update(_COLLECTIONS).where(these).values(name=new_name)).rowcount == 0:
            raise NotFound(f"unknown collection: {name}")
    except IntegrityError:  # it was made just now
        raise NameTaken(f"collection {new_name} exists") from None


# Reading.


@dataclass(frozen=True)
class Source:
    """A collection that is read."""

    id: int
    expired: int | None  # ms; what was written then, or earlier, is not there any more

    @property
    def records(self) -> Any:
        """The condition of those that are there."""
        mine = _RECORD.collection_id == self.id
        return mine if self.expired is None else and_(mine, _RECORD.time > self.expired)


@dataclass(frozen=True)
class Span:
    """Records from ``low`` to before ``high``; of these, when there are ``keys``, only those."""

    low: bytes
    high: bytes | None
    keys: Sequence[bytes] = ()
    most: int = ALL


@dataclass(frozen=True)
class Range:
    """Which records: those of ``keys`` and those of ``prefixes``; all, when both are empty."""

    keys: Sequence[bytes] = ()
    prefixes: Sequence[bytes] = ()
    prefix_count: int = ALL  # at most so many of each prefix
    start: bytes = b""  # the first key
    since: int | None = None  # ms, written at that time or later
    before: int | None = None  # ms

    def spans(self) -> Iterator[Span]:
        """The parts of the range, apart and in order; a prefix covers all that begins with it."""
        for span in self._parts():
            if span.high is None or span.high > self.start:
                yield Span(max(span.low, self.start), span.high, span.keys, span.most)

    def _parts(self) -> Iterator[Span]:
        if not self.keys and not self.prefixes:
            yield Span(b"", None)
        named = {(each, False) for each in self.prefixes} | {(each, True) for each in self.keys}
        prefix: bytes | None = None
        keys: list[bytes] = []
        for text, alone in sorted(named):
            if prefix is not None and text.startswith(prefix):
                continue
            if keys and (not alone or len(keys) == AT_ONCE):
                yield Span(keys[0], following(keys[-1]), keys)
                keys = []
            if alone:
                keys.append(text)
            else:
                prefix = text
                yield Span(text, _after_prefix(text), most=self.prefix_count)
        if keys:
            yield Span(keys[0], following(keys[-1]), keys)


def following(key: bytes) -> bytes:
    """The next key that there can be."""
    return key + b"\0"


def _after_prefix(prefix: bytes) -> bytes | None:
    # UTF-8 has no byte 255: the last one can be counted up.
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else None


@dataclass(frozen=True)
class Record:
    """One record; its value, a JSON object without ``_key``, is empty when it was not asked for."""

    key: bytes
    time: int  # ms, of the last write
    value: bytes


@dataclass(frozen=True)
class Page:
    """Some records of a scan."""

    records: Sequence[Record]
    scanned: int  # records looked at
    next: bytes | None  # the key to go on with, in the last page of a scan that was cut


def find(session: Session, address: Address) -> Source | None:
    """The collection, if there is one."""
    found = session.execute(select(_COLLECTION.id, now_ms().label("now")).where(_is(address))).one_or_none()
    if found is None:
        return None
    return Source(found.id, found.now - EXPIRE_MS if address.type in CACHED else None)


def get(session: Session, source: Source | None, key: bytes) -> bytes | None:
    """The value of a record, if there is one."""
    if source is None:
        return None
    return session.scalar(select(_RECORD.value).where(source.records, _RECORD.key == key))


def scan(
    source: Source,
    wanted: Range,
    *,
    test: Test | None = None,
    values: bool = True,
    count: int = ALL,
    maxscan: int = ALL,
) -> Iterator[Page]:
    """The records of a range in the order of their keys, a page at a time.

    Args:
        test: of the value; only records that pass are answered. It needs ``values``.
        count: at most so many records are answered, and
        maxscan: at most so many looked at.

    Each page is read in a transaction of its own when it is asked for: a slow client holds nothing.

    """
    for span in wanted.spans():
        low, left = span.low, min(span.most, count)
        more = left > 0
        while more:
            # One more than may be looked at: its key is the one to go on with.
            limit = min(PAGE, maxscan + 1, PAGE if test else left)
            with reading() as session:
                where = _condition(source, wanted, span, low)
                rows, more = _page(session, where, limit, values)
            beyond = rows[maxscan].key if len(rows) > maxscan else None
            rows = rows[:maxscan]
            found = [row for row in rows if test is None or test(orjson.loads(row.value))][:left]
            if rows or beyond is not None:
                yield Page(found, len(rows), beyond)
            if beyond is not None:
                return
            maxscan, count, left = maxscan - len(rows), count - len(found), left - len(found)
            more = more and left > 0
            low = following(rows[-1].key) if rows else low


def _condition(source: Source, wanted: Range, span: Span, low: bytes) -> Any:
    where = [source.records]
    if span.keys:  # and nothing else of the key: SQLite would read all that is between the first and the last
        where.append(_RECORD.key.in_([key for key in span.keys if key >= low]))
    else:
        where.append(_RECORD.key >= low)
        if span.high is not None:
            where.append(_RECORD.key < span.high)
    if wanted.since is not None:
        where.append(_RECORD.time >= wanted.since)
    if wanted.before is not None:
        where.append(_RECORD.time < wanted.before)
    return and_(*where)


def _page(session: Session, where: Any, limit: int, values: bool) -> tuple[list[Record], bool]:
    """The first records; True: there may be more."""
    value = _RECORD.value if values else bindparam(None, b"")
    statement = select(_RECORD.key, _RECORD.time, value.label("value")).where(where)
    if values:  # in the same statement, so that what is measured is what is read
        statement = statement.where(_RECORD.key <= _last_fitting(where, limit, PAGE_BYTES))
    found = session.execute(statement.order_by(_RECORD.key).limit(limit))
    records = [Record(*each) for each in found]
    return records, len(records) == limit or sum(len(each.value) for each in records) >= PAGE_BYTES


def _last_fitting(where: Any, limit: int, size: int) -> Any:
    """A subquery: the last key of ``limit`` records that has less than ``size`` bytes of values before it."""
    length = func.length(_RECORD.value).label("length")
    first = select(_RECORD.key, length).where(where).order_by(_RECORD.key).limit(limit).subquery().c
    before = (func.sum(first.length).over(order_by=first.key) - first.length).label("before")
    measured = select(first.key, before).subquery().c
    fitting = select(measured.key).where(measured.before < size)
    return fitting.order_by(measured.key.desc()).limit(1).scalar_subquery()


@dataclass(frozen=True)
class Tally:
    """How many records a range has."""

    count: int = 0  # that pass
    scanned: int = 0  # that were looked at
    next: bytes | None = None  # as of a page


def tally(source: Source, wanted: Range, *, test: Test | None = None, maxscan: int = ALL) -> Tally:
    """Count the records of a range; see ``scan``."""
    count = scanned = 0
    if test is not None or wanted.prefix_count != ALL:
        for page in scan(source, wanted, test=test, values=test is not None, maxscan=maxscan):
            count, scanned = count + len(page.records), scanned + page.scanned
            if page.next is not None:
                return Tally(count, scanned, page.next)
        return Tally(count, scanned)
    for span in wanted.spans():
        some = select(_RECORD.key).where(_condition(source, wanted, span, span.low)).order_by(_RECORD.key)
        left = maxscan - count
        with reading() as session:
            count += session.scalar(select(func.count()).select_from(some.limit(left).subquery())) or 0
            beyond = session.scalar(some.offset(left).limit(1)) if count == maxscan else None
        if beyond is not None:
            return Tally(count, count, beyond)
    return Tally(count, count)


# Removing what is not there any more.


def purge_some(session: Session, limit: int = PAGE) -> bool:
    """Remove a part of what was deleted or has expired; True: there may be more."""
    deleted = select(_COLLECTION.id).where(_COLLECTION.name.is_(None)).limit(1)
    found = session.scalar(deleted.with_for_update(skip_locked=True))
    if found is None:
        return _expire_some(session, limit)
    mine = _RECORD.collection_id == found
    part = delete(_RECORDS).where(mine, _RECORD.key <= _last_fitting(mine, limit, PURGE_BYTES))
    if execute(session, part).rowcount == 0:
        session.execute(delete(_COLLECTIONS).where(_COLLECTION.id == found))
    return True


def _expire_some(session: Session, limit: int) -> bool:
    # A value and not an expression, which no index could serve.
    old = _RECORD.time <= session.scalars(select(now_ms())).one() - EXPIRE_MS
    some = select(_RECORD.key).where(_RECORD.collection_id == _COLLECTION.id, old).exists()
    cached = select(_COLLECTION.id).where(_COLLECTION.type.in_(CACHED), some).limit(1)
    found = session.scalar(cached.with_for_update(skip_locked=True))
    if found is None:
        return False
    mine = _RECORD.collection_id == found
    keys = session.scalars(select(_RECORD.key).where(mine, old).order_by(_RECORD.time).limit(limit)).all()
    session.execute(delete(_RECORDS).where(mine, _RECORD.key.in_(keys)))
    return True
