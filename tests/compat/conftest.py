"""The public clients, unmodified, each in a virtualenv of its own, on the shared platform."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.compat import clients
from tests.compat.clients import Program, Python
from tests.eggs import SPIDERS
from tests.eggs import project as project_egg
from tests.platform import KEY, ROOT, Platform
from tests.site import Site

_numbers = itertools.count(5_000_000)


@pytest.fixture(scope="session")
def client_venv(shared: Path) -> Callable[[str], Path]:
    """The `bin` folder of the virtualenv of a client: the name of a dependency group in pyproject.toml."""
    return lambda name: clients.build(name, shared / "clients")


@pytest.fixture(scope="session", params=["client", "client-plain"], ids=["msgpack", "plain"])
def python(
    request: pytest.FixtureRequest,
    platform: Platform,
    client_venv: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Python]:
    """A Python with python-scrapinghub, once with MessagePack and once without."""
    running = Python(client_venv(request.param), platform, tmp_path_factory.mktemp(request.param))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def project(platform: Platform) -> int:
    """A project with the usual spiders."""
    return platform.deploy(project_egg(SPIDERS), version="compat")


@pytest.fixture
def empty(platform: Platform) -> int:
    """A project of the test's own, to which nothing was deployed: no worker takes its jobs."""
    number = next(_numbers)
    platform.create_project(number)
    return number


@pytest.fixture(scope="session")
def crawl(platform: Platform, site: Site) -> str:
    """The key of a finished job: the example spider on a small site, seven pages and as many items."""
    job = platform.run(123, "somespider", start_url=site.url, add_tag=["compat"])
    assert job["close_reason"] == "finished", platform.log_of(job["id"])
    return str(job["id"])


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example project, without a configuration for shub."""
    folder = tmp_path / "example"
    shutil.copytree(
        ROOT / "examples", folder, ignore=shutil.ignore_patterns("scrapinghub.yml", "__pycache__")
    )
    return folder


@pytest.fixture
def shub(platform: Platform, client_venv: Callable[[str], Path], example: Path) -> Program:
    """shub in the example project, with a key and where the storage is; the rest says `scrapinghub.yml`."""
    # It asks once a day for its newest release; today it has.
    release = example / ".config" / "scrapinghub" / "last_release.txt"
    release.parent.mkdir(parents=True)
    release.write_text(json.dumps({"_shub_last_update": date.today().toordinal(), "name": "v0"}))  # noqa: DTZ011
    return Program(client_venv("shub") / "shub", example, SHUB_APIKEY=KEY, SHUB_STORAGE=platform.url)
