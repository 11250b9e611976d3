"""The released shub, unmodified, in a virtualenv of its own, against a live platform."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.platform import KEY, ROOT, Platform
from tests.site import Site

Shub = Callable[..., str]


@pytest.fixture(scope="session")
def shub_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `shub` program; it builds eggs with setuptools."""
    venv = tmp_path_factory.mktemp("shub") / "venv"
    subprocess.run([find_uv_bin(), "venv", "--quiet", str(venv)], check=True)
    install = [find_uv_bin(), "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
    subprocess.run([*install, "shub==2.18.1", "setuptools"], check=True)
    return venv / "bin" / "shub"


@pytest.fixture
def shub(shub_with_key: Callable[[str], Shub]) -> Shub:
    """Runs shub with the admin key."""
    return shub_with_key(KEY)


@pytest.fixture
def shub_with_key(platform: Platform, shub_command: Path, tmp_path: Path) -> Callable[[str], Shub]:
    """Runs shub in a copy of the example project, whose own config file has the endpoint."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples", project)
    config = (project / "scrapinghub.yml").read_text().replace("http://127.0.0.1:8000", platform.url)
    (project / "scrapinghub.yml").write_text(config)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHUB_STORAGE": platform.url}

    def with_key(key: str) -> Shub:
        def run(*args: str, check: bool = True) -> str:
            done = subprocess.run(
                [shub_command, *args],
                cwd=project,
                env=env | {"SHUB_APIKEY": key},
                capture_output=True,
                text=True,
                check=False,
            )
            assert not check or done.returncode == 0, done.stdout + done.stderr
            return done.stdout + done.stderr

        return run

    return with_key


def test_deploy_and_schedule(platform: Platform, shub: Shub, site: Site) -> None:
    assert '"status":"ok"' in shub("deploy", "--version", "by-shub", "-v")
    assert "by-shub" in platform.get("scrapyd/listversions.json", project=123).json()["versions"]
    said = shub(
        "schedule", "somespider", "-a", f"start_url={site.url}", "-t", "x", "-p", "3", "-s", "LOG_LEVEL=DEBUG"
    )
    key = next(
        word for line in said.splitlines() for word in line.split() if word.count("/") == 2 and word[0] == "1"
    )
    job = platform.wait(key)
    assert (job["close_reason"], job["tags"], job["priority"], job["version"]) == (
        "finished",
        ["x"],
        3,
        "by-shub",
    )
    assert "DEBUG" in platform.log_of(key)


def test_deploy_with_requirements_shows_the_build_log(shub: Shub, tmp_path: Path) -> None:
    (tmp_path / "project" / "requirements.txt").write_text("itemloaders==1.3.2\n")
    with (tmp_path / "project" / "scrapinghub.yml").open("a") as config:
        config.write("requirements:\n  file: requirements.txt\n")
    assert "itemloaders==1.3.2" in shub("deploy", "--version", "with-requirements", "-v")


def test_a_wrong_key_is_told_apart(shub_with_key: Callable[[str], Shub]) -> None:
    said = shub_with_key("f" * 32)("deploy", check=False)
    assert "Authentication failure" in said


def test_an_import_error_comes_back_with_its_traceback(shub: Shub, tmp_path: Path) -> None:
    spider = tmp_path / "project" / "somesite" / "spiders" / "broken.py"
    spider.write_text("import nosuchmodule\n")
    said = shub("deploy", "--version", "broken", check=False)
    assert "ModuleNotFoundError: No module named 'nosuchmodule'" in said
