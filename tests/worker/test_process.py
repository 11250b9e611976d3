"""Child processes: what they inherit, how they end, and that nothing of them is left."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.platform import until
from worker.process import Child, describe_exit, kill_left_in

ROOT = Path(__file__).parent.parent.parent


@contextlib.contextmanager
def running(code: str, folder: Path, **env: str) -> Iterator[Child]:
    """A child that runs Python ``code``."""
    child = Child([sys.executable, "-c", code], {"PATH": os.environ["PATH"], **env}, folder)
    try:
        yield child
    finally:
        child.kill()
        until(child.exited)
        child.close()


def output(descriptor: int) -> str:
    """The next that a descriptor has to say."""
    assert select.select([descriptor], [], [], 20)[0]
    return os.read(descriptor, 100_000).decode()


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
FAMILY = f"""
import subprocess, sys
helpers = [subprocess.Popen([sys.executable, "-c", {DEAF!r}], stdout=subprocess.PIPE, start_new_session=own)
           for own in (False, True)]
for helper in helpers: helper.stdout.readline()
print(*[helper.pid for helper in helpers], flush=True)
helper.wait()
"""


def test_a_child_has_its_own_session_and_nothing_but_what_it_is_given(tmp_path: Path) -> None:
    code = """if True:
        import json, os, sys
        print(json.dumps([os.getsid(0), os.getpgid(0), dict(os.environ), os.getcwd(), sys.stdin.read(),
                          sorted(map(int, os.listdir("/proc/self/fd")))[:-1]]))"""
    with running(code, tmp_path, MARK="ü") as child:
        sid, pgid, env, cwd, stdin, descriptors = json.loads(output(child.stdout))
        assert (sid, pgid, stdin, cwd) == (child.pid, child.pid, "", str(tmp_path))
        assert {name: env[name] for name in env if not name.startswith("LC_")} == {
            "PATH": os.environ["PATH"], "MARK": "ü",
        }  # fmt: skip
        assert descriptors == [0, 1, 2]


def test_signals_that_we_ignore_or_block_reach_a_child(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        code = "import signal; print(signal.getsignal(2).__name__, signal.pthread_sigmask(0, ()))"
        with running(code, tmp_path) as child:
            assert output(child.stdout) == "default_int_handler set()\n"
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGINT, before)


def test_the_end_of_a_child_is_seen(tmp_path: Path) -> None:
    with running("raise SystemExit(3)", tmp_path) as child:
        assert select.select([child.ended_fd], [], [], 20)[0]
        assert child.exited()
        child.terminate()  # comes too late, and does no harm
        assert child.end() == 3


def test_output_is_read_without_blocking(tmp_path: Path) -> None:
    with running(SLEEPER, tmp_path) as child:
        assert output(child.stdout) == "up\n"
        with pytest.raises(BlockingIOError):
            os.read(child.stdout, 1)
        with pytest.raises(BlockingIOError):
            os.read(child.stderr, 1)


def test_terminate_asks_the_child_alone(tmp_path: Path) -> None:
    helper = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); {SLEEPER}"
    with running(helper, tmp_path) as child:
        until(lambda: len(psutil.Process(child.pid).children()) == 1)
        (left,) = psutil.Process(child.pid).children()
        child.terminate()
        until(child.exited)
        assert alive(left.pid)
    until(lambda: not alive(left.pid))


def test_kill_ends_the_whole_group(tmp_path: Path) -> None:
    with running(FAMILY, tmp_path) as child:
        same, own = map(int, output(child.stdout).split())
        child.kill()
        assert child.end() == -signal.SIGKILL
        until(lambda: not alive(same))
        assert alive(own)  # it has a session of its own: kill_descendants is for that
        os.kill(own, signal.SIGKILL)


def adopter(code: str, family: str, folder: Path) -> str:
    """Run ``code`` in a process that adopts orphans, as a pool child does, with a ``child`` that has spoken."""
    head = f"""if True:
        import os, pathlib, select, sys, psutil
        from worker.process import *
        adopt_orphans()
        child = Child([sys.executable, "-c", {family!r}], {{}}, pathlib.Path({str(folder)!r}))
        select.select([child.stdout], [], [])
        said = os.read(child.stdout, 1000).decode()
    """
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return done.stdout


def test_kill_descendants_finds_those_with_a_session_of_their_own(tmp_path: Path) -> None:
    code = """
        child.end()
        kill_descendants()
        kill_descendants()  # there is nothing left to do, and it returns
        assert not psutil.Process().children(recursive=True)
        print(said)"""
    pids = list(map(int, adopter(code, FAMILY, tmp_path).split()))
    assert len(pids) == 2 and not any(map(alive, pids))


HOG = "data = bytearray(b'x') * (60 << 20); " + SLEEPER


@pytest.mark.parametrize(("own", "told"), [(False, True), (True, True), (True, False)])
def test_memory_counts_the_whole_family(tmp_path: Path, own: bool, told: bool) -> None:
    """A helper whose parent has gone is adopted, and counts too."""
    family = f"""if True:
        import os, subprocess, sys
        if {own} and os.fork() == 0:
            subprocess.Popen([sys.executable, "-c", {HOG!r}], start_new_session=True)
            os._exit(0)
        if not {own}:
            subprocess.Popen([sys.executable, "-c", {HOG!r}])
        import time; time.sleep(60)"""
    code = f"""
        import worker.process
        worker.process._CHILDREN_TOLD &= {told}
        print(child.memory() >> 20)
        child.end()
        kill_descendants()
        print(memory_of(os.getpid()))"""
    before, after = map(int, adopter(code, family, tmp_path).split())
    assert 60 < before < 200
    assert after == 0


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = f"""if True:
        import pathlib, sys, time
        from worker.process import Child
        print(Child([sys.executable, "-c", {DEAF!r}], {{}}, pathlib.Path({str(tmp_path)!r})).pid, flush=True)
        time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    until(lambda: not alive(pid))


def test_what_lives_in_a_folder_is_killed_wherever_it_went(tmp_path: Path) -> None:
    folder, other = tmp_path / "one", tmp_path / "one-more"
    folder.mkdir()
    other.mkdir()
    with (
        running(SLEEPER, tmp_path, HOME=str(folder)) as at_home,
        running(SLEEPER, folder) as inside,
        running(SLEEPER, other, HOME=str(other)) as stranger,
    ):
        assert {output(child.stdout) for child in (at_home, inside, stranger)} == {"up\n"}
        kill_left_in(folder)
        until(at_home.exited)
        until(inside.exited)
        assert not stranger.exited()


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Child([str(tmp_path / "nothing")], {}, tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "killed by signal 9 (SIGKILL)"),
        (-11, "killed by signal 11 (SIGSEGV)"),
        (-63, "killed by signal 63 (unknown)"),
    ],
)
def test_exit_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words


def test_a_child_ends_at_once_when_its_output_is_not_read(tmp_path: Path) -> None:
    with running("print('x' * 10_000_000)", tmp_path) as child:
        output(child.stdout)
        assert child.end() == -signal.SIGKILL
