"""What a pool child hears from outside while it runs a job: "look at your row now" and "we are closing"."""

import os
import select
import signal
from types import FrameType

# Read ends for a runner to wait on. All are made before the pool forks.
_look_r, _look_w = os.pipe()
_open_r, _open_w = os.pipe()
os.set_blocking(_look_r, False)
os.set_blocking(_look_w, False)


def look_fd() -> int:
    """Readable after LOOK_NOW has arrived."""
    return _look_r


def closing_fd() -> int:
    """At its end, hence readable, once the worker shuts down: nobody holds the other end then."""
    return _open_r


def closing() -> bool:
    """Does the worker shut down?"""
    return bool(select.select([_open_r], [], [], 0)[0])


def clear_look() -> None:
    """Forget the signals that have arrived."""
    try:
        while os.read(_look_r, 1024):
            pass
    except BlockingIOError:
        pass


def _look_now(number: int, frame: FrameType | None) -> None:
    """Nothing is left to do: the interpreter wrote into the pipe as the signal arrived. A handler in Python
    runs only between two instructions, hence after the whole wait when the signal comes just before it.
    """


def enter_child() -> None:
    """In a new pool child: pipes of its own for the signal, and no hold on the parent's life line."""
    global _look_r, _look_w
    os.close(_open_w)
    os.close(_look_r)
    os.close(_look_w)
    _look_r, _look_w = os.pipe()
    os.set_blocking(_look_r, False)
    os.set_blocking(_look_w, False)
    signal.set_wakeup_fd(_look_w, warn_on_full_buffer=False)  # full: many are waiting already
    signal.signal(signal.SIGURG, _look_now)


def close() -> None:
    """In the worker's main process: tell all runners that it shuts down."""
    global _open_w
    if _open_w >= 0:
        os.close(_open_w)
        _open_w = -1
