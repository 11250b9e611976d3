"""One build as a story: claim → unpack → virtualenv → list the spiders → make current, or say why not."""

import logging
import os
import selectors
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import orjson
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.errors import CrawldockError, DeployFailed
from app.models import Version
from app.services import declared, versions
from app.settings import settings
from worker import eggs, environ, venvs
from worker.process import Child, describe_exit, kill_left_in

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
INSTALLING = "installing the requirements"
NAME_LENGTH = 255  # of a spider, or of the settings module
SHOWN_LINES = 200  # of a failed child's output
OUTPUT_BYTES = 4 << 20  # of a child that are kept


class BuildLost(CrawldockError):
    """The build is not ours any more: the lease expired, or the version was deleted."""


class BuildLog:
    """What the build says: stored as it grows, which also keeps the lease."""

    def __init__(self, version_id: int) -> None:
        self._version_id = version_id
        self.text = ""
        self._stored = time.monotonic()

    def say(self, line: str) -> None:
        """Add a line; an empty one only says that we are alive."""
        if line:
            self.text += line + "\n"
        if time.monotonic() - self._stored >= (0.3 if line else BEAT_SECONDS):
            self.store()

    def store(self) -> None:
        """Write the log down.

        Raises:
            BuildLost: somebody has ended the build.

        """
        self._stored = time.monotonic()
        with transaction() as session:
            if not versions.log(session, self._version_id, self.text):
                raise BuildLost("the build was ended by somebody else")


def build(version_id: int) -> None:
    """Build a version that waits; returns at once when somebody else builds it."""
    with transaction() as session:
        version = versions.claim_build(session, version_id)
        if version is None:
            return
        session.expunge(version)
    told = BuildLog(version_id)
    try:
        module, spiders = _prepare(version, told)
        schedules = _schedules(version_id, module, spiders)
        told.store()
        with transaction() as session:
            _activate(session, version, module, spiders, schedules, told)
    except BuildLost:
        log.warning("version %s: the build was lost", version_id)
    except CrawldockError as error:
        _fail(version_id, str(error))
    except Exception as error:
        log.exception("version %s", version_id)
        _fail(version_id, f"the platform failed to build the version: {type(error).__name__}")


def _schedules(version_id: int, module: str, spiders: Sequence[str]) -> declared.Named | None:
    """The schedules that the project's yml has, None when it has no list of them."""
    _, path = code_of(version_id)
    data = eggs.project_file(path[0], module, declared.FILE)
    return None if data is None else declared.read(data, spiders)


def _activate(
    session: Session,
    version: Version,
    module: str,
    spiders: Sequence[str],
    schedules: declared.Named | None,
    told: BuildLog,
) -> None:
    """Make the version current, and its schedules true, unless a newer deploy was faster."""
    assert version.id is not None
    if schedules is not None:
        declared.hold(session, version.project_id)
    if not versions.activate(session, version.id, module, spiders) or schedules is None:
        return
    if versions.current(session, version.project_id) == version.id:
        said = declared.apply(session, version.project_id, schedules, version.created_by)
        versions.end_log(session, version.id, "\n".join([told.text.rstrip("\n"), *said, ""]).lstrip("\n"))


def _fail(version_id: int, error: str) -> None:
    with transaction() as session:
        versions.fail(session, version_id, error)


def _prepare(version: Version, told: BuildLog) -> tuple[str, list[str]]:
    """Settings module, spiders and scripts of a version; its code and virtualenv are then on this machine."""
    assert version.id is not None
    _, path = code_of(version.id)
    module = eggs.settings_module(path[0])
    deadline = time.monotonic() + settings().build_seconds

    def run_logged(command: Sequence[str], env: dict[str, str], cwd: Path, say: venvs.Say) -> None:
        run(command, env, cwd, say, deadline, INSTALLING)

    venv = venvs.ensure(version.requirements, version.stack, told.say, run_logged)
    names = [*list_spiders(venv, path, module, told.say), *eggs.scripts(path[0])]
    for name in (module, *names):
        if not 1 <= len(name) <= NAME_LENGTH or "\0" in name:
            raise DeployFailed(f"{name[:50]!r}: a name has 1 to {NAME_LENGTH} characters, none of them NUL")
    return module, names


def code_of(version_id: int) -> tuple[Version, list[Path]]:
    """A version and its unpacked eggs, its own first: what its processes have on their path.

    Raises:
        NotFound: the version was deleted.
        DeployFailed: an egg cannot be unpacked.

    """
    with reading() as session:
        version, files = versions.code(session, version_id)
        session.expunge(version)
    folder = settings().folder("code")
    return version, [eggs.unpack(folder, sha256, partial(_fetch, sha256)) for _, sha256 in files]


def _fetch(sha256: str) -> bytes:
    with reading() as session:
        return versions.egg_data(session, sha256)


def list_spiders(venv: Path, path: Sequence[Path], module: str, say: venvs.Say) -> list[str]:
    """Names of the project's spiders, found by importing them in a child process.

    Raises:
        DeployFailed: the import failed (with the traceback) or takes too long.

    """
    home = Path(tempfile.mkdtemp(prefix="crawldock-list-"))
    env = {
        **environ.base(venv, path, home),
        "SCRAPY_SETTINGS_MODULE": module,
        "SHUB_SETTINGS": orjson.dumps({"project_settings": environ.SAFE_SETTINGS}).decode(),
    }
    try:
        output = run(
            [str(venv / "bin" / "shub-image-info")], env, home, lambda line: say(""),
            time.monotonic() + settings().list_seconds, "listing the spiders",
        )  # fmt: skip
    finally:
        kill_left_in(home)  # a helper with a session of its own
        shutil.rmtree(home, ignore_errors=True)
    for line in reversed(output.splitlines()):  # the project's own prints may stand before it
        try:
            found = orjson.loads(line)
            return sorted({str(name) for name in found["spiders"]})
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    raise DeployFailed(f"the project did not list its spiders:\n{output[-2000:]}")


def run(
    command: Sequence[str], env: dict[str, str], cwd: Path, say: venvs.Say, deadline: float, what: str
) -> str:
    """Run a command to its end, saying its output line by line; returns stdout.

    Args:
        what: what it does, in the words of an error.
        deadline: on the monotonic clock.

    Raises:
        DeployFailed: it failed (with the end of its output) or was not done by ``deadline``; then its
            whole process group is killed.

    """
    limit = deadline - time.monotonic()
    child = Child(command, env, cwd)
    texts = {child.stdout: b"", child.stderr: b""}
    selector = selectors.DefaultSelector()
    for descriptor in (*texts, child.ended_fd):
        selector.register(descriptor, selectors.EVENT_READ)
    in_time = True
    try:
        while not child.exited() and (in_time := time.monotonic() < deadline):
            for ready, _ in selector.select(timeout=0.5):
                if ready.fd in texts:
                    _read(ready.fd, texts, say, selector)
            say("")
    finally:
        selector.close()
        status = child.end()
        for descriptor in texts:
            _read(descriptor, texts, say, None)
        child.close()
    stdout, stderr = (text.decode("utf-8", "replace") for text in texts.values())
    if not in_time or status != 0:
        tail = "\n".join((stdout + stderr).splitlines()[-SHOWN_LINES:])
        how = (
            f"failed: {Path(command[0]).name} {describe_exit(status)}"
            if in_time
            else f"took longer than {limit:.0f} s"
        )
        raise DeployFailed(f"{what} {how}\n{tail}")
    return stdout


def _read(
    descriptor: int, texts: dict[int, bytes], say: venvs.Say, selector: selectors.BaseSelector | None
) -> None:
    """Read what is there; whole lines are said, all is kept, but no more than OUTPUT_BYTES."""
    try:
        while data := os.read(descriptor, 65536):
            begun = texts[descriptor].rpartition(b"\n")[2]
            for line in (begun + data).split(b"\n")[:-1]:
                say(line.decode("utf-8", "replace"))
            texts[descriptor] = (texts[descriptor] + data)[-OUTPUT_BYTES:]
            if selector is not None:
                return
    except BlockingIOError:
        return
    if selector is not None:
        selector.unregister(descriptor)  # closed by the child
