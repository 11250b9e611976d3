"""docs/clients.md: its blocks do what the page says, taken out of it as they stand."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.compat import clients
from tests.compat.clients import Program
from tests.eggs import HEAD, egg
from tests.platform import KEY, ROOT, Platform
from tests.site import Site

FAST = str(Path(__file__).parent / "fast")
PAGE = (ROOT / "docs" / "clients.md").read_text()

Blocks = Callable[[str], list[tuple[str, str]]]


@pytest.fixture
def blocks(platform: Platform, crawl: str, site: Site) -> Blocks:
    """The blocks of a section, (language, text), about the platform, key, job and site that there are."""

    def found(heading: str) -> list[tuple[str, str]]:
        section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        for written, real in (
            ("http://127.0.0.1:8000", platform.url), ("http://127.0.0.1:8222/page1.html", site.url),
            ("123/1/1", crawl), (" 1/1", f" {crawl[4:]}"),
        ):  # fmt: skip
            section = section.replace(written, real)
        section = re.sub(r"\bKEY\b", KEY, section)
        return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)

    return found


@pytest.fixture
def shell(client_venv: Callable[[str], Path], shub: Program, platform: Platform) -> Program:
    """A shell in the example project that knows shub, `python` with its client, scrapyd-deploy and crawldock."""
    bins = [
        *(str(client_venv(name)) for name in ("shub", "scrapyd-client")),
        str(Path(sys.executable).parent),
    ]
    path = os.pathsep.join([*bins, os.environ["PATH"]])
    shell = Program(Path("/bin/bash"), shub.folder, PYTHONPATH=FAST)
    shell.env |= {"PATH": path, "CRAWLDOCK_DATA_DIR": platform.env["CRAWLDOCK_DATA_DIR"]}
    return shell


def sh(shell: Program, text: str) -> str:
    return shell("-euc", text)


def written(shell: Program, name: str, text: str) -> None:
    (shell.folder / name).write_text(text)


def test_every_block_is_tried(blocks: Blocks) -> None:
    """A new section needs a test here."""
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    tests = Path(__file__).read_text()
    assert all(f'blocks("{heading}")' in tests for heading in headings)
    assert sum(len(blocks(heading)) for heading in headings) == PAGE.count("\n```") // 2


def test_curl(blocks: Blocks, shell: Program) -> None:
    ((_, text),) = blocks("curl")
    said = sh(shell, text.replace("curl ", "curl -sS --fail "))
    assert '"status":"ok"' in said and "url,title\n" in said and "Page 7\n" in said
    assert int(said.rstrip().rpartition("\n")[2]) >= 1


def test_python_scrapinghub(blocks: Blocks, shell: Program, crawl: str) -> None:
    (_, code), (_, environment) = blocks("python-scrapinghub")
    written(shell, "use.py", code)
    assert f"{crawl} finished 7" in sh(shell, "python use.py")
    assert "123" in sh(shell, environment)


def test_older_clients(blocks: Blocks, shell: Program, platform: Platform, site: Site) -> None:
    newest = platform.run(123, "somespider", start_url=site.url, run="older")["id"]  # they list the last few
    ((_, hubstorage),), ((_, first),) = blocks("HubstorageClient"), blocks("Connection, the first client")
    written(shell, "hubstorage.py", hubstorage)
    written(shell, "first.py", first)
    assert "somespider ['http://" in sh(shell, "python hubstorage.py")
    assert f"{newest} 7 7" in sh(shell, "python first.py")


def test_shub(blocks: Blocks, shell: Program, platform: Platform, crawl: str) -> None:
    (_, config), (_, commands), (_, user), (_, several) = blocks("shub")
    written(shell, "scrapinghub.yml", config)
    said = sh(shell, commands)
    assert '"status":"ok"' in said and "Spider somespider scheduled" in said and "{'count': 0}" in said
    assert said.count('"title"') == 7 and said.count('"fp"') == 5 and "Spider closed (finished)" in said
    written(shell, ".scrapinghub.yml", user)
    assert "you are logged in now" in shell("-c", "shub login", typed=f"{KEY}\n")
    written(shell, "requirements.txt", "")
    written(shell, "scrapinghub.yml", several)
    assert '"status":"ok"' in sh(shell, "shub deploy default --version several")
    assert "several" in platform.get("scrapyd/listversions.json", project=123).json()["versions"]


def test_code_inside_a_job(blocks: Blocks, shell: Program, platform: Platform) -> None:
    (_, code), (_, schedule) = blocks("Code inside a job")
    spider = "class Inside(scrapy.Spider):\n    name = 'somespider'\n    start_urls = ['data:,x']\n    def parse(self, response):\n"
    body = "".join(f"        {line}\n" for line in code.splitlines())
    files = {"proj/__init__.py": "", "proj/settings.py": "SPIDER_MODULES = ['proj.spiders']\n"}
    project = platform.deploy(egg({**files, "proj/spiders.py": f"{HEAD}{spider}{body}        yield {{}}\n"}))
    job = platform.run(project, "somespider", add_tag="t")
    stored = httpx2.get(f"{platform.url}/collections/{project}/s/seen/example.com", auth=(KEY, ""))
    assert stored.json() == {"job": job["id"], "tags": ["t"]}, platform.log_of(job["id"])
    written(shell, "scrapinghub.yml", f"project: {project}\nendpoint: {platform.url}/api/\n")
    sh(shell, schedule.replace("--project 123", f"--project {project}"))
    assert platform.wait(f"{project}/1/2")["close_reason"] == "finished"


def test_spidermon(blocks: Blocks, shell: Program, platform: Platform) -> None:
    (_, settings), (_, monitors), (_, schedule) = blocks("Spidermon")
    spider = "class Watched(scrapy.Spider):\n    name = 'somespider'\n    start_urls = ['data:,x']\n    def parse(self, response):\n        yield {}\n"
    files = {
        "myproject/__init__.py": "",
        "myproject/settings.py": "SPIDER_MODULES = ['myproject.spiders']\n" + settings,
        "myproject/monitors.py": monitors,
        "myproject/spiders.py": HEAD + spider,
    }
    code = egg(files, settings="myproject.settings")
    project = platform.deploy(code, requirements=clients.requirements("addons").encode())
    written(shell, "scrapinghub.yml", f"project: {project}\nendpoint: {platform.url}/api/\n")
    sh(shell, schedule)
    platform.wait(f"{project}/1/1")
    log = platform.log_of(f"{project}/1/1")
    assert "[Spidermon] Extracted Items Monitor/test_stat_monitor... OK" in log, log
    stored = httpx2.get(
        f"{platform.url}/collections/{project}/s/somespider_stats_history/count", auth=(KEY, "")
    )
    assert stored.json()["count"] == 1


def test_scrapyd_client(blocks: Blocks, shell: Program) -> None:
    (_, config), (_, deploy) = blocks("scrapyd-client")
    written(shell, "scrapy.cfg", f"[settings]\ndefault = somesite.settings\n{config}")
    assert '"status":"ok"' in sh(shell, deploy)
