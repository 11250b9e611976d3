"""Celery's entry points: two tasks, and what happens when a process of the platform begins or ends."""

import gc
import logging
import threading
import time
import warnings
from typing import Any

from celery import signals as celery_signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from sqlalchemy.exc import DBAPIError

from app import broker, db, logs
from app.broker import RUNS, celery
from app.services import reconciler, workers
from app.settings import settings
from worker import builder, process, runner, signals, warm
from worker.sender import Sender

log = logging.getLogger(__name__)

# That root runs a worker is dangerous where messages may be pickled; ours are JSON alone.
warnings.filterwarnings("ignore", category=SecurityWarning)

SWEEP_SECONDS = 2.0
TIDY_SECONDS = 60.0
LATE_SECONDS = 15.0  # a reconciler that has not swept for so long is not well


@celery.task(name="run_job", bind=True, ignore_result=True)
def run_job(self: Any) -> None:
    """A slot is free and a job may wait."""
    runner.run(self.request.hostname, self.request.id)


@celery.task(name="build_version", ignore_result=True)
def build_version(version_id: int) -> None:
    """A version waits for its build."""
    builder.build(version_id)


class Reconciler(threading.Thread):
    """The scheduler's loop. Any number of schedulers may run: every step is guarded in the database."""

    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self.ended = threading.Event()
        self.swept = time.monotonic()

    def run(self) -> None:
        """Sweep every few seconds until ``ended``; a failure is logged and tried again."""
        tidied = time.monotonic()
        while not self.ended.wait(SWEEP_SECONDS):
            try:
                reconciler.sweep(reap=time.monotonic() - self.swept < LATE_SECONDS)
                self.swept = time.monotonic()
                if self.swept - tidied >= TIDY_SECONDS and not reconciler.tidy(settings().retention_days):
                    tidied = time.monotonic()
            except DBAPIError as error:
                log.warning("reconciler: %s", type(error.orig).__name__)
            except Exception:
                log.exception("reconciler")


_reconciler: Reconciler | None = None
_sender: Sender | None = None
_me: tuple[str, str, int] | None = None  # name, kind, slots of this process
_consumer: Any = None  # Celery's, once it takes messages
_silenced: Any = None  # what takes its messages, when we have told it to take none


@celery_signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    """Ours instead of Celery's."""
    logs.configure(_me[1] if _me else "celery")
    # They warn that revocations are not written to a result backend, of which there is none.
    for logger in ("celery.worker.request", "celery.worker.control"):
        logging.getLogger(logger).setLevel(logging.ERROR)


@celery_signals.celeryd_after_setup.connect
def _quieten(**_: Any) -> None:
    """Turn off again what Celery has turned on: at each loss of the broker, it warns of a default we set."""
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


@celery_signals.worker_init.connect
def _begin(sender: Any, **_: Any) -> None:
    """In the main process, before its pool forks."""
    global _reconciler, _sender, _me
    if RUNS in sender.app.amqp.queues.consume_from:
        _me = (sender.hostname, workers.WORKER, settings().slots)
        _set_up_logging()
        runner.sweep()
        if settings().warm_start:
            warm.Nursery().start()
    else:
        _me = (sender.hostname, workers.SCHEDULER, 0)
        _set_up_logging()
        _reconciler = Reconciler()
        _reconciler.start()
        _sender = Sender()
        _sender.start()
    gc.freeze()  # what is here stays where it is: collections in a pool child would copy the pages
    _leave("former one not noted as gone")  # of the same name, as in a container that starts again


@celery_signals.worker_ready.connect
def _ready(sender: Any, **_: Any) -> None:
    global _consumer
    _consumer = sender


@celery_signals.heartbeat_sent.connect
def _alive(**_: Any) -> None:
    """The main process is connected to the broker and takes messages."""
    if _me is None or (_reconciler is not None and time.monotonic() - _reconciler.swept > LATE_SECONDS):
        return
    try:
        with db.transaction() as session:
            drains = workers.seen(session, *_me)
    except DBAPIError as error:
        log.warning("not noted as alive: %s", type(error.orig).__name__)
        return
    _listen(not drains)


def _listen(wanted: bool) -> None:
    """Take wake-ups, or leave them to workers that may claim a job. A lost connection begins anew: taking."""
    global _silenced
    tasks = _consumer.task_consumer if _consumer is not None and _me and _me[1] == workers.WORKER else None
    if tasks is None or (tasks is not _silenced) == wanted:
        return
    log.info("takes jobs again" if wanted else "drains: takes no new job")
    if wanted:
        _silenced = None
        tasks.add_queue(celery.amqp.queues[RUNS])
        tasks.consume()
    else:
        _silenced = tasks
        tasks.cancel_by_queue(RUNS)


@celery_signals.worker_process_init.connect
def _enter_child(**_: Any) -> None:
    """In a new pool child."""
    db.forget_connections()
    broker.reset()
    signals.enter_child()
    process.adopt_orphans()
    runner.sweep()


@celery_signals.worker_shutting_down.connect
def _close(**_: Any) -> None:
    """Running spiders are asked to close, once their drain time is over."""
    signals.close()


@celery_signals.worker_shutdown.connect
def _end(**_: Any) -> None:
    if _reconciler is not None:
        _reconciler.ended.set()
    if _sender is not None:
        _sender.end()
    _leave("not noted as gone")


def _leave(otherwise: str) -> None:
    if _me is not None:
        try:
            with db.transaction() as session:
                workers.gone(session, _me[0])
        except DBAPIError as error:
            log.warning("%s: %s", otherwise, type(error.orig).__name__)
