"""Records ⇄ one compressed chunk. Pure, no I/O.

A chunk is two zstd frames, each behind its length (4 bytes, big endian): the receive times of the
records (64-bit little-endian milliseconds, each minus the one before it), then the records as JSON
lines, exactly as they were written. Times and lines are apart because each compresses best among
its own kind, and because most readers never want the times.
"""

import struct
import threading
from array import array
from collections.abc import Sequence

import zstandard

LEVEL = 3  # 0.15-0.2 of typical items at several hundred MB/s
_LENGTH = struct.Struct(">I")
_of_thread = threading.local()


def pack(times: Sequence[int], lines: Sequence[bytes]) -> bytes:
    """One chunk of ``lines`` (JSON without newlines), ``times[i]`` being the receive time of ``lines[i]``."""
    return _times_frame(times) + _frame(b"\n".join(lines))


def _times_frame(times: Sequence[int]) -> bytes:
    deltas = array("q", (now - before for before, now in zip((0, *times), times, strict=False)))
    return _frame(deltas.tobytes())


def _frame(data: bytes) -> bytes:
    # A compressor is not safe to share between threads and cheap to make.
    compressed = zstandard.ZstdCompressor(level=LEVEL).compress(data)
    return _LENGTH.pack(len(compressed)) + compressed


def _part(chunk: bytes, wanted: int) -> bytes:
    start = 0
    for _ in range(wanted):
        start += _LENGTH.size + _LENGTH.unpack_from(chunk, start)[0]
    (length,) = _LENGTH.unpack_from(chunk, start)
    start += _LENGTH.size
    return _decompressor().decompress(memoryview(chunk)[start : start + length])


def _decompressor() -> zstandard.ZstdDecompressor:
    # Not safe to share between threads, and not cheap: a quarter of the work on a chunk of typical items.
    if (mine := getattr(_of_thread, "decompressor", None)) is None:
        mine = _of_thread.decompressor = zstandard.ZstdDecompressor()
    return mine


def text(chunk: bytes) -> bytes:
    """The records of a chunk as JSON lines, without a newline at the end."""
    return _part(chunk, 1)


def lines(chunk: bytes) -> list[bytes]:
    """The records of a chunk, one JSON line each, without newlines."""
    return text(chunk).split(b"\n")


def times(chunk: bytes) -> list[int]:
    """The receive times of a chunk's records, in ms."""
    deltas = array("q")
    deltas.frombytes(_part(chunk, 0))
    result, time = [], 0
    for delta in deltas:
        time += delta
        result.append(time)
    return result
