"""Reading blocks: how many chunks are fetched at once, and what a block holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from app import db
from app.keys import LARGEST
from app.models import Kind
from app.services import reader
from app.services.reader import Block
from tests.factories import job_with_items

pytestmark = pytest.mark.usefixtures("database")


@contextmanager
def fetched() -> Iterator[list[str]]:
    """The statements that look for chunks in the meantime."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM chunk" in statement:
            seen.append(statement)

    event.listen(db.engine(), "before_cursor_execute", note)
    yield seen
    event.remove(db.engine(), "before_cursor_execute", note)


def test_small_chunks_are_fetched_together_after_the_first() -> None:
    job = job_with_items(range(40), chunk=2)
    with fetched() as seen:
        blocks = list(reader.read(job.id, Kind.ITEMS, 0, 40))
    assert [line for block in blocks for line in block.lines] == [b"%d" % n for n in range(40)]
    assert (len(blocks), len(seen)) == (20, 3)  # 1 + 16 + 3 chunks


def test_large_chunks_are_fetched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "AHEAD_BYTES", 1)
    job = job_with_items(range(10), chunk=2)
    with fetched() as seen:
        assert len(list(reader.read(job.id, Kind.ITEMS, 0, 10))) == len(seen) == 5


def test_a_reader_that_takes_one_block_has_looked_once() -> None:
    job = job_with_items(range(40), chunk=2)
    with fetched() as seen:
        block = next(reader.read(job.id, Kind.ITEMS, 5, 40))
    assert (list(block.numbers), block.text, len(seen)) == ([5], b"5", 1)


def test_there_is_nothing_beyond_the_end_however_far() -> None:
    job = job_with_items(range(3))
    assert list(reader.read(job.id, Kind.ITEMS, 3_000_000_000, LARGEST)) == []


def test_a_block_is_its_text_or_its_lines() -> None:
    block = Block.of([b"1", b"[2]"])
    assert (block.text, block.lines, list(block.numbers)) == (b"1\n[2]", [b"1", b"[2]"], [0, 1])
