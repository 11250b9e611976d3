"""What a pool child hears: tried in real children of a process that forks them as the pool does."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

HEAD = """
import os, select, signal, sys, time
from worker import signals

def readable(descriptor, seconds=20):
    return bool(select.select([descriptor], [], [], seconds)[0])
"""


def run(code: str) -> list[str]:
    """Run code in a process of its own; returns the lines it printed."""
    command = [sys.executable, "-c", HEAD + textwrap.dedent(code)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout.split("\n")[:-1]


def test_a_signal_makes_a_child_look_until_it_has_looked() -> None:
    assert run("""
        signals.enter_child()
        print(readable(signals.look_fd(), 0))
        os.kill(os.getpid(), signal.SIGURG)
        print(readable(signals.look_fd()))
        signals.clear_look()
        print(readable(signals.look_fd(), 0))
    """) == ["False", "True", "False"]  # fmt: skip


def test_a_signal_just_before_the_wait_ends_it() -> None:
    # Signal and wait within one call of the interpreter's: no handler written in Python has its turn between them.
    assert run("""
        import functools, operator
        signals.enter_child()
        send = functools.partial(os.system, f"kill -URG {os.getpid()}")
        wait = functools.partial(select.select, [signals.look_fd()], [], [], 0)
        sent, (ready, _, _) = map(operator.call, [send, wait])
        print(sent, ready == [signals.look_fd()])
    """) == ["0 True"]  # fmt: skip


def test_any_number_of_signals_does_no_harm() -> None:
    assert run("""
        signals.enter_child()
        for _ in range(70_000):  # more than a pipe holds
            os.kill(os.getpid(), signal.SIGURG)
        signals.clear_look()
        print(readable(signals.look_fd(), 0))
    """) == ["False"]  # fmt: skip


def test_a_signal_reaches_one_child_alone() -> None:
    assert run("""
        def child(seconds):
            said, says = os.pipe()
            if (pid := os.fork()) == 0:
                signals.enter_child()
                os.write(says, b"up")
                os._exit(readable(signals.look_fd(), seconds))
            os.read(said, 2)
            return pid
        one, two = child(20), child(2)
        os.kill(one, signal.SIGURG)
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (one, two)])
    """) == ["[1, 0]"]  # fmt: skip


def test_before_it_is_ready_a_child_takes_no_harm() -> None:
    assert run("""
        os.kill(os.getpid(), signal.SIGURG)
        print("alive")
    """) == ["alive"]  # fmt: skip


ENDS = """
if os.fork() == 0:
    signals.enter_child()
    print(signals.closing(), flush=True)
    print(readable(signals.closing_fd()), signals.closing(), flush=True)
    os._exit(0)
time.sleep(0.5)
"""


def test_children_learn_that_the_worker_closes() -> None:
    assert run(ENDS + "signals.close()\nsignals.close()\nos.wait()") == ["False", "True True"]


def test_children_learn_that_the_worker_is_dead() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + ENDS + "os.kill(os.getpid(), 9)"], cwd=ROOT, check=False,
        stdout=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-9, "False\nTrue True\n")
