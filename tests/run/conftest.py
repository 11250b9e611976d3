"""The project of the tests in this folder, on the shared platform."""

import pytest

from tests.platform import Platform
from tests.run.spiders import EGG


@pytest.fixture(scope="session")
def project(platform: Platform) -> int:
    """A project with all spiders of this folder."""
    return platform.deploy(EGG)
