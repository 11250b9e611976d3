"""One run as a story: claim → prepare → supervise → close the records → finish."""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import broker
from app.db import reading, transaction
from app.errors import CrawldockError, NotFound
from app.models import Version
from app.services import jobs, versions, workers
from app.services.jobs import CANCELLED, Claimed
from app.settings import settings
from worker import builder, eggs, environ, fifo, process, signals, venvs, warm
from worker.process import Child, Running
from worker.recorder import ERROR, INFO, NO_REASON, Recorder
from worker.supervisor import FAILED, LOST, OOM, SHUTDOWN, Supervisor

log = logging.getLogger(__name__)

FINISH_SECONDS = 60  # how long the last word is tried when the database is away; then the lease ends


class Ended(CrawldockError):
    """The run ends before its spider has started; the message is the reason, in words."""


def run(worker: str, task_id: str) -> None:
    """Claim the best pending job and run it to its end; return at once when there is none."""
    if signals.closing():
        return  # it would be ended at once; another worker, or the next one here, runs it
    signals.clear_look()
    with transaction() as session:
        job = jobs.claim(session, worker, task_id)
    if job is None:
        return
    log.info("job %s: started", job.key)
    _pass_on(workers.wanted)
    recorder = Recorder(job.id, job.token)
    reason = FAILED
    with ExitStack() as cleanup:
        try:
            reason = _run_spider(job, recorder, cleanup)
        except Ended as error:
            reason = str(error)
        except CrawldockError as error:
            recorder.log(ERROR, f"the job could not be started: {error}")
        except Exception as error:
            log.exception("job %s", job.key)
            recorder.log(ERROR, f"the platform failed to run the job: {type(error).__name__}: {error}")
    # "finished" is the last word: when it is said, records are stored, processes and folders are gone.
    _finish(job, recorder, reason)
    _pass_on(workers.next_up)


def _pass_on(waiting: Callable[[Session, int], list[int]]) -> None:
    """Wake the next free slot while jobs wait: one message was sent for many.

    Whoever has begun a job counts the free slots; whoever has ended one has just left one.
    """
    try:
        with reading() as session:
            priorities = waiting(session, 1)
    except DBAPIError as error:
        log.warning("nobody was woken: %s", type(error.orig).__name__)  # the reconciler does it
        return
    for priority in priorities:
        broker.wake(priority)


def _run_spider(job: Claimed, recorder: Recorder, cleanup: ExitStack) -> str:
    beat = Heart(job)
    scratch = _scratch(job, cleanup)

    def say(line: str) -> None:
        if line:
            recorder.log(INFO, f"[prepare] {line}")
        recorder.flush()
        beat.check()

    def run_logged(command: Sequence[str], env: dict[str, str], cwd: Path, tell: venvs.Say) -> None:
        deadline = time.monotonic() + settings().build_seconds
        builder.run(command, env, cwd, tell, deadline, builder.INSTALLING)

    version, path = _code(job)
    venv = venvs.ensure(version.requirements, version.stack, say, run_logged)
    pipe = scratch / "pipe"
    descriptor = fifo.create(pipe)
    cleanup.callback(os.close, descriptor)
    env = environ.spider(
        job, venv=venv, path=path, settings_module=eggs.settings_module(path[0]), scratch=scratch, fifo=pipe
    )
    beat.check()
    ooms = process.oom_kills()
    child = _start(job, venv, path, env, scratch)
    supervisor = Supervisor(job, child, descriptor, recorder, beat.beat)
    try:
        ending = supervisor.watch()
    finally:
        status = child.end()
        child.end_strays()
    supervisor.drain()
    child.close()
    return _outcome(ending, recorder, status, process.oom_kills() > ooms)


def _start(job: Claimed, venv: Path, path: Sequence[Path], env: dict[str, str], scratch: Path) -> Running:
    """The spider's process: forked when that can be done, else started afresh."""
    script = str(venv / "bin" / environ.COMMAND)
    if settings().warm_start:
        possible = warm.possible(environ.variables(job.environment))
        child = warm.start(venv, script, path, env, scratch) if possible else None
        if child is not None:
            return child
        log.info("job %s: started afresh, no template could fork it", job.key)
    return Child([script], env, scratch)


def _code(job: Claimed) -> tuple[Version, list[Path]]:
    """The code that the job runs; when its version was replaced since the claim, what replaced it."""
    try:
        return builder.code_of(job.version_id)
    except NotFound:
        with reading() as session:
            current = versions.current(session, job.key.project)
        if current is None:
            raise
        return builder.code_of(current)


def _outcome(ending: str | None, recorder: Recorder, status: int, oom: bool) -> str:
    """The close reason in words (contract 7.5, 10.6): ours, else the spider's, else how its process ended."""
    if ending is not None:
        return ending
    if status != 0:
        how = process.describe_exit(status)
        recorder.log(
            ERROR, f"the spider's process {how}" if status > 0 else f"the spider's process was {how}"
        )
    if recorder.outcome is not None and status >= 0:
        return recorder.outcome
    if status < 0:
        return OOM if oom else process.describe_exit(status)
    return FAILED if status else NO_REASON


def _scratch(job: Claimed, cleanup: ExitStack) -> Path:
    """A folder of the job's own, its HOME. The lock on it is released by whatever ends us."""
    folder = settings().folder("runs") / f"{str(job.key).replace('/', '-')}-{job.token[:8]}"
    folder.mkdir(0o700)
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    # Under its name the lock is seen only once it is held and says whose it is.
    new = folder / "lock.new"
    lock = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    cleanup.callback(os.close, lock)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, f"{job.id} {job.token}".encode())
    new.rename(folder / "lock")
    return folder


def sweep() -> None:
    """End what runs of dead owners left on this machine: processes first, then jobs, then folders."""
    for folder in settings().folder("runs").glob("*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # its owner is just making it, or removing it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its owner lives
        else:
            process.kill_left_in(folder)
            if _finish_lost(lock):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _finish_lost(lock: int) -> bool:
    """Say the last word for an owner that is known to be dead: its slot need not wait for the lease to end.

    False: the database did not answer; the next sweep tries again, unless the lease ends first.
    """
    words = os.read(lock, 200).decode().split()
    if len(words) != 2:
        return True  # it died before it had written down what it runs
    try:
        with transaction() as session:
            if jobs.finish(session, int(words[0]), words[1], LOST):
                log.warning("job row %s: %s", words[0], LOST)
    except DBAPIError as error:
        log.warning("job row %s: not finished yet: %s", words[0], type(error.orig).__name__)
        return False
    return True


class Heart:
    """Renews the lease, and learns what has become of the job."""

    SECONDS = 2.0

    def __init__(self, job: Claimed) -> None:
        self._job = job
        self._last = time.monotonic()

    def beat(self, now: bool) -> jobs.Beat | None:
        """Beat when it is time; None: not yet, or the database did not answer and the next beat will tell."""
        if not now and time.monotonic() - self._last < self.SECONDS:
            return None
        self._last = time.monotonic()
        try:
            with transaction() as session:
                return jobs.heartbeat(session, self._job.id, self._job.token)
        except DBAPIError as error:
            log.warning("job %s: no heartbeat: %s", self._job.key, type(error.orig).__name__)
            return None

    def check(self) -> None:
        """Beat while there is no spider yet.

        Raises:
            Ended: stop was asked for, the job is not ours, or the worker shuts down.

        """
        if signals.closing() and not settings().drain_seconds:
            raise Ended(SHUTDOWN)
        beat = self.beat(False)
        if beat is not None and (beat.stop or not beat.mine):
            raise Ended(CANCELLED)


def _finish(job: Claimed, recorder: Recorder, reason: str) -> None:
    deadline = time.monotonic() + FINISH_SECONDS
    while time.monotonic() < deadline:
        try:
            if recorder.flush():
                with transaction() as session:
                    mine = jobs.finish(session, job.id, job.token, reason)
                log.info("job %s: %s", job.key, reason if mine else "was not ours any more")
                return
        except DBAPIError as error:
            log.warning("job %s: not finished yet: %s", job.key, type(error.orig).__name__)
        time.sleep(1)
    log.error("job %s: the database did not take its end; its lease will expire", job.key)
