"""The frontier: what is new, batches and their order, deleting, purging (contract 6.21)."""

import itertools

import orjson
import pytest
from sqlalchemy import func, select

from app import db
from app.models import Fingerprint, FrontierBatch, FrontierSlot
from app.services import frontier, reconciler
from app.services.frontier import HIGHEST, LOWEST, Address, Request
from tests.factories import at_once

pytestmark = pytest.mark.usefixtures("database")

SLOT = Address(1, "main", "site.com")


def request(fp: str, priority: int = 0, size: int = 0) -> Request:
    return Request(fp.encode(), priority, orjson.dumps([fp, "x" * size]), None)


def add(*requests: Request, address: Address = SLOT, portion: int = 1000) -> int:
    with db.transaction() as session:
        parts = (requests[first : first + portion] for first in range(0, len(requests), portion))
        return frontier.add(session, address, parts)


def numbered(stop: int, start: int = 0, priority: int = 0) -> list[Request]:
    return [request(f"{n:05}", priority) for n in range(start, stop)]


def slot_id(address: Address = SLOT) -> int:
    with db.reading() as session:
        return frontier.find(session, address) or 0


def batches(mincount: int | None = None) -> list[frontier.Batch]:
    return [batch for page in frontier.batches(slot_id(), mincount) for batch in page]


def queue(mincount: int | None = None) -> list[list[str]]:
    """The fingerprints of each batch."""
    found = batches(mincount)
    assert [batch.id for batch in found] == sorted(batch.id for batch in found)
    assert all(batch.count == len(orjson.loads(batch.requests)) for batch in found)
    return [[fp for fp, _ in orjson.loads(batch.requests)] for batch in found]


def fps() -> list[str]:
    return [fp.decode() for page in frontier.fingerprints(slot_id()) for fp in page]


def rows(table: type) -> int:
    with db.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_only_new_fingerprints_are_queued() -> None:
    assert add(request("b"), request("a"), request("b", 1)) == 2
    assert add(request("a"), request("c")) == 1
    assert (queue(), fps()) == ([["b", "a"], ["c"]], ["a", "b", "c"])


def test_the_first_of_several_counts_in_whichever_portion() -> None:
    assert add(request("a", 1), request("a"), request("b"), request("a"), portion=2) == 2
    assert queue() == [["b"], ["a"]]


def test_batches_of_at_most_a_hundred_in_the_order_given() -> None:
    assert add(*numbered(300)) == 300
    assert [(len(batch), batch[0], batch[-1]) for batch in queue()] == [
        (100, "00000", "00099"), (100, "00100", "00199"), (100, "00200", "00299"),
    ]  # fmt: skip
    add(*numbered(350, 300), portion=7)
    add(*numbered(400, 350))
    assert [len(batch) for batch in queue()] == [100, 100, 100, 50, 50]
    assert list(itertools.chain(*queue())) == fps()


def test_the_lowest_priority_comes_first_whatever_it_is() -> None:
    priorities = [0, 1, 255, 256, -1, HIGHEST, LOWEST, 300, -300, 16, 9, 65536]
    add(*(request(str(priority), priority) for priority in priorities))
    add(request("again", -1))
    assert queue() == [[str(each)] for each in sorted(priorities)][:2] + [["-1"], ["again"]] + [
        [str(each)] for each in sorted(priorities) if each >= 0
    ]


def test_an_id_says_what_it_is_of() -> None:
    for priority in (0, 1, 16, 255, 256, 65536, HIGHEST, -1, -256, LOWEST):
        for number in (1, 16, 2**63 - 1):
            assert frontier.parse_batch_id(frontier.batch_id(priority, number)) == (priority, number)
    assert frontier.batch_id(0, 1) == "000000000000000001"
    assert frontier.batch_id(255, 2**40) == "ff0000010000000000"


def test_no_ids() -> None:
    zeros = "0" * 16
    for text in ("", "0", zeros, "0G" + zeros, "00" + "F" * 16, "00\n" + zeros, "00" + zeros[1:] + "\u0660"):
        assert frontier.parse_batch_id(text) is None
    for text in ("008" + zeros[1:], "x000000ff" + zeros, "-80000000" + zeros, "-ffffffff" + zeros):
        assert frontier.parse_batch_id(text) is None  # too large, or another spelling of one


def test_mincount_takes_whole_batches() -> None:
    add(*numbered(100))
    add(*numbered(150, 100))
    assert [len(batch) for batch in queue(100)] == [100]
    assert [len(batch) for batch in queue(101)] == [100, 50]
    assert [len(batch) for batch in queue(1)] == [100]
    assert [len(batch) for batch in queue(999)] == [100, 50]
    assert queue(0) == []


def test_large_requests_share_no_batch() -> None:
    half = frontier.BATCH_BYTES // 2
    add(
        request("a", size=half),
        request("b", size=half),
        request("c"),
        request("d", size=3 * half),
        request("e"),
    )
    assert queue() == [["a"], ["b", "c"], ["d"], ["e"]]


def test_what_waits_for_its_batch_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "HELD_BYTES", 2000)
    several = [request(f"p{n}", n, 50) for n in range(1, 100)]
    assert add(*numbered(250), *several, request("late", 1)) == 350
    found = queue()
    assert [len(batch) for batch in found[:3]] == [100, 100, 50]
    assert found[3:5] == [["p1"], ["late"]]  # the first was stored long before
    assert list(itertools.chain(*found[:3])) == [f"{n:05}" for n in range(250)]
    assert len({batch.number for batch in batches()}) == len(found)


def test_removed_batches_do_not_come_back() -> None:
    add(request("a"), request("b", 1), request("c", -1))
    ids = [batch.id for batch in batches()]
    with db.transaction() as session:
        frontier.remove_batches(session, SLOT, [ids[0], ids[2], ids[2], "nonsense", frontier.batch_id(7, 7)])
        frontier.remove_batches(session, Address(1, "main", "other"), [ids[1]])
    assert queue() == [["a"]]
    assert add(request("b")) == 0
    add(request("new"))
    assert queue() == [["a"], ["new"]]


def test_pages_are_read_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "BATCHES", 2)
    monkeypatch.setattr(frontier, "FINGERPRINTS", 2)
    for name in "abcde":
        add(request(name))
    reading, seen = frontier.batches(slot_id()), frontier.fingerprints(slot_id())
    first = next(reading), next(seen)
    assert ([batch.number for batch in first[0]], first[1]) == ([1, 2], [b"a", b"b"])
    with db.transaction() as session:
        frontier.remove_batches(session, SLOT, [frontier.batch_id(0, 3)])
    add(request("f"))
    assert [[batch.number for batch in page] for page in reading] == [[4, 5], [6]]
    assert list(seen) == [[b"c", b"d"], [b"e", b"f"]]


def test_writers_of_one_slot_take_turns() -> None:
    """Most of what each brings, the others bring too, in another order."""
    add(request("first"))
    own = {n: numbered(3100 + 100 * n, 3000 + 100 * n) for n in range(4)}
    common = numbered(2000)

    def write(n: int) -> int:
        requests = [*common, *own[n]]
        return add(*(requests if n % 2 else reversed(requests)), portion=50)

    counts = at_once(4, write)
    assert sum(counts) == 2000 + 4 * 100
    found = queue()
    assert sorted(itertools.chain(*found)) == fps()
    assert len({batch.number for batch in batches()}) == len(found)


def test_lists() -> None:
    for name, slot in (("b", "2"), ("b", "10"), ("a", "~x"), ("\u00e9", "s p.a/ce"), ("Z", "\U0001f600")):
        add(request("a"), address=Address(1, name, slot))
    with db.transaction() as session:
        assert frontier.frontiers(session, 1) == ["Z", "a", "b", "\u00e9"]
        assert frontier.slots(session, 1, "b") == ["10", "2"]
        frontier.drop(session, Address(1, "b", "2"))
        frontier.drop(session, Address(1, "a", "~x"))
        assert (frontier.frontiers(session, 1), frontier.slots(session, 1, "b")) == (
            ["Z", "b", "\u00e9"],
            ["10"],
        )
        assert (frontier.slots(session, 1, "a"), frontier.frontiers(session, 2)) == ([], [])


def test_a_deleted_slot_has_seen_nothing_and_is_purged_in_parts() -> None:
    add(*numbered(250), *numbered(260, 250, priority=-3))
    with db.transaction() as session:
        frontier.drop(session, SLOT)
    assert slot_id() == 0
    assert add(request("00001")) == 1
    parts = 0
    while purged(100):
        parts += 1
    assert parts == 3 + 2 + 1  # fingerprints, batches two at a time, the slot
    assert (queue(), fps()) == ([["00001"]], ["00001"])
    assert (rows(Fingerprint), rows(FrontierBatch), rows(FrontierSlot)) == (1, 1, 1)


def purged(limit: int) -> bool:
    with db.transaction() as session:
        return frontier.purge_some(session, limit)


def test_the_reconciler_purges() -> None:
    add(request("a"))
    with db.transaction() as session:
        frontier.drop(session, SLOT)
    assert reconciler.tidy(0) is False
    assert (rows(Fingerprint), rows(FrontierBatch), rows(FrontierSlot)) == (0, 0, 0)


def test_a_writer_and_a_deleter_at_once() -> None:
    def work(n: int) -> None:
        for _ in range(20):
            if n % 2:
                add(request("a"), request("b"))
            else:
                with db.transaction() as session:
                    frontier.drop(session, SLOT)

    assert at_once(4, work) == [None] * 4
    add(request("z"))
    assert fps() in (["z"], ["a", "b", "z"])
    while purged(1000):
        pass
    assert rows(FrontierSlot) == 1
