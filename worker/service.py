"""The two Celery workers: what `crawldock worker` and `crawldock scheduler` are."""

import os
import socket
import sys
from typing import Any

from app.broker import BUILDS, RUNS, celery
from app.settings import settings
from worker import tasks  # noqa: F401 - which tasks there are, and what happens at a start


def run(process: str) -> None:
    """Take tasks until a signal comes. Not by way of Celery's command line, which imports a shell."""
    options: dict[str, Any] = (
        {"queues": [RUNS], "concurrency": settings().slots}
        if process == "worker"
        else {"queues": [BUILDS], "concurrency": 4, "pool": "threads"}
    )
    worker = celery.Worker(
        hostname=f"{process}-{os.getpid()}@{socket.gethostname()}",  # several of them may run on one machine
        without_gossip=True,
        without_mingle=True,
        heartbeat_interval=4,
        quiet=True,
        **options,
    )
    worker.start()
    sys.exit(worker.exitcode)
