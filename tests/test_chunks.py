"""Chunks: what goes in comes out."""

from collections.abc import Callable

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import chunks
from bench import typical

# A busy machine is no fault.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
times = st.integers(-(2**60), 2**60)
texts = st.text(st.characters(exclude_categories=["Cs"]))
lines = st.dictionaries(texts, st.none() | st.booleans() | texts | st.integers(0, 2**53)).map(orjson.dumps)


@patient
@given(st.lists(st.tuples(times, lines), min_size=1))
def test_records_survive(records: list[tuple[int, bytes]]) -> None:
    chunk = chunks.pack([time for time, _ in records], [line for _, line in records])
    assert chunks.lines(chunk) == [line for _, line in records]
    assert chunks.times(chunk) == [time for time, _ in records]


@patient
@given(st.lists(st.binary().filter(lambda line: b"\n" not in line), min_size=1))
def test_any_bytes_but_a_newline_survive(given_lines: list[bytes]) -> None:
    assert chunks.lines(chunks.pack([0] * len(given_lines), given_lines)) == given_lines


def test_a_large_line_survives() -> None:
    line = orjson.dumps({"text": "é" * 5_000_000})
    assert chunks.lines(chunks.pack([1], [line])) == [line]


def test_alike_records_take_little_room() -> None:
    made = [orjson.dumps({"title": f"Page {n}", "url": f"https://example.com/page/{n}"}) for n in range(1000)]
    chunk = chunks.pack(range(1_700_000_000_000, 1_700_000_001_000), made)
    assert len(chunk) < sum(map(len, made)) / 5


@pytest.mark.parametrize("make", [typical.lines, typical.described])
def test_typical_items_take_a_fifth_of_their_json_at_most(make: Callable[[int], bytes]) -> None:
    items = make(1000)
    chunk = chunks.pack(range(1_700_000_000_000, 1_700_000_001_000), items.splitlines())
    assert len(chunk) <= len(items) / 5
