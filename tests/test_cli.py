"""The command line beside and without a platform, and what the API tells of its own health."""

import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx2
import pytest

from app import cli, db
from app.services import passwords, workers
from tests.platform import CRAWLDOCK, KEY, ROOT, free_port, until

SECRET = "hunter2hunter2"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Settings of a platform that does not exist yet."""
    mine = ("CRAWLDOCK_", "DATABASE_URL", "REDIS_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return kept | {"CRAWLDOCK_DATA_DIR": str(tmp_path / "data"), "CRAWLDOCK_PORT": str(free_port())}


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CRAWLDOCK, *args], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def good(env: dict[str, str], *args: str) -> str:
    result = run(env, *args)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(env: dict[str, str], *args: str) -> str:
    """The one line that it says when it does not do it."""
    result = run(env, *args)
    assert (result.returncode, result.stdout) == (2, "")
    return one_line(result.stderr)


def one_line(text: str) -> str:
    [line] = text.splitlines()
    assert line.startswith("crawldock: ")
    return line


class Here:
    """The command line in this process, on the database of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def _run(self, *args: str) -> tuple[object, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["crawldock", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *self._capsys.readouterr()

    def good(self, *args: str) -> str:
        status, out, err = self._run(*args)
        assert (status, err) == (0, "")
        return out

    def refused(self, *args: str) -> str:
        status, out, err = self._run(*args)
        assert (status, out) == (2, "")
        return one_line(err)


@pytest.fixture
def here(database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


def test_help_names_every_command(env: dict[str, str]) -> None:
    text = good(env, "--help")
    for command in (
        "up",
        "migrate",
        "api",
        "worker",
        "scheduler",
        "deploy-example",
        "projects",
        "keys",
        "workers",
    ):
        assert f" {command} " in text
    assert not Path(env["CRAWLDOCK_DATA_DIR"]).exists()


def test_migrate_makes_the_tables_once(env: dict[str, str]) -> None:
    assert "there is no platform here" in refused(env, "projects", "list")
    for _ in range(2):
        good(env | {"CRAWLDOCK_API_KEY": KEY}, "migrate")
    assert good(env, "keys", "list") == "admin\tadmin\tvalid\n"


def test_projects(here: Here) -> None:
    assert here.good("projects", "create", "shop", "--id", "7") == "project 7 created\n"
    assert here.good("projects", "create", "shop") == "project 8 created\n"
    assert here.good("projects", "list") == "1\tone\t-\n7\tshop\t-\n8\tshop\t-\n"
    assert "project 7 exists" in here.refused("projects", "create", "other", "--id", "7")
    for bad in ("0", "-1", str(2**63), str(2**70)):
        assert f"id: {bad}" in here.refused("projects", "create", "other", f"--id={bad}")
    for bad in ("", "x" * 101):
        assert "1 to 100 characters" in here.refused("projects", "create", bad)
    assert len(here.good("projects", "list").splitlines()) == 3


def test_keys(here: Here) -> None:
    here.good("projects", "create", "two", "--id", "2")
    assert len(here.good("keys", "create", "root", "--admin").strip()) == 32
    both = ("--project", "2", "--project", "1", "--project", "2")
    assert here.good("keys", "create", "both", *both, "--key", "b" * 16) == f"{'b' * 16}\n"
    assert "'both'" in here.refused("keys", "create", "both")
    assert "exists" in here.refused("keys", "create", "three", "--key", "b" * 16)
    for bad in ("short", "x" * 129, "with a space in it", "ümlaut" * 4):
        assert "16 to 128" in here.refused("keys", "create", "three", "--key", bad)
    assert "project 9 does not exist" in here.refused("keys", "create", "three", "--project", "9")
    assert "1 to 100 characters" in here.refused("keys", "create", "")
    assert here.good("keys", "revoke", "root") == "key root revoked\n"
    assert "'root'" in here.refused("keys", "revoke", "root")
    wanted = "admin\tadmin\tvalid\nboth\tprojects 1, 2\tvalid\nroot\tadmin\trevoked\n"
    assert here.good("keys", "list") == wanted


def test_passwords(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(f"{SECRET}\n"))
    assert here.good("keys", "password", "admin") == "the password of admin is set\n"
    assert passwords.check("admin", SECRET) is not None
    monkeypatch.setattr(sys, "stdin", StringIO("short\n"))
    assert "8 to 1024 characters" in here.refused("keys", "password", "admin")
    monkeypatch.setattr(sys, "stdin", StringIO(f"{SECRET}\n"))
    assert "'nobody'" in here.refused("keys", "password", "nobody")
    assert here.good("keys", "password", "admin", "--remove") == "the password of admin is removed\n"
    assert passwords.check("admin", SECRET) is None


def test_workers(here: Here) -> None:
    assert here.good("workers", "list") == ""
    with db.transaction() as session:
        workers.seen(session, "w@a", workers.WORKER, 3)
        workers.seen(session, "s@a", workers.SCHEDULER, 0)
    assert here.good("workers", "list") == "w@a\t0/3\ttakes jobs\t0 s\n"
    assert here.good("workers", "drain", "w@a") == "worker w@a takes no new job\n"
    assert here.good("workers", "list") == "w@a\t0/3\tdrains\t0 s\n"
    assert here.good("workers", "undrain", "w@a") == "worker w@a takes jobs\n"
    assert "'nobody'" in here.refused("workers", "drain", "nobody")


@pytest.mark.parametrize("process", ["worker", "scheduler"])
def test_a_worker_needs_a_broker(env: dict[str, str], process: str) -> None:
    assert "REDIS_URL" in refused(env, process)


@pytest.fixture
def api(env: dict[str, str]) -> Iterator[str]:
    """The URL of an API that is alone: its broker is dead, and there is neither worker nor scheduler."""
    env["REDIS_URL"] = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    good(env | {"CRAWLDOCK_API_KEY": KEY}, "migrate")
    server = subprocess.Popen([*CRAWLDOCK, "api"], cwd=ROOT, env=env, start_new_session=True)
    url = f"http://127.0.0.1:{env['CRAWLDOCK_PORT']}"
    try:
        until(lambda: answers(f"{url}/health/live"), 30)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def test_an_api_that_is_alone(env: dict[str, str], api: str) -> None:
    """It says what is missing, tells no secret, has its documents, and knows keys made and revoked beside it."""
    answer = httpx2.get(f"{api}/health", timeout=20)
    assert answer.status_code == 503
    assert sorted(answer.json()["missing"]) == ["broker", "scheduler", "worker"]
    assert SECRET not in answer.text
    assert "/jobs/list.json" in httpx2.get(f"{api}/openapi.json").json()["paths"]
    assert "swagger" in httpx2.get(f"{api}/docs").text

    for number in ("7", "8"):
        good(env, "projects", "create", "any", "--id", number)
    key = good(env, "keys", "create", "seven", "--project", "7").strip()

    def ask(project: int) -> tuple[int, str]:
        answer = httpx2.get(f"{api}/api/jobs/list.json", params={"project": project}, auth=(key, ""))
        return answer.status_code, answer.json().get("message", "")

    assert ask(7) == (200, "")
    assert ask(8) == (400, "User 'seven' doesn't have access to project 8")
    assert ask(9) == (400, "User 'seven' doesn't have access to project 9")
    good(env, "keys", "revoke", "seven")
    assert ask(7)[0] == 403
    admin = httpx2.get(f"{api}/api/jobs/list.json", params={"project": 8}, auth=(KEY, ""))
    assert admin.status_code == 200


def test_moving_chunks(env: dict[str, str], tmp_path: Path) -> None:
    assert "there is no platform here" in refused(env, "move-chunks")
    good(env, "migrate")
    assert good(env, "move-chunks").splitlines()[0] == "moved\t0 chunks"
    assert "CRAWLDOCK_CHUNK_STORE" in refused(env | {"CRAWLDOCK_CHUNK_STORE": "ftp://x"}, "move-chunks")
