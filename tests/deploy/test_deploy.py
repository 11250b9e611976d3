"""Deploying eggs with plain HTTP: versions, requirements, dependency eggs, and every way to fail."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.eggs import SPIDERS, egg, project
from tests.platform import Platform, until


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that loses patience early."""
    with Platform(tmp_path_factory.mktemp("builder"), CRAWLDOCK_LIST_SECONDS="8") as running:
        yield running


def deploy(
    platform: Platform, project_id: int, egg: bytes, version: str = "2", **files: Any
) -> tuple[int, str, Any]:
    """Status, whole body, and the last line of a deploy, read."""
    answer = platform.http.post(
        "scrapyd/addversion.json",
        data={"project": project_id, "version": version},
        files={"egg": egg, **files},
    )
    return answer.status_code, answer.text, json.loads(answer.text.splitlines()[-1])


def versions(platform: Platform, project_id: int) -> Any:
    return platform.get("scrapyd/listversions.json", project=project_id).json()["versions"]


def spiders(platform: Platform, project_id: int) -> dict[str, str]:
    found = platform.get("spiders/list.json", project=project_id).json()["spiders"]
    return {spider["id"]: spider["version"] for spider in found}


def wheel(folder: Path, value: str) -> str:
    """A requirement: a wheel whose module ``tinydep`` holds ``value``."""
    path = folder / f"tinydep-{value}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinydep.py", f"VALUE = {value!r}\n")
        info = f"tinydep-{value}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinydep\nVersion: {value}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"tinydep @ file://{path}\n"


USES_DEP = """
import tinydep

class Dep(scrapy.Spider):
    name = "dep"
    start_urls = ["data:,x"]
    def parse(self, response):
        yield {"value": tinydep.VALUE}
"""


def test_the_newest_version_is_current_and_a_deleted_one_gives_way(builder: Platform) -> None:
    project_id = builder.deploy(version="1")
    builder.deploy(project("class Only(scrapy.Spider):\n    name = 'only'\n"), project_id, version="2")
    assert (versions(builder, project_id), spiders(builder, project_id)) == (["1", "2"], {"only": "2"})
    answer = builder.post("scrapyd/delversion.json", project=project_id, version="2").json()
    assert answer == {"status": "ok"}
    assert spiders(builder, project_id)["three"] == "1"
    assert builder.run(project_id, "three")["version"] == "1"


def test_a_version_of_the_same_name_is_replaced(builder: Platform) -> None:
    project_id = builder.deploy(version="1")
    builder.deploy(project("class Only(scrapy.Spider):\n    name = 'only'\n"), project_id, version="1")
    assert (versions(builder, project_id), spiders(builder, project_id)) == (["1"], {"only": "1"})


def test_a_waiting_job_runs_the_version_that_is_current_when_it_starts(builder: Platform) -> None:
    project_id = builder.deploy()
    builder.post("eggs/delete.json", project=project_id, name="__main__", version="1")
    assert builder.post("schedule.json", project=project_id, spider="three").status_code == 400
    builder.deploy(project_id=project_id, version="2")
    job = builder.run(project_id, "three")
    assert (job["version"], job["items_scraped"]) == ("2", 3)


def test_a_job_whose_spider_is_gone_waits_for_a_deploy(builder: Platform) -> None:
    project_id = builder.deploy()
    # Both slots are busy, so that the job still waits when its version is deleted.
    busy = [builder.schedule(project_id, "slow", n=str(n)) for n in range(2)]
    until(lambda: all(builder.job(key)["state"] == "running" for key in busy))
    waiting = builder.schedule(project_id, "three")
    builder.post("scrapyd/delversion.json", project=project_id, version="1")
    builder.post("jobs/stop.json", project=project_id, job=busy)
    for key in busy:
        builder.wait(key)
    assert builder.job(waiting)["state"] == "pending"
    builder.deploy(project_id=project_id, version="2")
    assert builder.wait(waiting)["close_reason"] == "finished"


def test_a_deploy_with_the_same_requirements_keeps_the_template(builder: Platform, tmp_path: Path) -> None:
    def templates() -> set[tuple[int, float]]:
        # The one that the worker has started, not what was forked from it.
        children = builder.worker().children()
        return {(each.pid, each.create_time()) for each in children if "template.py" in str(each.cmdline())}

    project_id = builder.deploy()
    builder.run(project_id, "three")
    before = templates()
    builder.deploy(project_id=project_id, version="2")
    assert builder.run(project_id, "three", n="2")["version"] == "2"
    assert templates() == before != set()
    other = wheel(tmp_path, "3.0").encode()
    builder.deploy(project_id=project_id, version="3", requirements=other)
    builder.run(project_id, "three", n="3")
    assert len(templates() - before) == 1


def test_requirements_get_a_virtualenv_that_equal_sets_share(builder: Platform, tmp_path: Path) -> None:
    project_id = builder.deploy()
    requirements = wheel(tmp_path, "1.0").encode()
    status, body, answer = deploy(builder, project_id, project(USES_DEP), requirements=requirements)
    assert (status, answer["status"]) == (200, "ok"), body
    assert "tinydep" in body  # the build's log
    status, body, _ = deploy(
        builder, project_id, project(USES_DEP), "3", requirements=b"# again\n" + requirements
    )
    built = (builder.folder / "data" / "venvs").glob("*/requirements.txt")
    assert len([path for path in built if str(tmp_path) in path.read_text()]) == 1
    assert len(body.splitlines()) == 1  # nothing to build: the answer alone, as old clients need it
    job = builder.run(project_id, "dep")
    assert [item["value"] for item in builder.items(job["id"])] == ["1.0"]


def test_dependency_eggs_are_on_the_path(builder: Platform) -> None:
    project_id = builder.deploy()
    with_value = egg({"tinydep.py": "VALUE = 'egg'"}, settings=None)
    added = builder.http.post(
        "eggs/add.json",
        data={"project": project_id, "name": "tinydep", "version": "7"},
        files={"egg": with_value},
    )
    assert added.json() == {"status": "ok", "egg": {"name": "tinydep", "version": "7"}}
    status, body, _ = deploy(builder, project_id, project(USES_DEP))
    assert status == 200, body
    job = builder.run(project_id, "dep")
    assert builder.items(job["id"])[0]["value"] == "egg"
    listed = builder.get("eggs/list.json", project=project_id).json()["eggs"]
    assert listed == [{"name": "tinydep", "version": "7"}]
    bundle = zipfile.ZipFile(io.BytesIO(builder.get("eggs/bundle.zip", project=project_id).content))
    assert sorted(bundle.namelist()) == ["__main__.egg", "tinydep.egg"]
    migrated = zipfile.ZipFile(io.BytesIO(builder.get("migrate-eggs.zip", project=project_id).content))
    assert sorted(migrated.namelist()) == ["requirements.txt", "tinydep.egg"]
    assert builder.post("eggs/delete.json", project=project_id, name="tinydep").json() == {"status": "ok"}
    assert builder.get("eggs/list.json", project=project_id).json()["eggs"] == []


def test_an_egg_sent_with_the_version_is_on_its_path(builder: Platform) -> None:
    project_id = builder.deploy()
    extra = ("tinydep-1.egg", egg({"tinydep.py": "VALUE = 'sent along'"}, settings=None))
    status, body, _ = deploy(builder, project_id, project(USES_DEP), eggs=extra)
    assert status == 200, body
    assert builder.items(builder.run(project_id, "dep")["id"])[0]["value"] == "sent along"


def test_eggs_cannot_choose_where_they_are_unpacked(builder: Platform) -> None:
    extra = ("../../evil.egg", egg({"tinydep.py": ""}, settings=None))
    status, _, answer = deploy(builder, 123, project(SPIDERS), eggs=extra)
    assert (status, answer["status"]) == (400, "badrequest")
    assert "eggs" in answer["message"]


HANGS = "import time\ntime.sleep(300)\n"
BROKEN = {
    "no zip": (b"not a zip", {}, "not an egg"),
    "damaged": (project(SPIDERS).replace(b"proj/spiders.py", b"proj/spiderz.py", 1), {}, "egg"),
    "no entry point": (egg({"proj.py": ""}, settings=None), {}, "no settings entry point"),
    "settings missing": (egg({"other.py": ""}), {}, "No module named 'proj'"),
    "import error": (project("import nosuchmodule"), {}, "Traceback"),
    "uninstallable": (
        project(SPIDERS),
        {"requirements": b"nosuch-package-at-all==9.9"},
        "nosuch-package-at-all",
    ),
    "no requirement": (project(SPIDERS), {"requirements": b"!!! what"}, "requirement"),
    "not UTF-8": (project(SPIDERS), {"requirements": b"\xff"}, "requirements"),
    "hangs": (project(HANGS), {}, "took longer than 8 s"),
    "long name": (project("class Long(scrapy.Spider):\n    name = 'x' * 300\n"), {}, "a name has 1 to 255"),
    "exits": (project("sys.exit(3)"), {}, "exited with status 3"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_failed_deploy_says_why_and_changes_nothing(builder: Platform, kind: str) -> None:
    content, files, words = BROKEN[kind]
    project_id = builder.deploy()
    before = spiders(builder, project_id)
    status, body, answer = deploy(builder, project_id, content, "broken", **files)
    assert status == 400 or (status == 200 and body.count("\n") > 1), body
    assert answer["status"] in ("error", "badrequest")
    assert words in answer["message"]
    assert (versions(builder, project_id), spiders(builder, project_id)) == (["1"], before)
    assert not [p for p in builder.processes("shub-image-info") if p.is_running()]


def test_listing_happens_outside_the_api(builder: Platform) -> None:
    tells = "class Parent(scrapy.Spider):\n    name = 'parent-%d' % os.getppid()\n"
    project_id = builder.deploy(project(tells))
    (name,) = spiders(builder, project_id)
    scheduler = builder.part("scheduler")
    assert name == f"parent-{scheduler.pid}"


@pytest.mark.parametrize("version", ["", "a b", "ä", "x" * 256])
def test_a_bad_version_name_is_refused(builder: Platform, version: str) -> None:
    status, _, answer = deploy(builder, 123, project(SPIDERS), version)
    assert (status, answer["status"]) == (400, "badrequest")
    assert "version" in answer["message"]
