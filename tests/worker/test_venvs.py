"""Virtualenvs of spiders: one per set of requirements, built once, whatever happens meanwhile."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import DeployFailed
from app.settings import settings
from worker import venvs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CRAWLDOCK_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    yield tmp_path / "venvs"
    settings.cache_clear()


class Commands:
    """A runner that notes the commands; `fail` is a word in the one that fails."""

    def __init__(self, fail: str | None = None) -> None:
        self.done: list[list[str]] = []
        self.said: list[str] = []
        self.fail = fail

    def run(self, command: Sequence[str], env: dict[str, str], cwd: Path, say: venvs.Say) -> None:
        if self.fail in command:
            raise DeployFailed("no such package")
        self.done.append(list(command))

    def ensure(self, requirements: str = "", stack: str | None = None) -> Path:
        return venvs.ensure(requirements, stack, self.said.append, self.run)


@pytest.mark.parametrize(
    ("stack", "requirement"),
    [
        (None, None),
        ("", None),
        ("scrapy:2.11", "scrapy==2.11.*"),
        ("scrapy:2.11-py38", "scrapy==2.11.*"),
        ("scrapy:1.8-py3-20200101", "scrapy==1.8.*"),
        ("scrapy:default", None),
        ("hworker:20160708", None),
    ],
)
def test_a_stack_as_a_requirement(stack: str | None, requirement: str | None) -> None:
    assert venvs.stack_requirement(stack) == requirement


def test_the_default_stack_is_pinned_and_hashed() -> None:
    text = venvs.stack_requirements()
    assert "scrapinghub-entrypoint-scrapy==" in text and "scrapy==" in text
    assert all("==" in line for line in text.splitlines() if line and not line.startswith((" ", "#")))
    assert "--hash=sha256:" in text and "celery" not in text


def test_the_same_set_is_built_once(folder: Path) -> None:
    commands = Commands()
    first = commands.ensure("b==1\na==2\n")
    built = len(commands.done)
    assert built and commands.ensure("# mine\n a==2\n\nb==1") == first
    assert len(commands.done) == built and (first / venvs.DONE).exists() and first.parent == folder


def test_different_sets_have_virtualenvs_of_their_own() -> None:
    commands = Commands()
    sets = [("", None), ("a==1", None), ("a==2", None), ("", "scrapy:2.11"), ("a==1", "scrapy:2.11")]
    assert len({commands.ensure(*each) for each in sets}) == len(sets)
    assert commands.ensure("", "scrapy:default") == commands.ensure("", None)


def test_requirements_are_installed_on_top_of_the_stack() -> None:
    commands = Commands()
    target = commands.ensure("a==1", "scrapy:2.11")
    create, stack, more = commands.done
    assert create[1] == "venv" and sys.executable in create
    assert stack[-1] == str(target / "stack.txt") and "--require-hashes" in stack
    assert more[-3:] == [str(target / "requirements.txt"), "scrapy==2.11.*", venvs.ENTRYPOINT]
    assert (target / "requirements.txt").read_text() == "a==1"


def test_a_build_that_failed_is_tried_again() -> None:
    bad = Commands(fail="--require-hashes")
    for _ in range(2):
        with pytest.raises(DeployFailed, match="no such package"):
            bad.ensure("a==1")
    assert len(bad.done) == 2  # the virtualenv was begun anew
    good = Commands()
    assert (good.ensure("a==1") / venvs.DONE).exists() and len(good.done) == 3


def test_what_a_dead_builder_left_is_removed() -> None:
    commands = Commands()
    target = commands.ensure("a==1")
    (target / venvs.DONE).unlink()
    (target / "half").touch()
    assert commands.ensure("a==1") == target and not (target / "half").exists()


def test_many_want_the_same_set_at_once() -> None:
    all_commands = [Commands() for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        targets = set(threads.map(lambda commands: commands.ensure("a==1"), all_commands))
    assert len(targets) == 1
    assert sorted(len(commands.done) for commands in all_commands) == [0, 0, 0, 0, 0, 3]


def test_an_unknown_stack_is_said() -> None:
    commands = Commands()
    commands.ensure("", "hworker:20160708")
    assert commands.said == ["stack hworker:20160708 is unknown here: the default stack is used"]


def test_no_secret_reaches_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "CRAWLDOCK_API_KEY", "UV_PROJECT_ENVIRONMENT"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("UV_INDEX_URL", "https://index.example")
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    env = venvs.environment()
    assert "secret" not in env.values()
    assert (env["UV_INDEX_URL"], env["https_proxy"]) == ("https://index.example", "http://proxy.example")
