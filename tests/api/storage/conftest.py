"""What every test of the storage face needs: no message leaves the process."""

import pytest

from tests.factories import fake_revoke


@pytest.fixture(autouse=True)
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The task ids of each revoke."""
    return fake_revoke(monkeypatch)
