"""Requests per second: a client as thin as the standard library allows, the same for both sides."""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Post:
    """A form to send again and again, with a body that differs each time."""

    port: int
    path: str
    body: Callable[[], str]
    headers: Mapping[str, str] = field(default_factory=dict)


def per_second(post: Post, *, clients: int, seconds: float) -> float:
    """How many of these the server answered per second; every answer must be a success.

    Raises:
        RuntimeError: an answer was not.

    """
    done = [0] * clients
    failures: list[str] = []
    start = threading.Barrier(clients + 1)
    end = float("inf")

    def client(place: int) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded", **post.headers}
        connection = http.client.HTTPConnection("127.0.0.1", post.port, timeout=30)
        try:
            connection.connect()
            start.wait()
            while time.perf_counter() < end and not failures:
                connection.request("POST", post.path, post.body(), headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200 or b'"ok"' not in content:
                    failures.append(f"{answer.status} {content[:300]!r}")
                done[place] += 1
        except threading.BrokenBarrierError:
            pass  # another client could not even connect
        except (OSError, http.client.HTTPException) as error:
            failures.append(repr(error))
            start.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    end = began + seconds
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"schedule refused: {failures[0]}")
    return sum(done) / (time.perf_counter() - began)
