"""Virtualenvs of spiders: one per set of requirements, built once by uv, shared by identical sets."""

import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from subprocess import run

from uv import find_uv_bin

from app.errors import DeployFailed
from app.settings import settings

ROOT = Path(__file__).parent.parent  # pyproject.toml and uv.lock, which pin the default stack
ENTRYPOINT = "scrapinghub-entrypoint-scrapy"  # whatever else a project wants, it reports through this
DONE = ".complete"

Say = Callable[[str], None]
# Runs a command, hands its output to Say line by line, raises DeployFailed when it fails or takes too long.
Runner = Callable[[Sequence[str], dict[str, str], Path, Say], None]


@lru_cache
def stack_requirements() -> str:
    """The default stack with all it needs, pinned and hashed, as the lock file has it."""
    command = [find_uv_bin(), "export", "--frozen", "--quiet", "--only-group", "stack", "--no-header",
               "--no-annotate", "--project", str(ROOT)]  # fmt: skip
    result = run(command, capture_output=True, text=True, env=environment(), check=False, timeout=60)
    if result.returncode != 0:
        raise DeployFailed(f"the default stack cannot be read from the lock file: {result.stderr}")
    return result.stdout


def environment() -> dict[str, str]:
    """What uv, and the build scripts it runs, may know of us: how to reach package indexes, nothing else."""
    names = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in names or name.startswith("UV_") or name.lower().endswith("_proxy")
    }
    kept.pop("UV_PROJECT_ENVIRONMENT", None)
    return {**kept, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def stack_requirement(stack: str | None) -> str | None:
    """``scrapy:2.11`` (contract 4.5) as a requirement; None when the default stack will do."""
    found = re.match(r"scrapy:(\d+\.\d+)", stack or "")
    return f"scrapy=={found[1]}.*" if found else None


def ensure(requirements: str, stack: str | None, say: Say, run_logged: Runner) -> Path:
    """The virtualenv for a set of requirements; built now when this machine has none.

    1. A file lock per set: one process builds, the others wait for it.
    2. The mark is written last. A folder without it was left by a builder that died: it is removed.

    Raises:
        DeployFailed: a requirement cannot be installed; uv's own words are in the log.

    """
    lines = sorted({line.strip() for line in requirements.splitlines() if line.strip()[:1] not in ("", "#")})
    wanted = stack_requirement(stack)
    if stack and not wanted and not stack.startswith("scrapy"):
        say(f"stack {stack} is unknown here: the default stack is used")
    text = "\n".join([stack_requirements(), *lines, wanted or "", sys.version])
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    folder = settings().folder("venvs")
    target = folder / name
    if (target / DONE).exists():
        return target
    with (folder / f"{name}.lock").open("w") as lock:
        _acquire(lock.fileno(), say)
        if not (target / DONE).exists():
            shutil.rmtree(target, ignore_errors=True)
            _build(target, requirements, wanted, say, run_logged)
            (target / DONE).touch()
    return target


def _acquire(lock: int, say: Say) -> None:
    waited = 0.0
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waited > settings().build_seconds:
                raise DeployFailed("another process has been building this virtualenv for too long") from None
            say("")  # whoever waits must not look dead
            time.sleep(0.5)
            waited += 0.5


def _build(target: Path, requirements: str, wanted: str | None, say: Say, run_logged: Runner) -> None:
    uv = find_uv_bin()
    python = str(target / "bin" / "python")
    install = [uv, "pip", "install", "--python", python]

    def step(command: Sequence[str]) -> None:
        run_logged(command, environment(), target, say)

    target.mkdir()
    run_logged(
        [uv, "venv", "--quiet", "--python", sys.executable, str(target), "--clear"],
        environment(),
        target,
        say,
    )
    (target / "stack.txt").write_text(stack_requirements())
    step([*install, "--quiet", "--require-hashes", "-r", str(target / "stack.txt")])
    if requirements.strip() or wanted:
        say("Installing the project's requirements")
        (target / "requirements.txt").write_text(requirements)
        # On top of the stack, in one resolution: what is there stays unless a requirement wants otherwise.
        more = [wanted] if wanted else []
        step([*install, "-r", str(target / "requirements.txt"), *more, ENTRYPOINT])
