"""The released scrapyd-client: its `scrapyd-deploy`, which is all of it that speaks of projects by number."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.clients import Program
from tests.platform import KEY, Platform


@pytest.fixture
def deploy(platform: Platform, client_venv: Callable[[str], Path], example: Path, empty: int) -> Program:
    """`scrapyd-deploy` in the example project, with a target for the platform."""
    (example / "scrapy.cfg").write_text(
        "[settings]\ndefault = somesite.settings\n"
        f"[deploy]\nurl = {platform.url}/api/scrapyd/\nproject = {empty}\nusername = {KEY}\n"
        f"[deploy:stranger]\nusername = {'f' * 32}\n"
    )
    return Program(client_venv("scrapyd-client") / "scrapyd-deploy", example)


def test_a_project_is_deployed(platform: Platform, deploy: Program, empty: int) -> None:
    said = deploy("-v", "by-scrapyd")
    assert '"status":"ok"' in said and '"spiders":1' in said
    (spider,) = platform.get("spiders/list.json", project=empty).json()["spiders"]
    assert (spider["id"], spider["version"]) == ("somespider", "by-scrapyd")


def test_the_other_name_of_it(platform: Platform, deploy: Program, empty: int) -> None:
    client = Program(deploy.path.parent / "scrapyd-client", deploy.folder)
    assert f"{platform.url}/api/scrapyd/" in client("targets")
    client("deploy", "--version", "second")
    assert platform.get("scrapyd/listversions.json", project=empty).json()["versions"] == ["second"]


def test_a_wrong_key(deploy: Program) -> None:
    said = deploy("stranger", check=False)
    assert "Deploy failed (403)" in said and "Authentication failed" in said


def test_a_broken_spider(deploy: Program) -> None:
    (deploy.folder / "somesite" / "spiders" / "broken.py").write_text("import nosuchmodule\n")
    said = deploy(check=False)
    assert "No module named 'nosuchmodule'" in said
