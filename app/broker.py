"""The one Celery object, queue and priority mapping, and the messages that the API side sends.

A message is only a wake-up: it may be lost, late or doubled, and the row decides. So a broker that is
down never fails a request; it is logged, and the reconciler sends the wake-up again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Producer, Queue
from sqlalchemy.orm import Session

from app.db import after_commit
from app.settings import settings

log = logging.getLogger(__name__)

RUNS, BUILDS = "runs", "builds"
# Tells a runner to look at its row now. The default of this signal is to be ignored, so it does no
# harm to whatever process a late or misdirected one reaches.
LOOK_NOW = "SIGURG"
# After a failure nothing is tried for so long: requests must not queue behind time-outs.
RETRY_SECONDS = 2.0
# Jobs that are scheduled within so long are announced together: a message costs as much time as scheduling
# one or two jobs.
WAKE_SECONDS = 0.05
PATIENCE_SECONDS = 2.0  # how long a broker that hangs may hold up a request


def celery_priority(priority: int) -> int:
    """The message's priority for a job of ``priority`` (4 is the highest): on Redis 0 is the highest."""
    return 4 - priority


class _Connection(Connection):
    """Goes on trying every few seconds, however long the broker was away; the default grows to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": RETRY_SECONDS, **kwargs})


def make_celery(broker_url: str | None) -> Celery:
    """The Celery application; design 5 has the reason of each setting."""
    app = Celery("crawldock")
    app.conf.update(
        broker_url=broker_url or "redis://127.0.0.1:6379/0",
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in (RUNS, BUILDS)],
        task_default_queue=RUNS,
        task_ignore_result=True,
        task_acks_late=False,
        worker_pool="worker.pool:Pool",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options={
            "priority_steps": [0, 1, 2, 3, 4],
            "queue_order_strategy": "priority",
            "sep": ":",
            "visibility_timeout": 3600,
            "socket_connect_timeout": 2,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        event_queue_expires=60,
        worker_send_task_events=False,
    )
    app.amqp.Connection = _Connection
    return app


celery = make_celery(settings().redis_url)


def _connect() -> Connection:
    """A connection for those who cannot wait: somebody's request is behind them."""
    connection: Connection = celery.connection_for_write(
        transport_options={"socket_timeout": PATIENCE_SECONDS}
    )
    connection.ensure_connection(max_retries=1, timeout=PATIENCE_SECONDS)
    return connection


class _Sender:
    """One held producer: taking one from the pool for each message costs more than twice as much."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._not_before = 0.0

    def send(self, task: str, args: list[Any], queue: str, priority: int) -> None:
        """Send a task, or log that it could not be sent."""

        def publish(producer: Producer) -> None:
            celery.send_task(task, args, queue=queue, priority=priority, producer=producer, retry=False)

        self._try(task, publish)

    def broadcast(self, method: str, arguments: dict[str, Any]) -> None:
        """Tell all workers, as ``celery.control`` does but without its endless retry, or log the failure."""
        exchange = celery.control.mailbox.exchange
        message = {"method": method, "arguments": arguments, "destination": None}
        headers = {"clock": celery.clock.forward(), "expires": 0}

        def publish(producer: Producer) -> None:
            producer.publish(
                message, exchange=exchange.name, declare=[exchange], headers=headers, serializer="json",
                retry=False,
            )  # fmt: skip

        self._try(method, publish)

    def _try(self, what: str, publish: Callable[[Producer], None]) -> None:
        with self._lock:
            if time.monotonic() < self._not_before:
                return
            try:
                if self._producer is None:
                    self._producer = celery.amqp.Producer(_connect().channel(), auto_declare=False)
                publish(self._producer)
            except Exception as error:
                # Whatever the transport raises: the row is stored, the reconciler sends again.
                log.warning("no message for %s: the broker does not answer (%s)", what, type(error).__name__)
                self._forget()
                self._not_before = time.monotonic() + RETRY_SECONDS

    def _forget(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.connection.release()
            except Exception as error:
                log.debug("releasing a dead connection: %s", error)

    def reset(self) -> None:
        """Forget what was inherited over a fork."""
        self._lock = threading.Lock()
        self._producer = None


_sender = _Sender()


class _Waker:
    """Announces new jobs, each at once or within WAKE_SECONDS, and a burst of them with one message.

    1. A thread sends: a broker that hangs holds up nobody who schedules. The first job of a burst is
       announced at once, for those that follow one message is sent when the time is over. Should the
       process die before, the reconciler sends it.
    2. One message is enough for many jobs: whoever claims a job passes the word on while jobs wait and
       slots are free, and again when it has a slot to offer.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was inherited over a fork."""
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: int | None = None  # priority of what is not announced yet

    def announce(self, priority: int) -> None:
        """There is a new job of this priority."""
        with self._lock:
            self._waiting = max(priority, self._waiting or 0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
                self._thread.start()
            self._lock.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while self._waiting is None:
                    self._lock.wait()
                priority, self._waiting = self._waiting, None
            wake(priority)
            time.sleep(WAKE_SECONDS)


_waker = _Waker()


def reset() -> None:
    """Forget what was inherited over a fork."""
    _sender.reset()
    _waker.reset()


def wake(priority: int) -> None:
    """Tell one worker with a free slot that there may be a job to claim."""
    _sender.send("run_job", [], RUNS, celery_priority(priority))


def wake_after_commit(session: Session, priority: int) -> None:
    """Announce a job once the row is there for the worker to see."""
    after_commit(session, partial(_waker.announce, priority))


def build(version_id: int) -> None:
    """Tell a builder that the version waits."""
    _sender.send("build_version", [version_id], BUILDS, 0)


def revoke(task_ids: Sequence[str]) -> None:
    """Revoke running Celery tasks: each runner looks at its row at once, and sees the wish to stop.

    One message for all. When it is lost, each runner's next heartbeat sees its row all the same.
    """
    _sender.broadcast("revoke", {"task_id": list(task_ids), "terminate": True, "signal": LOOK_NOW})


def alive() -> bool:
    """Does the broker answer?"""
    try:
        _connect().release()
        return True
    except Exception:
        return False
