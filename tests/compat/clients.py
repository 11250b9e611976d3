"""Virtualenvs of the public clients, and a Python that runs in one of them."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from tests.platform import KEY, ROOT, Platform

SERVE = Path(__file__).parent / "serve.py"
SECONDS = 60  # a client that cannot get on tries again for hours


def build(name: str, folder: Path) -> Path:
    """The `bin` folder of the virtualenv of a dependency group, as the lock file has it.

    One process builds, the others wait for it; the mark is written last.
    """
    target = folder / name
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            command = [find_uv_bin(), "sync", "--frozen", "--quiet", "--only-group", name]
            env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(target), "UV_PYTHON_DOWNLOADS": "never"}
            subprocess.run(
                [*command, "--python", sys.executable, "--project", str(ROOT)], env=env, check=True
            )
            (target / ".complete").touch()
    return target / "bin"


def requirements(group: str) -> str:
    """A dependency group as a requirements file, every version pinned by the lock file."""
    command = [find_uv_bin(), "export", "--frozen", "--quiet", "--only-group", group, "--no-header"]
    done = subprocess.run(
        [*command, "--no-annotate", "--no-hashes", "--project", str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


class Program:
    """A program of a client's virtualenv, run in a folder of the test's own, which is its home too."""

    def __init__(self, path: Path, folder: Path, **env: str) -> None:
        self.path = path
        self.folder = folder
        self.env = {"PATH": f"{path.parent}:{os.environ['PATH']}", "HOME": str(folder), **env}

    def run(self, *args: str, typed: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; ``typed`` is what the user types, ``env`` more variables."""
        return subprocess.run(
            [self.path, *args], cwd=self.folder, env=self.env | env, input=typed, capture_output=True, text=True,
            timeout=100, check=False,
        )  # fmt: skip

    def __call__(self, *args: str, check: bool = True, typed: str = "", **env: str) -> str:
        """All it says; without ``check`` it may fail."""
        done = self.run(*args, typed=typed, **env)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def lines(self, *args: str, **env: str) -> list[Any]:
        """The JSON lines it prints."""
        done = self.run(*args, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


class Raised(Exception):
    """What the code in the client's Python raised: its type and text, and the traceback from there."""

    def __init__(self, said: str, trace: str) -> None:
        super().__init__(f"{said}\n\n{trace}")
        self.said = said


class Python:
    """A Python in a client's virtualenv, started when it is first asked.

    Called with the body of a function, it returns what the function returns. The function sees ``client``
    (ScrapinghubClient), ``hs`` (HubstorageClient), ``connection`` (Connection), and whatever is given by name;
    a given ``project`` is the ScrapinghubClient's project, and ``number`` then its id.
    """

    def __init__(self, bin_folder: Path, platform: Platform, folder: Path) -> None:
        self.bin = bin_folder
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "KEY": KEY, "URL": platform.url}
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, code: str, **given: Any) -> Any:
        __tracebackhide__ = True
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process and self.process.stdin and self.process.stdout
        call = {"code": textwrap.dedent(code).strip("\n"), "given": given}
        print(json.dumps(call), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.stop()
            raise AssertionError(f"no answer within {SECONDS} s: {self._said()}")
        line = self.process.stdout.readline()
        assert line, f"the client's Python died: {self._said()}"
        answer = json.loads(line)
        if "raised" in answer:
            error = answer["raised"]
            raise Raised(f"{error['type']}: {error['text']}", error["trace"])
        return answer["returned"]

    def error(self, code: str, **given: Any) -> str:
        """Call code that must raise; returns the type of the exception, a colon, and its text."""
        try:
            returned = self(code, **given)
        except Raised as raised:
            return raised.said
        raise AssertionError(f"no exception; returned {returned!r}")

    def _start(self) -> None:
        with (self.folder / "stderr").open("a") as said:
            self.process = subprocess.Popen(
                [self.bin / "python", "-X", "faulthandler", SERVE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=self.env,
                cwd=self.folder,
                text=True,
            )

    def _said(self) -> str:
        return (self.folder / "stderr").read_text()[-3000:]

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            assert self.process.stdin and self.process.stdout
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None
