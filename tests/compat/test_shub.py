"""The released shub: keys, and deploying from the kinds of configuration that users have."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.compat.clients import Program
from tests.platform import KEY, Platform
from tests.site import Site


def configure(shub: Program, text: str, name: str = "scrapinghub.yml") -> None:
    (shub.folder / name).write_text(text)


def without_key(shub: Program) -> None:
    del shub.env["SHUB_APIKEY"]


def versions(platform: Platform, project: int) -> list[str]:
    found: list[str] = platform.get("scrapyd/listversions.json", project=project).json()["versions"]
    return found


@pytest.fixture
def configured(platform: Platform, shub: Program, empty: int) -> Program:
    """shub in a project whose configuration names project and endpoint."""
    configure(shub, f"project: {empty}\nendpoint: {platform.url}/api/\n")
    return shub


# Keys


def test_a_key_is_saved_and_forgotten(platform: Platform, shub: Program) -> None:
    configure(shub, f"endpoint: {platform.url}/api/\n", ".scrapinghub.yml")
    without_key(shub)
    said = shub("login", typed=f"{'f' * 32}\n{KEY}\n")
    assert said.index("API key failed, try again") < said.index("API key is OK, you are logged in now")
    assert KEY in (shub.folder / ".scrapinghub.yml").read_text()
    assert "already logged in" in shub("login", check=False).lower()
    shub("logout")
    assert (
        shub.folder / ".scrapinghub.yml"
    ).read_text() == f"endpoints:\n  default: {platform.url}/api/\n" or (
        KEY not in (shub.folder / ".scrapinghub.yml").read_text()
    )
    assert "You are not logged in." in shub("logout")


def test_a_saved_key_is_used(platform: Platform, shub: Program, empty: int) -> None:
    configure(shub, f"project: {empty}\n")
    configure(shub, f"endpoint: {platform.url}/api/\napikeys:\n  default: {KEY}\n", ".scrapinghub.yml")
    without_key(shub)
    shub("deploy")
    assert versions(platform, empty) == ["1.0"]


def test_a_wrong_key_is_told_apart(configured: Program) -> None:
    assert "Authentication failure" in configured("deploy", check=False, SHUB_APIKEY="f" * 32)


def test_no_key(configured: Program) -> None:
    without_key(configured)
    assert "shub login" in configured("deploy", check=False)


# Configurations


def test_deploy_and_schedule(platform: Platform, configured: Program, empty: int, site: Site) -> None:
    assert '"status":"ok"' in configured("deploy", "--version", "by-shub", "-v")
    assert versions(platform, empty) == ["by-shub"]
    said = configured("schedule", "somespider", "-a", f"start_url={site.url}")
    assert platform.wait(f"{empty}/1/1")["version"] == "by-shub"
    assert f"Spider somespider scheduled, job ID: {empty}/1/1" in said


def test_named_endpoints_and_targets(platform: Platform, shub: Program, empty: int) -> None:
    second = empty + 1_000_000
    platform.create_project(second)
    configure(
        shub,
        f"""
projects:
  default: {empty}
  prod: mine/{second}
endpoints:
  default: http://127.0.0.1:1/api/
  mine: {platform.url}/api/
apikeys:
  mine: {KEY}
version: release-7
""",
    )
    assert shub.run("deploy", "-l").stdout.split() == ["default", "prod"]
    shub("deploy", "prod")
    shub("deploy", f"mine/{empty}", "--version", "by-number")
    assert (versions(platform, second), versions(platform, empty)) == (["release-7"], ["by-number"])


def test_a_stack(platform: Platform, shub: Program, empty: int) -> None:
    configure(
        shub,
        f"""
projects:
  default:
    id: {empty}
    stack: older
endpoint: {platform.url}/api/
stacks:
  older: scrapy:2.18
""",
    )
    shub("deploy")
    job = platform.run(empty, "somespider", start_url="data:,x")
    assert "Scrapy 2.18." in platform.log_of(job["id"])


def test_requirements_show_the_build_log(platform: Platform, shub: Program, empty: int) -> None:
    (shub.folder / "requirements.txt").write_text("itemloaders==1.3.2\n")
    configure(
        shub, f"project: {empty}\nendpoint: {platform.url}/api/\nrequirements:\n  file: requirements.txt\n"
    )
    assert "itemloaders==1.3.2" in shub("deploy", "-v")


def test_dependency_eggs(platform: Platform, shub: Program, empty: int) -> None:
    egg = io.BytesIO()
    with zipfile.ZipFile(egg, "w") as archive:
        archive.writestr("mylib.py", "VALUE = 'by the egg'\n")
    (shub.folder / "eggs").mkdir()
    (shub.folder / "eggs" / "mylib.egg").write_bytes(egg.getvalue())
    spider = shub.folder / "somesite" / "spiders" / "uses.py"
    spider.write_text(
        "import mylib, scrapy\nclass Uses(scrapy.Spider):\n    name = 'uses'\n    start_urls = ['data:,x']\n"
        "    def parse(self, response):\n        yield {'value': mylib.VALUE}\n"
    )
    configure(
        shub, f"project: {empty}\nendpoint: {platform.url}/api/\nrequirements:\n  eggs:\n    - ./eggs/*.egg\n"
    )
    shub("deploy")
    assert platform.items(platform.run(empty, "uses")["id"])[0]["value"] == "by the egg"


@pytest.mark.parametrize("setting", ["", "version: AUTO\n", "version: GIT\n"])
def test_the_version_is_the_commit(platform: Platform, configured: Program, empty: int, setting: str) -> None:
    git = ["git", "-C", str(configured.folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q", "-b", "main"], ["add", "setup.py"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.check_output([*git, "describe", "--always"], text=True).strip()
    configure(configured, f"project: {empty}\nendpoint: {platform.url}/api/\n{setting}")
    configured("deploy")
    assert versions(platform, empty) == [f"{commit}-main"]


def test_a_project_that_was_never_configured(platform: Platform, shub: Program, empty: int) -> None:
    (shub.folder / "setup.py").unlink()
    configure(shub, f"endpoint: {platform.url}/api/\n", ".scrapinghub.yml")
    said = shub("deploy", "--version", "first", typed=f"{empty}\n")
    assert f"Saving project {empty} as default target" in said and "Created setup.py" in said
    assert (shub.folder / "scrapinghub.yml").read_text() == f"project: {empty}\n"
    assert versions(platform, empty) == ["first"]
    (shub.folder / "scrapinghub.yml").unlink()
    assert "has no access to project 999999" in shub("deploy", "999999", check=False)


def test_a_project_that_was_configured_for_scrapyd(platform: Platform, shub: Program, empty: int) -> None:
    (shub.folder / "scrapy.cfg").write_text(
        "[settings]\ndefault = somesite.settings\n"
        f"[deploy]\nurl = {platform.url}/api/scrapyd/\nproject = {empty}\nusername = {KEY}\n"
    )
    without_key(shub)
    shub("deploy", "--version", "old")
    assert versions(platform, empty) == ["old"]
    assert f"endpoint: {platform.url}/api/" in (shub.folder / "scrapinghub.yml").read_text()


def test_an_egg_is_built_and_deployed_later(platform: Platform, configured: Program, empty: int) -> None:
    configured("deploy", "--build-egg", "built.egg")
    assert versions(platform, empty) == []
    configured("deploy", "--egg", "built.egg", "--version", "later")
    assert versions(platform, empty) == ["later"]


# What goes wrong


def test_an_import_error_comes_back_with_its_traceback(configured: Program) -> None:
    (configured.folder / "somesite" / "spiders" / "broken.py").write_text("import nosuchmodule\n")
    said = configured("deploy", check=False)
    assert "ModuleNotFoundError: No module named 'nosuchmodule'" in said


def test_a_project_that_is_not_there(platform: Platform, shub: Program) -> None:
    configure(shub, f"project: 999999\nendpoint: {platform.url}/api/\n")
    assert "doesn't have access to project 999999" in shub("deploy", check=False)


# Eggs of a project


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The source of a library."""
    folder = tmp_path / "mylib"
    folder.mkdir()
    (folder / "mylib.py").write_text("VALUE = 1\n")
    (folder / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='mylib', version='1.5', py_modules=['mylib'])\n"
    )
    return folder


def eggs(platform: Platform, project: int) -> dict[str, str]:
    return {
        egg["name"]: egg["version"] for egg in platform.get("eggs/list.json", project=project).json()["eggs"]
    }


def in_library(shub: Program, library: Path) -> Program:
    (library / "scrapinghub.yml").write_text((shub.folder / "scrapinghub.yml").read_text())
    return Program(shub.path, library, **{**shub.env, "HOME": str(shub.folder)})


def test_an_egg_from_its_source(platform: Platform, configured: Program, empty: int, library: Path) -> None:
    said = in_library(configured, library)("deploy-egg")
    assert f"Deploying dependency mylib 1.5 to Scrapy Cloud project {empty}" in said
    assert eggs(platform, empty) == {"mylib": "1.5"}


def test_an_egg_from_a_repository(platform: Platform, configured: Program, empty: int, library: Path) -> None:
    git = ["git", "-C", str(library), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-q", "-m", "x"],
        ["branch", "other"],
    ):
        subprocess.run([*git, *command], check=True)
    configure(configured, f"endpoint: {platform.url}/api/\n", ".scrapinghub.yml")
    configured("deploy-egg", str(empty), "--from-url", str(library), "--git-branch", "other")
    assert list(eggs(platform, empty)) == ["mylib"]
    assert eggs(platform, empty)["mylib"].endswith("-other")


def test_eggs_of_a_requirements_file(
    platform: Platform, configured: Program, empty: int, library: Path
) -> None:
    setup = [configured.path.parent / "python", "setup.py", "--quiet", "sdist"]
    subprocess.run(setup, cwd=library, check=True, capture_output=True)
    (configured.folder / "reqs.txt").write_text(f"{library / 'dist' / 'mylib-1.5.tar.gz'}\n")
    configure(configured, f"endpoint: {platform.url}/api/\n", ".scrapinghub.yml")
    configured("deploy-reqs", str(empty), "-r", "reqs.txt", PIP_NO_INDEX="1", PIP_NO_BUILD_ISOLATION="0")
    assert eggs(platform, empty) == {"mylib": "1.5"}


def test_eggs_are_fetched_copied_and_migrated(
    platform: Platform, configured: Program, empty: int, library: Path
) -> None:
    second = empty + 1_000_000
    platform.create_project(second)
    in_library(configured, library)("deploy-egg")
    configured("deploy", "--version", "1")
    configured("fetch-eggs")
    with zipfile.ZipFile(configured.folder / f"eggs-{empty}.zip") as bundle:
        assert sorted(bundle.namelist()) == ["__main__.egg", "mylib.egg"] and bundle.testzip() is None
    configured("copy-eggs", "--source_project", str(empty), "--new_project", str(second))
    assert eggs(platform, second) == {"mylib": "1.5"} and versions(platform, second) == []
    configured("migrate-eggs", typed="y\n")
    assert (configured.folder / "eggs" / "mylib.egg").exists()
    assert "./eggs/mylib.egg" in (configured.folder / "scrapinghub.yml").read_text()
    assert (configured.folder / "requirements.txt").read_text() == ""


def test_eggs_of_a_project_that_is_not_there(configured: Program) -> None:
    assert "Eggs could not be fetched" in configured("fetch-eggs", "999999", check=False)
    assert "Authentication failure" in configured("fetch-eggs", check=False, SHUB_APIKEY="f" * 32)
