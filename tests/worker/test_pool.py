"""The pool of processes."""

import os
import signal
from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from tests.platform import until
from worker.pool import ProcessPool


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def pool(hub: Hub) -> Iterator[ProcessPool]:
    pool = ProcessPool(processes=2, threads=False)
    pool.register_with_event_loop(hub)
    yield pool
    pool.terminate()
    pool.join()


def test_the_broker_is_lost_before_a_dead_process_is_collected(pool: ProcessPool, hub: Hub) -> None:
    """Then all processes are listened to anew; the dead one is replaced."""
    dead, other = pool._pool
    pool._untrack_child_process(dead, hub)  # its end was noticed, but it could not be collected yet
    os.kill(dead.pid, signal.SIGKILL)
    hub.reset()
    hub.timer.clear()
    pool.register_with_event_loop(hub)
    loop = hub.create_loop()
    until(lambda: next(loop) or dead not in pool._pool, 10)
    assert len(pool._pool) == 2
    assert other in pool._pool
