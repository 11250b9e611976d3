"""The named pipe between a spider and us (contract 10.5): create, read without blocking, bytes → messages.

Knows nothing of jobs.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app import jsonlines

LINE_BYTES = 1 << 20  # a longer message is replaced by an error entry in the log
PIPE_BYTES = 1 << 20  # asked of the kernel; what it gives is enough
SHOWN = 200  # bytes of a bad line that its error entry repeats

KINDS = ("ITM", "LOG", "REQ", "STA", "FIN")


@dataclass(frozen=True)
class Message:
    """One message: ``kind`` of ``KINDS``, ``line`` the JSON as it was written, ``value`` the same, read."""

    kind: str
    line: bytes
    value: dict[str, Any]


@dataclass(frozen=True)
class Rubbish:
    """A line that is no message; ``reason`` is a sentence for the log."""

    reason: str


def create(path: Path) -> int:
    """Make the pipe and open it; returns a non-blocking descriptor.

    It is open before the child starts, because the child's own open waits for a reader; and it is open
    for writing too, so that it never reports an end while processes come and go.
    """
    os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return descriptor


class Reader:
    """Puts lines together from what was read, and reads them as messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._dropped = 0  # bytes of an over-long line that were thrown away so far

    def feed(self, data: bytes) -> Iterator[Message | Rubbish]:
        """The messages that ``data`` completes."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if self._dropped:
                size, self._dropped = self._dropped + len(line), 0
                yield Rubbish(f"a message of {size} bytes was dropped: longer than {LINE_BYTES}")
            elif len(line) > LINE_BYTES:
                yield Rubbish(f"a message of {len(line)} bytes was dropped: longer than {LINE_BYTES}")
            elif line:
                yield parse(line)
        if self._dropped or len(self._rest) > LINE_BYTES:
            self._dropped += len(self._rest)
            self._rest = b""

    def finish(self) -> Iterator[Message | Rubbish]:
        """What is left when nothing more will come: an unfinished line."""
        yield from self.feed(b"\n") if self._rest or self._dropped else ()


def parse(line: bytes) -> Message | Rubbish:
    """Read ``CMD JSON-object``; a bare object is an item."""
    kind, space, payload = line[:3].decode("latin-1"), line[3:4], line[4:]
    if line.startswith(b"{"):
        kind, payload = "ITM", line
    elif space != b" " or kind not in KINDS:
        return Rubbish(f"not a message: {_show(line)}")
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _lenient(kind, payload)
    if not isinstance(value, dict):
        return Rubbish(f"not a JSON object: {_show(line)}")
    return Message(kind, payload, value)


def _lenient(kind: str, payload: bytes) -> Message | Rubbish:
    try:
        line, value = jsonlines.lenient(payload)
    except ValueError:
        return Rubbish(f"not JSON: {_show(payload)}")
    if not isinstance(value, dict):
        return Rubbish(f"not a JSON object: {_show(payload)}")
    return Message(kind, line, value)


def _show(line: bytes) -> str:
    return repr(line[:SHOWN])[2:-1] + ("…" if len(line) > SHOWN else "")
