"""A child process in its own session: start, interrupt, kill with everything it started, exit → words.

Knows nothing of jobs. Linux only: pidfd, prctl.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CHILDREN_TOLD = Path(f"/proc/self/task/{os.getpid()}/children").exists()  # some kernels do not


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave behind, so that it can end them."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Running:
    """A running child in a session of its own, however it was started.

    ``stdout`` and ``stderr`` can be read without blocking, ``ended_fd`` is readable once it has ended.
    """

    pid: int
    ended_fd: int
    stdout: int
    stderr: int

    def exited(self) -> bool:
        """Has the child itself ended?"""
        raise NotImplementedError

    def terminate(self) -> None:
        """Ask the child, and only it, to close: it ends its own helpers in good order."""
        if not self.exited():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole process group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill what is left of its group; returns the exit status of the child, negative for a signal."""
        raise NotImplementedError

    def end_strays(self) -> None:
        """After ``end``: kill what it started and has left its group."""

    def close(self) -> None:
        """Close the descriptors of stdout and stderr, once read to the end."""
        raise NotImplementedError

    def memory(self) -> int:
        """Resident bytes of the child and all that it has started."""
        raise NotImplementedError


class Child(Running):
    """A child that was started afresh."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start it.

        Raises:
            OSError: the program cannot be executed.

        """
        parent = os.getpid()

        def prepare() -> None:
            # 1. Die with the parent: nobody would read the pipe, renew the lease or end us any more.
            # 2. The parent may have died before 1; then nothing will tell us.
            # 3. Ignored signals stay ignored over exec: Celery's children ignore SIGINT, and what a script
            #    starts in the background SIGQUIT.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(127)
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

        self._popen = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - it takes no lock that a thread of ours may hold
        )
        assert self._popen.stdout and self._popen.stderr
        self.pid = self._popen.pid
        self.ended_fd = os.pidfd_open(self.pid)
        self.stdout = self._popen.stdout.fileno()
        self.stderr = self._popen.stderr.fileno()
        for descriptor in (self.stdout, self.stderr):
            os.set_blocking(descriptor, False)

    def exited(self) -> bool:
        """Has the child itself ended?"""
        return self._popen.poll() is not None

    def end(self) -> int:
        """Kill what is left of its group; returns the exit status of the child, negative for a signal."""
        self.kill()
        status = self._popen.wait()
        os.close(self.ended_fd)
        return status

    def end_strays(self) -> None:
        """Only for a process that has no other children: those who left are ours now, and all end."""
        kill_descendants()

    def close(self) -> None:
        """Close the descriptors of stdout and stderr, once read to the end."""
        for stream in (self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def memory(self) -> int:
        """Resident bytes of every descendant of this process, those that it has adopted too."""
        return memory_of(os.getpid())


def memory_of(pid: int) -> int:
    """Resident bytes of every descendant of a process."""
    total, left = 0, _children(pid)
    while left:
        child = left.pop()
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            total += int(Path(f"/proc/{child}/statm").read_text().split()[1]) * _PAGE_BYTES
            left += _children(child)
    return total


def _children(pid: int) -> list[int]:
    """Ids of a process's children, most times all of them: some may be missed while one of them ends.

    The kernel is asked: to look through every process of the machine, once a second for each job, costs more
    than all else that watching a job does.
    """
    found = []
    with contextlib.suppress(OSError, psutil.Error):
        if not _CHILDREN_TOLD:
            return [child.pid for child in psutil.Process(pid).children()]
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in thread.joinpath("children").read_text().split()]
    return found


def kill_descendants() -> None:
    """Kill and reap every descendant of this process, which has adopted what its child left behind.

    A killed process hands its own children to us, so this goes on until there are none.
    """
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def kill_left_in(folder: Path) -> None:
    """Kill every process whose HOME is the folder, or that is in it: what a dead owner left running.

    A process that was forked shows the variables that its template was started with, but is in its folder.
    """
    marker = b"HOME=" + os.fsencode(folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            place = Path(f"/proc/{process.pid}")
            if marker in place.joinpath("environ").read_bytes().split(b"\0") or place.joinpath(
                "cwd"
            ).samefile(folder):
                process.kill()


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-status} ({name})"


def oom_kills() -> int:
    """How many processes of our control group the kernel has killed for want of memory, if it says so."""
    try:
        line = next(
            row for row in Path("/proc/self/cgroup").read_text().splitlines() if row.startswith("0::")
        )
        events = Path("/sys/fs/cgroup", line[3:].lstrip("/"), "memory.events").read_text()
        return int(next(row for row in events.splitlines() if row.startswith("oom_kill ")).split()[1])
    except (OSError, StopIteration, ValueError):
        return 0
