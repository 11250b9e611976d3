"""The web server, spoken to by hand."""

import socket
from collections.abc import Iterator

import pytest

from tests.platform import Platform

CHUNKED = b"POST /api/schedule.json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"


def answer(platform: Platform, parts: Iterator[bytes]) -> bytes:
    """The first line of what comes back, maybe before everything was sent."""
    with socket.create_connection(("127.0.0.1", platform.port), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            return connection.recv(1000).partition(b"\r\n")[0]
        except (BrokenPipeError, ConnectionResetError):  # it has closed
            return b""


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nX: ", CHUNKED + b"X: "])
def test_a_head_without_end_is_refused(platform: Platform, begun: bytes) -> None:
    def parts() -> Iterator[bytes]:
        yield begun
        for _ in range(1000):
            yield b"a" * 10_000

    assert answer(platform, parts()) in (b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 403 Forbidden", b"")


@pytest.mark.parametrize("size", [1, 60_000])
def test_a_head_that_has_an_end_is_read(platform: Platform, size: int) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: " + b"a" * size + b"\r\n\r\n"
    assert answer(platform, iter([head])) == b"HTTP/1.1 200 OK"


def test_a_large_body_is_none_of_it(platform: Platform) -> None:
    head = b"POST /api/schedule.json HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
    assert answer(platform, iter([head, *[b"a" * 10_000] * 30])) == b"HTTP/1.1 403 Forbidden"
