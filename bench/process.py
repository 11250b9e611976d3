"""Servers as child processes: start, wait until they answer, end every one of them by its id."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

OURS = ("CRAWLDOCK_", "DATABASE_URL", "REDIS_URL", "SCRAPY", "SHUB_", "PYTHON", "VIRTUAL_ENV")


class Timeout(Exception):
    """Something that was waited for did not come."""


def say(text: str) -> None:
    """Tell how far we are; the table alone goes to stdout."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what steers the measured programs, plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | dict(extra)


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(what: str, true: Callable[[], bool], *, seconds: float, every: float) -> float:
    """Poll until ``true()``; the clock's time at which it was.

    Raises:
        Timeout: it did not become true in ``seconds``.

    """
    end = time.perf_counter() + seconds
    while not true():
        if time.perf_counter() > end:
            raise Timeout(f"no {what} after {seconds:.0f} s")
        time.sleep(every)
    return time.perf_counter()


def run(argv: Sequence[str], *, folder: Path, seconds: float = 300) -> tuple[float, str]:
    """Run a program to its end; how long it took, and what it printed.

    Raises:
        RuntimeError: it failed; the message holds the end of its complaints.
        subprocess.TimeoutExpired: it took longer than ``seconds``, and was killed.

    """
    began = time.perf_counter()
    done = subprocess.run(
        argv,
        cwd=folder,
        env=environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        start_new_session=True,
    )
    took = time.perf_counter() - began
    if done.returncode != 0:
        said = "\n".join(done.stderr.splitlines()[-20:])
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}:\n{said}")
    return took, done.stdout


def curl(url: str, *options: str) -> list[str]:
    """A curl command that fails when the answer does, and prints how many bytes came."""
    quiet = ("--silent", "--show-error", "--fail", "--noproxy", "*", "--output", "/dev/null")
    return ["curl", *quiet, "--write-out", "%{size_download}", *options, url]


class Child:
    """A program in a session of its own, its output in a file; a context manager that ends it."""

    def __init__(
        self, argv: Sequence[str], *, folder: Path, env: Mapping[str, str], grace: float = 20
    ) -> None:
        self.log = folder / f"{Path(argv[0]).name}-{time.monotonic_ns()}.log"
        self.grace = grace
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def ready(self, url: str, *, seconds: float = 60) -> None:
        """Wait until ``url`` answers 200.

        Raises:
            Timeout: it did not, or the program ended; the message holds the end of its output.

        """

        def answers() -> bool:
            if self.popen.poll() is not None:
                raise Timeout(f"ended with {self.popen.returncode}")
            try:
                return httpx.get(url, timeout=5, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(f"answer from {url}", answers, seconds=seconds, every=0.1)
        except Timeout as error:
            raise Timeout(f"{error}; its output ended with:\n{self.tail()}") from None

    def tail(self, lines: int = 30) -> str:
        """The end of what the program printed."""
        text = self.log.read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """Ask it to end; kill what is left of it and of all it has started."""
        family = self._family()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(self.grace)
            except subprocess.TimeoutExpired:
                family = self._family() or family
                say(f"{self.popen.args!r} did not end in {self.grace:.0f} s, killing it")
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()
        _, alive = psutil.wait_procs(family, timeout=2)
        for process in alive:  # psutil compares the start time too: never a stranger
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
