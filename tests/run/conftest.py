"""The project of the tests in this folder, on the shared platform."""

from collections.abc import Iterator

import pytest

from app import db
from app.settings import settings
from tests.platform import Platform
from tests.run.spiders import EARLY_EGG, EGG


@pytest.fixture(scope="session")
def project(platform: Platform) -> int:
    """A project with all spiders of this folder."""
    return platform.deploy(EGG)


@pytest.fixture(scope="session")
def early(platform: Platform) -> int:
    """A project of the same spiders with code that Python itself runs at its start."""
    return platform.deploy(EARLY_EGG)


@pytest.fixture
def inside(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process works on the platform's database too."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{platform.folder / 'data' / 'crawldock.db'}")
    settings.cache_clear()
    db.engine.cache_clear()
    yield
    db.engine().dispose()
    db.engine.cache_clear()
    settings.cache_clear()
