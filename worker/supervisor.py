"""The one loop over a running spider: its pipe, its output, its end, our signals, and the limits."""

import fcntl
import os
import selectors
import time
from collections.abc import Callable

from app.services.jobs import CANCEL_TIMEOUT, CANCELLED, Beat, Claimed
from app.settings import settings
from worker import fifo, signals
from worker.environ import memory_mb
from worker.process import Running
from worker.recorder import ERROR, INFO, Recorder

TICK_SECONDS = 0.1
MEMORY_SECONDS = 1.0
READ_BYTES = 1 << 20
GATHER_SECONDS = 0.05  # between two looks at the pipe: waking up for each message costs more than the message
ENTRY_BYTES = 64 << 10  # of one log entry put together from a process' output

# Close reasons that are ours (contract 7.5).
FAILED = "failed"
LOST = "worker lost"
OOM = "killed by oom"
SHUTDOWN = "shutdown"
STALLED = "cancelled (stalled)"
TIME_LIMIT = "cancelled (time limit)"


def _pause(age: float) -> float:
    """Seconds between two samples of a job: people watch a young one, and an old one has many already."""
    return 5.0 if age < 60 else 15.0 if age < 600 else 60.0


class Output:
    """stdout or stderr of a process as log entries (contract 10.5): a line that begins with a space
    continues the entry before it.
    """

    def __init__(self, descriptor: int, level: int, recorder: Recorder) -> None:
        self.descriptor = descriptor
        self._level = level
        self._recorder = recorder
        self._rest = b""
        self._entry: list[str] = []
        self._size = 0
        self._fresh = False

    def read(self) -> int | None:
        """Read what is there: number of bytes, 0 at the end, None when there is nothing yet."""
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except BlockingIOError:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > ENTRY_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            for place in range(0, len(line) or 1, ENTRY_BYTES):  # an empty line ends the entry before it
                self._add(line[place : place + ENTRY_BYTES].decode("utf-8", "replace"))
        return len(data)

    def _add(self, line: str) -> None:
        if not line.startswith((" ", "\t")) or self._size > ENTRY_BYTES:
            self._flush()
        self._entry.append(line)
        self._size += len(line)
        self._fresh = True

    def tick(self) -> None:
        """An entry to which nothing was added since the last tick is complete."""
        if not self._fresh:
            self._flush()
        self._fresh = False

    def _flush(self) -> None:
        if any(self._entry):
            self._recorder.log(self._level, "\n".join(self._entry))
        self._entry, self._size = [], 0

    def finish(self) -> None:
        """Nothing more will come."""
        while self.read():
            pass
        if self._rest:
            self._add(self._rest.decode("utf-8", "replace"))
        self._flush()


class Supervisor:
    """Watches one spider process to its end."""

    def __init__(
        self, job: Claimed, child: Running, pipe: int, recorder: Recorder, beat: Callable[[bool], Beat | None]
    ) -> None:
        """``beat(now)`` renews the lease when it is time, or now; ``pipe`` is the open FIFO."""
        self._child = child
        self._pipe = pipe
        self._recorder = recorder
        self._beat = beat
        self._reader = fifo.Reader()
        self._outputs = [Output(child.stdout, INFO, recorder), Output(child.stderr, ERROR, recorder)]
        self._selector = selectors.DefaultSelector()
        self._urgent = selectors.DefaultSelector()  # without what can be read a little later just as well
        self._came = 0  # bytes that the last look at the pipe has brought
        # With more the spider may have to wait for room. Messages fill half of the pipe's pages at the least.
        self._crowded = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) // 4
        self._sources = {pipe, child.stdout, child.stderr}  # not at their end yet
        self._held = False  # nothing is read from them for now
        self._ending: str | None = None  # why we end it; None: it ends by itself
        self._memory_bytes = memory_mb(job) << 20
        self._started = self._heard = self._weighed = self._sampled = time.monotonic()
        self._most = 0  # bytes of memory since the last sample
        self._silent = True  # nothing has come through the pipe yet
        self._close_at: float | None = None  # when the worker that shuts down stops waiting for us
        self._kill_at: float | None = None

    def watch(self) -> str | None:
        """Watch until the process has ended; returns why we ended it, None when it ended by itself."""
        child = self._child
        urgent = (child.ended_fd, signals.look_fd(), signals.closing_fd())
        for descriptor in (*urgent, *self._sources):
            self._selector.register(descriptor, selectors.EVENT_READ)
        for descriptor in urgent:
            self._urgent.register(descriptor, selectors.EVENT_READ)
        with self._selector, self._urgent:
            while not child.exited():
                self._came = 0
                for ready, _ in self._selector.select(timeout=TICK_SECONDS):
                    self._handle(ready.fd)
                self._tick(time.monotonic())
                if self._came < self._crowded:
                    self._urgent.select(GATHER_SECONDS)
        return self._ending

    def drain(self) -> None:
        """Read what is left, when every process of the job has ended."""
        while self._read_pipe():
            self._recorder.flush()
        for message in self._reader.finish():
            self._recorder.take(message)
        for output in self._outputs:
            output.finish()
        self._sample(time.monotonic())

    def _handle(self, descriptor: int) -> None:
        if descriptor == self._pipe:
            self._read_pipe()
        elif descriptor == signals.look_fd():
            signals.clear_look()
            self._look(now=True)
        elif descriptor == signals.closing_fd():
            for selector in (self._selector, self._urgent):
                selector.unregister(descriptor)
            self._close_at = time.monotonic() + settings().drain_seconds
        for output in self._outputs:
            if output.descriptor == descriptor and output.read() == 0:
                self._selector.unregister(descriptor)
                self._sources.remove(descriptor)

    def _read_pipe(self) -> bool:
        try:
            data = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return False
        self._heard, self._silent = time.monotonic(), False
        self._came += len(data)
        for message in self._reader.feed(data):
            self._recorder.take(message)
        return True

    def _tick(self, now: float) -> None:
        for output in self._outputs:
            output.tick()
        if self._recorder.due():
            self._recorder.flush()
        self._hold_back()
        self._look(now=False)
        if self._close_at is not None and now >= self._close_at:
            self._stop(SHUTDOWN)
        self._check_limits(now)
        if self._kill_at is not None and now >= self._kill_at:
            if self._ending == CANCELLED:
                self._ending = CANCEL_TIMEOUT
            self._child.kill()

    def _hold_back(self) -> None:
        """While the database takes nothing, read nothing: the spider waits when its pipes are full."""
        if self._recorder.full == self._held:
            return
        self._held = self._recorder.full
        for descriptor in self._sources:
            if self._held:
                self._selector.unregister(descriptor)
            else:
                self._selector.register(descriptor, selectors.EVENT_READ)

    def _look(self, now: bool) -> None:
        """Look at the row: it alone says whether to stop."""
        beat = self._beat(now)
        if self._recorder.lost or (beat is not None and not beat.mine):
            # Somebody else has said how this job ended; all that is left is to end its processes.
            self._end_now(LOST)
        elif beat is not None and beat.stop:
            self._stop(CANCELLED)
            if beat.kill:
                self._kill_at = time.monotonic()

    def _check_limits(self, now: float) -> None:
        limit = settings()
        silent = self._silent and self._ending is None
        if silent and now - self._started > limit.job_startup_seconds:
            self._recorder.log(
                ERROR, f"the spider's process said nothing within {limit.job_startup_seconds} s: killed"
            )
            self._end_now(FAILED)
        if limit.job_runtime_seconds and now - self._started > limit.job_runtime_seconds:
            self._stop(TIME_LIMIT)
        if limit.job_silence_seconds and not self._silent and now - self._heard > limit.job_silence_seconds:
            self._stop(STALLED)
        if now - self._weighed >= MEMORY_SECONDS:
            self._weighed = now
            size = self._child.memory()
            self._most = max(self._most, size)
            if now - self._sampled >= _pause(now - self._started):
                self._sample(now)
            if size > self._memory_bytes and self._ending != OOM:
                self._recorder.log(
                    ERROR,
                    f"killed: the job uses {size >> 20} MB of memory, {self._memory_bytes >> 20} are allowed",
                )
                self._end_now(OOM)

    def _sample(self, now: float) -> None:
        if self._most:  # what ended within the first second was never weighed
            self._recorder.sample(self._most)
        self._sampled, self._most = now, 0

    def _stop(self, reason: str) -> None:
        """Ask the spider to close; it has the grace time for it."""
        if self._ending is None:
            self._ending = reason
            self._recorder.log(INFO, f"stopping the spider: {reason}")
            self._kill_at = time.monotonic() + settings().stop_grace_seconds
            self._child.terminate()

    def _end_now(self, reason: str) -> None:
        self._ending = reason
        self._child.kill()
