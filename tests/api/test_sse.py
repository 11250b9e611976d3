"""The loop behind every stream: how it paces itself, what ends it."""

import asyncio
from collections.abc import Iterable

import pytest
from sqlalchemy.exc import OperationalError

from app.api import sse
from app.api.sse import Look, Then
from app.errors import NotAuthenticated


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "POLL_SECONDS", 0)


def looks(results: Iterable[bytes | Exception]) -> Look:
    """One result a look, then the end."""
    left = iter(results)

    def look() -> tuple[bytes, Then]:
        result = next(left, None)
        if isinstance(result, Exception):
            raise result
        return result or b"", Then.END if result is None else Then.WAIT

    return look


def sent(look: Look, check: Look | None = None, seconds: int | None = None) -> list[bytes]:
    async def collect() -> list[bytes]:
        stream = sse.stream(look, check or (lambda: None), seconds)
        return [bytes(part) async for part in stream.body_iterator]  # type: ignore[arg-type]

    first, *parts = asyncio.run(collect())
    assert first == b"retry: 3000\n\n"
    return parts


def test_what_is_found_is_sent_and_nothing_in_between() -> None:
    assert sent(looks([b"a", b"", b"b"])) == [b"a", b"b"]


def test_a_line_on_which_nothing_happens_has_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0)
    assert sent(looks([b"", b""])) == [b": still here\n\n"] * 3


def test_who_may_no_longer_listen_is_left_at_the_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0)
    assert sent(looks([b"a", b"b"]), looks([b"", NotAuthenticated("revoked")])) == [b"a: still here\n\n"]


def test_a_database_that_is_away_ends_it_and_the_client_comes_back() -> None:
    assert sent(looks([b"a", OperationalError("", {}, Exception("away")), b"b"])) == [b"a"]


def test_it_ends_after_its_time_but_not_within_a_page() -> None:
    assert sent(looks([b"a", b"b"]), seconds=0) == [b"a"]
    pages = iter([(b"a", Then.GO_ON), (b"b", Then.WAIT), (b"c", Then.WAIT)])
    assert sent(lambda: next(pages), seconds=0) == [b"a", b"b"]


def test_a_server_that_ends_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_closing", type(sse._closing)())

    def look() -> tuple[bytes, Then]:
        sse.close()
        return b"a", Then.WAIT

    assert sent(look) == [b"a"]


def test_data_cannot_leave_its_line() -> None:
    assert sse.frame("log", b'{"a":\r1}', 7) == b'id: 7\nevent: log\ndata: {"a": 1}\n\n'
