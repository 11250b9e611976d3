"""A forked spider is what a started one is; nothing of it is left; without a template there is another way."""

import gzip
import json
import os
import select
import signal
import subprocess
import sys
import venv as venvs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.keys import JobKey
from app.services.jobs import Claimed
from tests.platform import until
from worker import runner, warm
from worker.process import Child, Running
from worker.warm import Nursery

# What is imported beforehand is left out: it would have to be there. json is, as most of the standard library.
SHOW = """
import atexit, json, locale, logging, os, random, resource, signal, socket, sys, threading, time, warnings
import own
print(json.dumps({
    "environ": dict(os.environ), "argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "own": own.__file__,
    "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:-1], "stdin": sys.stdin.read(),
    "session": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()], "name": __name__, "file": __file__,
    "main": sys.modules["__main__"].__file__, "flags": list(sys.flags), "executable": sys.executable,
    "signals": {n: str(signal.getsignal(n)).partition(" at ")[0] for n in range(1, 32)}, "threads": threading.active_count(),
    "blocked": [int(n) for n in signal.pthread_sigmask(0, ())], "umask": os.umask(0), "prefix": sys.prefix,
    "limits": [resource.getrlimit(n) for n in range(10)], "timeout": socket.getdefaulttimeout(), "tz": time.tzname,
    "encodings": [sys.stdout.encoding, sys.stdout.write_through, sys.stdout.line_buffering, locale.getpreferredencoding()],
    "handlers": len(logging.root.handlers), "orig": sys.orig_argv,
    "reactor": "twisted.internet.reactor" in sys.modules, "entrypoint": "sh_scrapy" in sys.modules,
}), flush=True)
"""
NURSERY = Nursery()


@pytest.fixture(scope="module", autouse=True)
def nursery() -> None:
    if not NURSERY.is_alive():
        NURSERY.start()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtualenv without anything in it, and a project with a module of its own."""
    base = tmp_path_factory.mktemp("warm")
    venvs.create(base / "venv", symlinks=True)
    (base / "code").mkdir()
    (base / "code" / "own.py").write_text("")
    return base


def script(folder: Path, code: str) -> str:
    file = folder / "venv" / "bin" / f"script-{abs(hash(code))}"
    if not file.exists():  # one that runs may just be reading it
        file.write_text(f"#!{folder}/venv/bin/python\n{code}")
        file.chmod(0o755)
    return str(file)


def fork(folder: Path, code: str, cwd: Path, **env: str) -> warm.Fork:
    child = warm.start(folder / "venv", script(folder, code), [folder / "code"], env_of(folder, env), cwd)
    assert child is not None
    return child


def env_of(folder: Path, more: dict[str, str]) -> dict[str, str]:
    return {"PATH": f"{folder}/venv/bin:/usr/bin:/bin", "PYTHONPATH": str(folder / "code"), "HOME": "/tmp",
            "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", **more}  # fmt: skip


def said(child: Running, descriptor: int | None = None) -> str:
    """All that it says until it ends."""
    text, source = b"", child.stdout if descriptor is None else descriptor
    while True:
        assert select.select([source], [], [], 30)[0]
        data = os.read(source, 1 << 16)
        if not data:
            return text.decode()
        text += data


def test_a_fork_is_what_a_fresh_start_is(folder: Path, tmp_path: Path) -> None:
    shown: list[dict[str, Any]] = []
    for make in ("fork", "fresh"):
        env = {"MARK": "ü", "TZ": "Asia/Tokyo"}
        if make == "fork":
            child: Running = fork(folder, SHOW, tmp_path, **env)
        else:
            child = Child([script(folder, SHOW)], env_of(folder, env), tmp_path)
        shown.append(json.loads(said(child)))
        assert child.end() == 0
        child.close()
    forked, fresh = shown
    # The kernel's own variable of a started process, and how its interpreter was found.
    assert fresh["orig"][-1] == forked["orig"][-1]
    for name in fresh.keys() - {"orig"}:
        assert forked[name] == fresh[name], name


ENDS = """
import atexit, gzip, json, threading, time
class End:
    def __init__(self, word): self.word = word
    def __del__(self): print(json.dumps(self.word), flush=True)
file = open("left", "w")
file.write("kept")
json.packed = gzip.open("packed", "wt")  # where no module of the job's holds it
json.packed.write("kept")
def waits():
    try: yield
    finally: print(json.dumps("generator"), flush=True)
waiting = waits()
next(waiting)
end = End("object")
loop = [End("in a circle")]
loop.append(loop)
atexit.register(print, "exit handler", flush=True)
threading.Thread(target=lambda: (time.sleep(0.2), print("thread", flush=True))).start()
"""


def both(folder: Path, code: str, place: Path) -> Iterator[tuple[Running, Path]]:
    """A fresh start and a fork, each in a folder of its own."""
    for name in ("fresh", "fork"):
        cwd = place / name
        cwd.mkdir()
        if name == "fork":
            yield fork(folder, code, cwd), cwd
        else:
            yield Child([script(folder, code)], env_of(folder, {}), cwd), cwd


def test_its_end_is_that_of_a_fresh_start(folder: Path, tmp_path: Path) -> None:
    """Threads, exit handlers, then what the job's modules hold: an open file is written out."""
    (folder / "code" / "ends.py").write_text(ENDS)
    for child, cwd in both(folder, "import ends", tmp_path):
        words = said(child).splitlines()
        assert words[:2] == ["thread", "exit handler"]
        assert sorted(words[2:]) == ['"generator"', '"in a circle"', '"object"']
        assert child.end() == 0
        child.close()
        assert gzip.decompress((cwd / "packed").read_bytes()) == (cwd / "left").read_bytes() == b"kept"


# Nothing here notices the interpreter's end, so it does not come to it.
PLAIN = """
import atexit, ctypes, io, json, threading, time
json.left = open("left", "w")  # where no module of the job's holds it
json.left.write("kept")
below = io.BufferedWriter(io.FileIO("wrapped", "w"))
above = io.TextIOWrapper(below)
above.write("kept")
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
c.fputs(b"kept", ctypes.c_void_p(c.fopen(b"left-in-c", b"w")))
atexit.register(print, "exit handler", flush=True)
threading.Thread(target=lambda: (time.sleep(0.2), print("thread", flush=True))).start()
raise SystemExit(7)
"""


def test_a_plain_end_is_that_of_a_fresh_start(folder: Path, tmp_path: Path) -> None:
    for child, cwd in both(folder, PLAIN, tmp_path):
        assert said(child).splitlines() == ["thread", "exit handler"] and said(child, child.stderr) == ""
        assert child.end() == 7
        child.close()
        assert [(cwd / name).read_text() for name in ("left", "wrapped", "left-in-c")] == ["kept"] * 3


def test_a_thread_that_goes_on_ends_quietly(folder: Path, tmp_path: Path) -> None:
    code = "import threading, time\ndef ticks():\n    while True: yield time.sleep(0.001)\n"
    code += "threading.Thread(target=lambda: list(ticks()), daemon=True).start()"
    child = fork(folder, code, tmp_path)
    assert said(child) == said(child, child.stderr) == ""
    assert child.end() == 0
    child.close()


def test_a_failing_finalizer_is_told(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, "class End:\n    def __del__(self): 1 / 0\nend = End()", tmp_path)
    told = said(child, child.stderr)
    assert told.startswith("Exception ignored in: <function End.__del__") and "ZeroDivisionError" in told
    assert child.end() == 0
    child.close()


def test_each_fork_has_its_own_chance(folder: Path, tmp_path: Path) -> None:
    numbers = set()
    for _ in range(3):
        child = fork(folder, "import random, uuid; print(random.random(), uuid.uuid4())", tmp_path)
        numbers.add(said(child))
        child.end()
        child.close()
    assert len(numbers) == 3


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0), ("import sys; sys.exit(3)", 3), ("raise SystemExit('words')", 1), ("1/0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9), ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(9)", -15),
        ("import atexit, os; atexit.register(os._exit, 5)", 5),
    ],
)  # fmt: skip
def test_how_it_ended_is_told(folder: Path, tmp_path: Path, code: str, status: int) -> None:
    child = fork(folder, code, tmp_path)
    assert select.select([child.ended_fd], [], [], 20)[0] and child.exited()
    assert child.end() == status
    child.close()


def test_both_outputs_are_its_own(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, "import sys, os; print('out'); os.system('echo shell'); 1/0", tmp_path)
    assert said(child) == "out\nshell\n"
    assert said(child, child.stderr).endswith("ZeroDivisionError: division by zero\n")
    child.end()
    child.close()


FAMILY = """
import os, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
pids = [subprocess.Popen([sys.executable, "-c", code], start_new_session=own).pid for own in (False, True)]
if (orphan := os.fork()) == 0:
    os.setsid()
    if (pid := os.fork()) == 0:
        time.sleep(60)
    os._exit(0)
os.waitpid(orphan, 0)
print(*pids, flush=True)
time.sleep(60)
"""


def family(child: warm.Fork) -> list[psutil.Process]:
    """The spider and all its helpers, orphans too."""
    select.select([child.stdout], [], [], 20)
    return until(
        lambda: len(found := psutil.Process(child._keeper_pid).children(recursive=True)) == 4 and found
    )


def dead(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def test_nothing_is_left_of_it(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, FAMILY, tmp_path)
    members = family(child)
    assert child.memory() > 20 << 20 and not child.exited()
    assert child.end() == -9
    assert dead(members)
    child.close()


def test_its_helpers_outlive_it_until_it_is_ended(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, FAMILY, tmp_path)
    members = family(child)
    child.terminate()
    until(child.exited)
    assert not dead(members)
    assert child.end() == -15 and dead(members)
    child.close()


def test_it_ends_with_the_slot_that_started_it(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, FAMILY, tmp_path)
    members = family(child)
    child._keeper.close()  # as when the slot's process is killed
    until(lambda: dead(members))
    child.close()


def test_it_ends_with_its_keeper(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, "import time; print(1, flush=True); time.sleep(60)", tmp_path)
    assert select.select([child.stdout], [], [], 20)[0]
    os.kill(child._keeper_pid, signal.SIGKILL)
    until(child.exited)
    assert child.end() == -9
    until(lambda: not psutil.pid_exists(child.pid) or dead([psutil.Process(child.pid)]))
    child.close()


def test_it_outlives_its_template_and_the_next_has_another(folder: Path, tmp_path: Path) -> None:
    child = fork(folder, "import time; print(1, flush=True); time.sleep(1); print(2)", tmp_path)
    template = NURSERY._templates[str(folder / "venv")].process
    template.send_signal(signal.SIGTERM)
    until(lambda: str(folder / "venv") not in NURSERY._templates)
    assert said(child) == "1\n2\n" and child.end() == 0
    child.close()
    NURSERY._failed.clear()  # it would be left alone for a minute
    child = fork(folder, "print(3)", tmp_path)
    assert said(child) == "3\n" and child.end() == 0
    child.close()


def test_one_template_serves_many_at_once(folder: Path, tmp_path: Path) -> None:
    children = [fork(folder, "import time; time.sleep(0.5); print('x')", tmp_path) for _ in range(8)]
    template = NURSERY._templates[str(folder / "venv")].process.pid
    keepers = psutil.Process(template).children()
    assert {child._keeper_pid for child in children} <= {keeper.pid for keeper in keepers}
    for child in children:
        assert said(child) == "x\n" and child.end() == 0
        child.close()


@pytest.mark.parametrize("name", ["json.py", "sitecustomize.py", "socket", "select.so"])
def test_a_project_that_hides_a_module_is_started_afresh(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert warm.start(folder / "venv", script(folder, ""), [tmp_path], env_of(folder, {}), tmp_path) is None


def test_without_a_template_there_is_no_fork_and_soon_it_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    for venv in (tmp_path, tmp_path / "none"):
        assert warm.start(venv, "script", [], {}, tmp_path) is None
        assert warm.start(venv, "script", [], {}, tmp_path) is None
    assert NURSERY._failed.keys() == {str(tmp_path)}
    NURSERY._failed.clear()


def test_what_an_interpreter_must_read_itself_is_no_fork() -> None:
    assert warm.possible({"MARK": "1", "SCRAPY_X": "2", "HTTP_PROXY": ""})
    for name in (
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "LD_PRELOAD",
        "LC_ALL",
        "MALLOC_ARENA_MAX",
        "AIOHTTP_NO_EXTENSIONS",
    ):
        assert not warm.possible({name: "1"})


def test_large_requests_and_odd_text(folder: Path, tmp_path: Path) -> None:
    child = fork(
        folder,
        "import os; print(len(os.environ['BIG']), os.environ['ODD'])",
        tmp_path,
        BIG="x" * 300_000,
        ODD="ü\n\U0001f600",
    )
    assert said(child) == "300000 ü\n\U0001f600\n"
    child.end()
    child.close()


def test_an_idle_template_ends(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "venv"
    other.symlink_to(folder / "venv")
    monkeypatch.setattr(warm, "IDLE_SECONDS", 0.1)
    child = warm.start(other, script(folder, "print(1)"), [], env_of(folder, {}), tmp_path)
    assert child is not None and said(child) == "1\n"
    child.end()
    child.close()
    until(lambda: str(other) not in NURSERY._templates, 20)
    assert str(other) not in NURSERY._failed


def test_templates_end_with_the_worker(folder: Path) -> None:
    code = f"if True:\n    import threading, time\n    from worker import warm\n    warm.Nursery().start()\n    from pathlib import Path\n    child = warm.start(Path({str(folder / 'venv')!r}), {script(folder, 'import time; time.sleep(60)')!r}, [], {{}}, Path('/'))\n    print(child.pid, child._keeper_pid, flush=True)\n    time.sleep(60)"
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        family = psutil.Process(worker.pid).children(recursive=True)
        assert len(family) == 3  # template, keeper, spider
        worker.kill()
    until(lambda: dead(family))


@pytest.mark.parametrize("environment", [{"PYTHONHASHSEED": "1"}, {}])
def test_what_no_template_can_fork_is_started_afresh(
    folder: Path, tmp_path: Path, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("venv/bin", "code"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(folder / "venv" / "bin" / "python")
    command = tmp_path / "venv" / "bin" / "start-crawl"
    command.write_text(f"#!{folder}/venv/bin/python\nimport sys; sys.exit(3)")
    command.chmod(0o755)
    (tmp_path / "code" / "json.py").write_text("")  # the template has one of its own
    job = Claimed(1, JobKey(1, 1, 1), "t", "s", 1, 2, 1, {}, {}, environment, None, [])
    with caplog.at_level("INFO"):
        child = runner._start(job, tmp_path / "venv", [tmp_path / "code"], env_of(folder, {}), tmp_path)
    assert isinstance(child, Child) and "job 1/1/1: started afresh" in caplog.text
    assert said(child) == "" and child.end() == 3
    child.close()
