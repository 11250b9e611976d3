"""What a spider process is told, and what it is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.keys import JobKey
from app.services.jobs import Claimed
from app.settings import settings
from worker import environ

SECRETS = {
    "DATABASE_URL": "postgresql://u:dbsecret@h/d",
    "REDIS_URL": "redis://:brokersecret@h",
    "AWS_SECRET_ACCESS_KEY": "s3secret",
}


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        **SECRETS,
        "CRAWLDOCK_API_KEY": "keysecret-keysecret",
        "CRAWLDOCK_PORT": "8123",
    }.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def job(**fields: Any) -> Claimed:
    known: dict[str, Any] = {
        "id": 1, "key": JobKey(123, 4, 5), "token": "f00", "spider": "quotes", "version_id": 1, "priority": 2,
        "units": 1, "args": {}, "job_settings": {}, "environment": {}, "job_cmd": None, "tags": [],
    }  # fmt: skip
    return Claimed(**{**known, **fields})


def env_of(scratch: Path, **fields: Any) -> dict[str, str]:
    return environ.spider(
        job(**fields), venv=Path("/venv"), path=[Path("/egg"), Path("/more")], settings_module="proj.settings",
        scratch=scratch, fifo=scratch / "pipe",
    )  # fmt: skip


def read(value: str) -> Any:
    """Either JSON, or the path of a file with it, as the entrypoint tells them apart."""
    return orjson.loads(value if value.startswith("{") else Path(value).read_bytes())


def test_the_job_is_described(tmp_path: Path) -> None:
    env = env_of(tmp_path, args={"ü": "→", "": "x"}, tags=["a", "b"], priority=4)
    data = read(env["SHUB_JOB_DATA"])
    assert data == {
        "key": "123/4/5", "auth": "f00", "project": 123, "spider": "quotes", "spider_type": "manual",
        "spider_args": {"ü": "→", "": "x"}, "tags": ["a", "b"], "priority": 4, "units": 1,
        "api_url": "http://127.0.0.1:8123/api/",
    }  # fmt: skip
    assert (env["SHUB_JOBKEY"], env["SHUB_SPIDER"], env["SHUB_FIFO_PATH"]) == (
        "123/4/5", "quotes", str(tmp_path / "pipe"),
    )  # fmt: skip


def test_a_script_gets_its_command_line_and_environment(tmp_path: Path) -> None:
    data = read(env_of(tmp_path, job_cmd=["py:x.py", "-v"], environment={"A": 1})["SHUB_JOB_DATA"])
    assert (data["job_cmd"], data["job_env"]) == (["py:x.py", "-v"], {"A": "1"})


def test_settings_of_the_job_are_stronger_than_the_safe_ones(tmp_path: Path) -> None:
    layers = read(env_of(tmp_path, job_settings={"TELNETCONSOLE_ENABLED": True})["SHUB_SETTINGS"])
    assert layers == {
        "project_settings": environ.SAFE_SETTINGS,
        "job_settings": {"TELNETCONSOLE_ENABLED": True},
    }


def test_the_environment_is_built_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "else")
    env = env_of(tmp_path)
    assert not [name for name in env if name.startswith("CRAWLDOCK") or name in (*SECRETS, "SOMETHING")]
    assert "secret" not in str(env)
    assert (env["HOME"], env["TMPDIR"], env["PYTHONPATH"]) == (str(tmp_path), str(tmp_path), "/egg:/more")
    assert env["PATH"].startswith("/venv/bin:")


def test_the_users_variables_replace_none_of_ours(tmp_path: Path) -> None:
    given = {
        "PATH": "/evil",
        "SHUB_JOBKEY": "1/1/1",
        "HOME": "/root",
        "MINE": "ü",
        "N": 5,
        "T": True,
        "Z": None,
    }
    env = env_of(tmp_path, environment=given)
    assert {name: env[name] for name in ("MINE", "N", "T", "Z")} == {
        "MINE": "ü", "N": "5", "T": "true", "Z": "null",
    }  # fmt: skip
    assert (env["SHUB_JOBKEY"], env["HOME"]) == ("123/4/5", str(tmp_path)) and "/evil" not in env["PATH"]


def test_what_is_too_long_for_a_variable_goes_into_a_file(tmp_path: Path) -> None:
    env = env_of(tmp_path, args={"a": "ü" * 100_000}, job_settings={"B": "x" * 200_000})
    assert all(len(value.encode()) < 128 << 10 for value in env.values())
    assert read(env["SHUB_JOB_DATA"])["spider_args"] == {"a": "ü" * 100_000}
    assert read(env["SHUB_SETTINGS"])["job_settings"] == {"B": "x" * 200_000}


def test_memory_is_counted_in_units(tmp_path: Path) -> None:
    assert environ.memory_mb(job(units=3)) == 3 * 950
    assert env_of(tmp_path, units=3)["SHUB_JOB_MEMORY_LIMIT"] == "2850"
