"""Celery's pool of processes, which outlives the death of a process and of the broker at the same moment."""

from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

COLLECT_SECONDS = 0.1


class ProcessPool(AsynPool):  # type: ignore[misc]
    """A process that dies closes what its parent listens to a moment before the parent can collect it.

    1. The end is noticed: the pool stops listening to the process, and collects it. If that comes too
       early the process stays in the pool, where nobody listens to it; Celery collects it seconds later.
    2. If the broker is lost before that, all processes of the pool are listened to anew, and for this one
       that raises an error that ends the worker. So it is left out, and it is collected soon.
    """

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        super()._event_process_exit(hub, proc)
        if proc in self._pool:
            hub.call_later(COLLECT_SECONDS, self.maintain_pool)

    def _track_child_process(self, proc: Any, hub: Any) -> None:
        if getattr(proc, "_sentinel_poll", True) is None:
            hub.call_later(COLLECT_SECONDS, self.maintain_pool)
        else:
            super()._track_child_process(proc, hub)


class Pool(TaskPool):  # type: ignore[misc]
    """What ``celery worker --pool`` is given."""

    Pool = ProcessPool
