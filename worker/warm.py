"""Starting a spider by forking it from a process that has Scrapy imported already (``template.py``).

Most of a short job is importing. One template per virtualenv serves all slots of a worker; its parent is
the worker's main process, in which a thread starts it when it is first asked for. A slot asks over a
socket that was made before the pool forked, and hands over one end of a socket of its own: whoever holds
the other end knows at once when the slot is gone.

Knows nothing of jobs.
"""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker import process

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("template.py")
IDLE_SECONDS = 600.0  # a template that nobody asks for so long ends
READY_SECONDS = 10.0  # a start that takes longer is made in the other way; a template imports for one or two
RETRY_SECONDS = 60.0  # a template that could not be made is not tried again for so long
END_SECONDS = 30.0  # that a keeper has to end what is left

# What is read once, when an interpreter, the C library or a module starts: a fork would not notice it.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "OPENSSL_", "SSL_", "TLDEXTRACT_",
                 "AIOHTTP_", "YARL_", "MULTIDICT_", "FROZENLIST_", "PROPCACHE_")  # fmt: skip

# Slots ask on one end, the thread in the worker's main process reads the other. Made before the pool forks.
_ask, _asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@dataclass
class _Template:
    process: subprocess.Popen[bytes]
    control: socket.socket


class Nursery(threading.Thread):
    """Keeps one template per virtualenv, in the worker's main process."""

    def __init__(self) -> None:
        super().__init__(name="nursery", daemon=True)
        self._templates: dict[str, _Template] = {}
        self._failed: dict[str, float] = {}  # virtualenv -> when its template ended early

    def run(self) -> None:
        """Hand each request to the template of its virtualenv, for ever."""
        while True:
            controls = {template.control.fileno(): venv for venv, template in self._templates.items()}
            ready = _ready(_asked.fileno(), *controls)
            for control in ready - {_asked.fileno()}:
                self._end(controls[control])
            if _asked.fileno() in ready:
                data, descriptors, _, _ = socket.recv_fds(_asked, 4096, 1)
                try:
                    self._forward(data.decode(), descriptors)
                except OSError as error:
                    log.warning("no warm start: %s", error)
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)

    def _forward(self, venv: str, descriptors: list[int]) -> None:
        if time.monotonic() - self._failed.get(venv, -RETRY_SECONDS) < RETRY_SECONDS:
            return  # whoever asked sees its socket closed, and does without
        if venv not in self._templates:
            self._templates[venv] = _start(venv)
        socket.send_fds(self._templates[venv].control, [b"!"], descriptors)

    def _end(self, venv: str) -> None:
        """A template has ended: after long idleness, or because it could not be made."""
        template = self._templates.pop(venv)
        template.control.close()
        if template.process.wait() != 0:
            self._failed[venv] = time.monotonic()
            log.warning("warm start: the template of %s ended with %s", venv, template.process.returncode)


def _ready(*descriptors: int, wait: bool = True) -> set[int]:
    """Those that can be read, or are at their end. Unlike select, for descriptors of any number."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if wait else 0)}


def _start(venv: str) -> _Template:
    ours, theirs = socket.socketpair()
    env = {
        "PATH": os.pathsep.join([f"{venv}/bin", "/usr/local/bin", "/usr/bin", "/bin"]),
        "VIRTUAL_ENV": venv,
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
    }
    command = [f"{venv}/bin/python", str(TEMPLATE), str(theirs.fileno()), str(IDLE_SECONDS)]
    with theirs, contextlib.ExitStack() as undo:
        undo.callback(ours.close)
        child = subprocess.Popen(
            command, env=env, cwd="/", pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        undo.pop_all()
    return _Template(child, ours)


def possible(variables: Mapping[str, str]) -> bool:
    """May a process with these variables of the user's be forked? Some are only read at a start."""
    return not any(name.startswith(READ_AT_START) for name in variables)


def start(venv: Path, script: str, path: Sequence[Path], env: Mapping[str, str], cwd: Path) -> "Fork | None":
    """Fork a spider process; None when there is no template, or none that would do.

    1. The request goes to the template's keeper over our own socket; when anything is wrong there, it ends.
    2. "ready" comes back before anything of the spider's has begun. Until we answer, nothing will.

    Raises:
        OSError: it was lost after that.

    """
    ours, theirs = socket.socketpair()
    ours.settimeout(READY_SECONDS)
    begun = False
    try:
        with theirs:
            socket.send_fds(_ask, [str(venv).encode()], [theirs.fileno()])
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        request = {"script": script, "path": [str(each) for each in path], "env": dict(env), "cwd": str(cwd)}
        try:
            line = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(ours, [line], [write for _, write in pipes])
            ours.sendall(line[sent:])
            if _line(ours) != b"ready":
                raise ConnectionError
            begun = True
            ours.sendall(b"!")
            ours.settimeout(END_SECONDS)
            pid = int(_line(ours))
        except BaseException:
            for read, _ in pipes:
                os.close(read)
            raise
        finally:
            for _, write in pipes:
                os.close(write)
    except (OSError, ValueError) as error:  # a time-out is one, and so is the end of the other side
        ours.close()
        if begun:  # it may run for a moment yet: another start would be its second one
            raise OSError("the spider's process was lost while it was forked") from error
        return None
    return Fork(ours, pid, [read for read, _ in pipes])


def _line(line: socket.socket) -> bytes:
    """One line from the keeper; empty at the end."""
    data = b""
    while not data.endswith(b"\n"):
        more = line.recv(1)  # no more than the line: what follows is for later
        if not more:
            return b""
        data += more
    return data.strip()


class Fork(process.Running):
    """A spider that was forked from a template; a keeper between us holds its processes together."""

    def __init__(self, keeper: socket.socket, pid: int, output: Sequence[int]) -> None:
        self.pid = pid
        self.ended_fd = keeper.fileno()
        self.stdout, self.stderr = output
        self._keeper = keeper
        self._status: int | None = None
        self._keeper_pid = _parent(pid)
        for descriptor in output:
            os.set_blocking(descriptor, False)

    def exited(self) -> bool:
        """Has the child itself ended?"""
        if self._status is None and _ready(self._keeper.fileno(), wait=False):
            self._status = self._read_status()
        return self._status is not None

    def _read_status(self) -> int:
        try:
            # Without a keeper the spider is killed too, by the kernel.
            return int(_line(self._keeper) or -signal.SIGKILL)
        except (OSError, ValueError):
            return -signal.SIGKILL

    def end(self) -> int:
        """Have all that is left killed, strays too; returns the exit status, negative for a signal."""
        self.kill()
        with contextlib.suppress(OSError):
            self._keeper.settimeout(END_SECONDS)
            if self._status is None:
                self._status = self._read_status()
            self._keeper.shutdown(socket.SHUT_WR)
            # The word, not the end of the line: a process that was just forked may hold a copy of its end.
            while (word := _line(self._keeper)) not in (b"", b"gone"):
                log.debug("a keeper said %s", word)
        self._keeper.close()
        return -signal.SIGKILL if self._status is None else self._status

    def close(self) -> None:
        """Close the descriptors of stdout and stderr, once read to the end."""
        os.close(self.stdout)
        os.close(self.stderr)

    def memory(self) -> int:
        """Resident bytes of the spider and all it has started."""
        return process.memory_of(self._keeper_pid)


def _parent(pid: int) -> int:
    """The parent of a spider that was just forked, its keeper; 0 when it is gone already."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
