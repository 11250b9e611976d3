"""Collections: writing, ranges, pages, counting, deleting, expiring (contract 6.20)."""

import itertools

import pytest
from sqlalchemy import func, select, update

from app import db
from app.errors import NameTaken, NotFound
from app.models import Collection, CollectionRecord
from app.services import collections, reconciler
from app.services.collections import ALL, Address, Page, Range, Source, Span, Tally
from tests.factories import at_once

pytestmark = pytest.mark.usefixtures("database")

STORE = Address(1, "s", "pages")


def put(*keys: str, address: Address = STORE, value: bytes = b"{}") -> None:
    with db.transaction() as session:
        collections.put(session, address, [[(key.encode(), value) for key in keys]])


def source(address: Address = STORE) -> Source:
    with db.reading() as session:
        found = collections.find(session, address)
        assert found is not None
        return found


def pages(wanted: Range | None = None, **how: object) -> list[Page]:
    return list(collections.scan(source(), wanted or Range(), **how))  # type: ignore[arg-type]


def keys(wanted: Range | None = None, **how: object) -> list[str]:
    return [record.key.decode() for page in pages(wanted, **how) for record in page.records]


def rows(table: type = CollectionRecord) -> int:
    with db.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def set_time(time: object, *of: str) -> None:
    with db.transaction() as session:
        wanted = [each.encode() for each in of]
        change = update(CollectionRecord).values(time=time)
        session.execute(change.where(CollectionRecord.key.in_(wanted)) if of else change)  # type: ignore[attr-defined]


def test_keys_are_sorted_by_their_bytes() -> None:
    put("k2", "k10", "k1", "Z", "a", "\u00e9", "\U0001f600", "\uffff", "a\0b", "a b", "a/b")
    assert keys() == ["Z", "a", "a\0b", "a b", "a/b", "k1", "k10", "k2", "\u00e9", "\uffff", "\U0001f600"]


def test_the_last_one_of_a_key_wins_in_a_portion_and_after_it() -> None:
    with db.transaction() as session:
        collections.put(session, STORE, [[(b"a", b"1"), (b"a", b"2"), (b"b", b"1")], [(b"b", b"3")]])
    assert [(each.key, each.value) for each in pages()[0].records] == [(b"a", b"2"), (b"b", b"3")]


def test_ranges() -> None:
    put("a", "a1", "a2", "b", "b1", "b11", "c", "d")
    assert keys(Range(prefixes=[b"a"])) == ["a", "a1", "a2"]
    assert keys(Range(prefixes=[b"b1", b"a", b"a2"])) == ["a", "a1", "a2", "b1", "b11"]
    assert keys(Range(prefixes=[b"a", b"b"], prefix_count=2)) == ["a", "a1", "b", "b1"]
    assert keys(Range(keys=[b"d", b"x", b"b", b"b", b"c"])) == ["b", "c", "d"]
    assert keys(Range(keys=[b"d", b"a1", b"b"], prefixes=[b"a"])) == ["a", "a1", "a2", "b", "d"]
    assert keys(Range(keys=[b"a", b"c", b"d"], start=b"c")) == ["c", "d"]
    assert keys(Range(prefixes=[b"a", b"b"], start=b"a2")) == ["a2", "b", "b1", "b11"]
    assert keys(Range(start=collections.following(b"b11"))) == ["c", "d"]
    assert keys(Range(prefixes=[b""], start=b"c")) == ["c", "d"]
    assert keys(Range(prefixes=[b"a"], start=b"z")) == []


def test_many_keys_take_several_spans() -> None:
    wanted = [b"%05d" % n for n in range(1200)]
    spans = list(Range(keys=wanted).spans())
    assert [key for span in spans for key in span.keys] == wanted
    assert [len(span.keys) for span in spans] == [500, 500, 200]
    assert next(Range(keys=wanted, start=b"00999").spans()) == Span(b"00999", b"00999\0", wanted[500:1000])


def test_times() -> None:
    put("a", "b", "c")
    for time, key in enumerate(("a", "b", "c"), 100):
        set_time(time, key)
    assert keys(Range(since=101)) == ["b", "c"]
    assert keys(Range(before=101)) == ["a"]
    assert keys(Range(since=101, before=102)) == ["b"]


def test_pages_are_read_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "PAGE", 2)
    put("a", "b", "c", "d", "e")
    scan = collections.scan(source(), Range())
    assert [record.key for record in next(scan).records] == [b"a", b"b"]
    with db.transaction() as session:  # nobody holds anything meanwhile
        collections.remove(session, STORE, [b"c"])
    put("a0", "f")
    assert [[record.key for record in page.records] for page in scan] == [[b"d", b"e"], [b"f"]]


def test_a_page_has_few_large_values() -> None:
    put(*map(str, range(6)), value=b"x" * (collections.PAGE_BYTES // 2))
    assert [len(page.records) for page in pages()] == [2, 2, 2]
    assert [len(page.records) for page in pages(values=False)] == [6]
    put("0", value=b"x" * (collections.PAGE_BYTES + 1))
    assert [len(page.records) for page in pages()] == [1, 2, 2, 1]
    assert keys() == list("012345")


def test_count_and_a_test() -> None:
    with db.transaction() as session:
        collections.put(session, STORE, [[(b"%d" % n, b"%d" % n) for n in range(9)]])
    assert keys(count=3) == ["0", "1", "2"]
    assert keys(test=lambda value: value % 2) == ["1", "3", "5", "7"]
    assert keys(test=lambda value: value % 2, count=2) == ["1", "3"]
    assert keys(Range(keys=[b"1", b"2"], prefixes=[b"3", b"4"]), count=3) == ["1", "2", "3"]
    assert keys(count=0) == []


def test_a_cut_scan_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    put(*"abcdefg")
    ranges = Range(), Range(prefixes=[b"a", b"c", b"f"]), Range(keys=[b"b", b"d"], prefixes=[b"c"])
    for page, maxscan, wanted in itertools.product((1, 2, 1000), (1, 2, 3, 7, 8), ranges):
        monkeypatch.setattr(collections, "PAGE", page)
        found, start, calls = [], b"", 0
        while start is not None:
            part = pages(Range(wanted.keys, wanted.prefixes, start=start), maxscan=maxscan)
            assert sum(each.scanned for each in part) <= maxscan
            found += [record.key.decode() for each in part for record in each.records]
            start, calls = part[-1].next, calls + 1
        assert found == keys(wanted)
        assert calls == -(-len(found) // maxscan)


def test_both_ways_of_counting_agree() -> None:
    put(*"abcdefg")
    for wanted in (
        Range(),
        Range(prefixes=[b"a", b"c", b"f"]),
        Range(keys=[b"b", b"x", b"d"]),
        Range(start=b"f"),
    ):
        for maxscan in (1, 2, 3, 7, ALL):
            fast = collections.tally(source(), wanted, maxscan=maxscan)
            assert fast == collections.tally(source(), wanted, test=lambda _: True, maxscan=maxscan)
            assert fast.count == min(len(keys(wanted)), maxscan)
    assert collections.tally(source(), Range(prefixes=[b"a", b"b"], prefix_count=0)) == Tally()
    assert collections.tally(source(), Range(), maxscan=3) == Tally(3, 3, b"d")


def test_only_what_nobody_has_written_since_is_removed() -> None:
    put("a", "b")
    read = pages()[0].records
    set_time(5, "b")
    with db.transaction() as session:
        assert collections.remove_unchanged(session, STORE, read) == 1
    assert keys() == ["b"]


def test_writers_of_one_collection_take_turns() -> None:
    names = [f"{n:03}" for n in range(300)]

    def write(n: int) -> None:
        value = b'{"n":%d}' % n
        with db.transaction() as session:
            order = names if n % 2 else names[::-1]
            collections.put(session, STORE, [[(key.encode(), value)] for key in order])
        with db.transaction() as session:
            collections.remove(session, STORE, [b"000", b"299"] if n % 2 else [b"299", b"000"])

    assert at_once(6, write) == [None] * 6
    assert keys() == names[1:-1]
    assert len({record.value for record in pages()[0].records}) == 1  # one of them was last
    assert rows(Collection) == 1


def test_collections_of_one_name_are_deleted_at_once_and_purged_in_parts() -> None:
    for kind in collections.TYPES:
        put("a", "b", "c", address=Address(1, kind, "pages"))
    put("a", address=Address(1, "s", "other"))
    with db.transaction() as session:
        collections.drop(session, 1, "pages")
        assert collections.listing(session, 1) == [("s", "other")]
    put("new")
    parts = 0
    while purged(2):
        parts += 1
    assert parts == 4 * 3  # two parts each, and the collection itself
    assert (keys(), rows(), rows(Collection)) == (["new"], 2, 2)


def purged(limit: int) -> bool:
    with db.transaction() as session:
        return collections.purge_some(session, limit)


def test_a_purge_that_was_cut_off_goes_on() -> None:
    put("a", "b", "c")
    with db.transaction() as session:
        collections.drop(session, 1, "pages")

    def cut_off() -> None:
        with db.transaction() as session:
            collections.purge_some(session, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert rows() == 3
    reconciler.tidy(0)
    assert (rows(), rows(Collection)) == (0, 0)


def test_the_reconciler_says_when_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "PARTS", 1)
    put("a")
    with db.transaction() as session:
        collections.drop(session, 1, "pages")
    assert [reconciler.tidy(0), reconciler.tidy(0), reconciler.tidy(0)] == [True, True, False]


def test_only_cached_records_expire() -> None:
    with db.reading() as session:
        now = session.scalar(select(db.now_ms())) or 0
    there = {"s": 2, "vs": 2, "cs": 1, "vcs": 1}
    for kind in there:
        put("new", f"old {kind}", address=Address(1, kind, "pages"))
        set_time(now - collections.EXPIRE_MS, f"old {kind}")
    for kind, count in there.items():
        found = source(Address(1, kind, "pages"))
        assert sum(len(page.records) for page in collections.scan(found, Range())) == count
        assert collections.tally(found, Range()).count == count
        with db.reading() as session:
            assert (collections.get(session, found, f"old {kind}".encode()) is None) == (count == 1)
    reconciler.tidy(0)
    assert rows() == 6
    put("old cs", address=Address(1, "cs", "pages"))
    assert collections.tally(source(Address(1, "cs", "pages")), Range()).count == 2


def test_rename() -> None:
    put("a")
    put("b", address=Address(1, "cs", "pages"))
    put("c", address=Address(1, "vs", "taken"))
    with db.transaction() as session:
        collections.rename(session, 1, "pages", "new")
        assert collections.listing(session, 1) == [("s", "new"), ("cs", "new"), ("vs", "taken")]
    for name, new_name, error in (
        ("new", "taken", NameTaken),
        ("new", "new", NameTaken),
        ("x", "y", NotFound),
    ):
        with pytest.raises(error), db.transaction() as session:
            collections.rename(session, 1, name, new_name)


def test_a_name_is_given_once() -> None:
    for name in ("a", "b"):
        put("k", address=Address(1, "s", name))

    def rename(n: int) -> None:
        with db.transaction() as session:
            collections.rename(session, 1, "ab"[n], "c")

    results = at_once(2, rename)
    assert sorted(type(result).__name__ for result in results) == ["NameTaken", "NoneType"]


def test_a_writer_and_a_deleter_at_once() -> None:
    """What is written when the other is done is not lost, nor what was deleted seen."""

    def work(n: int) -> None:
        for _ in range(20):
            if n % 2:
                put("a", "b")
            else:
                with db.transaction() as session:
                    collections.drop(session, 1, "pages")

    assert at_once(4, work) == [None] * 4
    put("z")
    assert keys() in (["z"], ["a", "b", "z"])
    while purged(1000):
        pass
    assert rows(Collection) == 1
