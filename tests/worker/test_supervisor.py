"""What a process writes to its real output becomes log entries."""

import contextlib
import os
from collections.abc import Iterator

import orjson
import pytest

from app.models import Kind
from worker.recorder import ERROR, Recorder
from worker.supervisor import ENTRY_BYTES, Output


class Pipe:
    """An output that is read from a pipe of our own."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._recorder = Recorder(1, "token")
        self.output = Output(self._read, ERROR, self._recorder)

    def say(self, text: str | bytes) -> None:
        """Write, and let it be read."""
        data = text.encode() if isinstance(text, str) else text
        for place in range(0, len(data), 1 << 15):
            os.write(self._write, data[place : place + (1 << 15)])
            self.output.read()

    def entries(self) -> list[str]:
        lines = self._recorder._buffers[Kind.LOGS].lines
        return [orjson.loads(line)["message"] for line in lines]

    def close(self) -> None:
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def end(self) -> list[str]:
        os.close(self._write)
        self.output.finish()
        return self.entries()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_each_line_is_an_entry(pipe: Pipe) -> None:
    pipe.say("one\n\ntwo\nthree")
    assert pipe.entries() == ["one"]  # the next line may still continue the last one
    assert pipe.end() == ["one", "two", "three"]


def test_a_line_that_begins_with_a_space_continues_the_entry(pipe: Pipe) -> None:
    pipe.say("Traceback:\n  File x\n\tmore\nError\n")
    assert pipe.end() == ["Traceback:\n  File x\n\tmore", "Error"]


def test_a_line_may_come_in_pieces(pipe: Pipe) -> None:
    for piece in ("gr", "üße".encode()[:1], "üße".encode()[1:], "\n", "next\n"):
        pipe.say(piece)
    assert pipe.end() == ["grüße", "next"]


def test_an_entry_is_complete_when_nothing_was_added_for_a_tick(pipe: Pipe) -> None:
    pipe.say("one\n")
    pipe.output.tick()
    assert pipe.entries() == []
    pipe.output.tick()
    assert pipe.entries() == ["one"]


def test_bytes_that_are_no_text_are_replaced(pipe: Pipe) -> None:
    pipe.say(b"a\xff\x00b\n")
    assert pipe.end() == ["a\ufffd\ufffdb"]


def test_a_line_without_end_is_cut_into_entries_and_nothing_is_lost(pipe: Pipe) -> None:
    pipe.say("x" * (3 * ENTRY_BYTES) + "\nnext\n")
    *parts, last = pipe.end()
    assert "".join(parts) == "x" * (3 * ENTRY_BYTES) and last == "next"
    assert all(len(part) <= 2 * ENTRY_BYTES for part in parts)


def test_what_continues_without_end_is_cut_into_entries(pipe: Pipe) -> None:
    pipe.say("start\n" + " line\n" * 50_000)
    entries = pipe.end()
    assert all(len(entry) <= 2 * ENTRY_BYTES for entry in entries)
    assert "\n".join(entries) == "start" + "\n line" * 50_000


def test_reading_tells_the_end_from_nothing_yet(pipe: Pipe) -> None:
    assert pipe.output.read() is None
    pipe.say("x")
    os.close(pipe._write)
    assert pipe.output.read() == 0
