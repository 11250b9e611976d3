"""Server-sent events from a server process: live, resumed, left alone by clients, ended with the server."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.load.conftest import Api
from tests.platform import until


@pytest.fixture
def own_api(tmp_path: Path, sqlite_template: bytes) -> Iterator[Api]:
    """A server that a test may end."""
    running = Api(tmp_path, sqlite_template)
    yield running
    running.stop()


def lines(api: Api, path: str, **headers: str) -> Iterator[str]:
    """The lines of a stream as they come."""
    with api.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        yield from answer.iter_lines()


def ids(stream: Iterator[str], count: int) -> list[int]:
    """The ids of the next events; those of places alone have no data."""
    found: list[int] = []
    number = 0
    while len(found) < count:
        line = next(stream)
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("event: job:"):
            found.append(number)
    return found


def test_a_line_that_was_lost_is_taken_up_without_gap_or_double(api: Api) -> None:
    first = lines(api, "/api/events.sse?project=1")
    while not (place := next(first)).startswith("id: "):
        pass
    keys = [api.job() for _ in range(3)]
    seen = ids(first, 3)
    assert seen[0] == int(place.removeprefix("id: ")) + 1
    first.close()  # type: ignore[attr-defined]
    keys += [api.job() for _ in range(3)]
    second = lines(api, "/api/events.sse?project=1", **{"Last-Event-ID": str(seen[-1])})
    seen += ids(second, 3)
    keys.append(api.job())
    seen += ids(second, 1)
    assert seen == list(range(seen[0], seen[0] + len(keys)))


def test_clients_that_go_away_leave_nothing_behind(api: Api) -> None:
    process = psutil.Process(api.process.pid)
    watching = [api.connect("/api/events.sse?project=1") for _ in range(60)]  # more than there are threads
    ours = {line.getsockname() for line in watching}

    def held() -> int:
        """How many of our connections the server has; others, such as a kept one, come and go."""
        return sum(each.raddr in ours for each in process.net_connections())

    try:
        until(lambda: held() == 60)
        assert [line.recv(12) for line in watching] == [b"HTTP/1.1 200"] * 60
        assert api.http.get("/api/jobs/list.json", params={"project": 1}).status_code == 200
    finally:
        for line in watching:
            line.close()
    until(lambda: held() == 0)


def test_a_server_that_is_asked_to_end_does_not_wait_for_watchers(own_api: Api, tmp_path: Path) -> None:
    key = own_api.job()
    watching = [lines(own_api, "/api/events.sse?project=1&last=0") for _ in range(3)]
    for stream in watching:
        assert ids(stream, 1) == [1]
    assert next(line for line in lines(own_api, f"/api/log.sse?project=1&job={key}") if line[:1] == "e")
    asked = time.monotonic()
    own_api.process.send_signal(signal.SIGTERM)
    for stream in watching:
        assert not [line for line in stream if line.startswith("event:")]  # ended, not broken off
    own_api.process.wait(30)
    # Not a benchmark: it would wait for five seconds, and say that it had to cancel them.
    assert "ancel" not in (tmp_path / "api.log").read_text()
    assert time.monotonic() - asked < 30
