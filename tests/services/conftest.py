"""What tests of services need: no message leaves the process; and a database with many rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app import db
from app.services import collections, jobboard, joblist
from app.settings import settings
from tests import many
from tests.factories import fake_revoke
from tests.platform import until


@pytest.fixture(autouse=True)
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The task ids of each revoke."""
    return fake_revoke(monkeypatch)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def full(
    request: pytest.FixtureRequest, sqlite_template: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A database with many rows. PostgreSQL has looked at them, as it does by itself; SQLite never does."""
    folder: Path = tmp_path_factory.mktemp("plans")
    (folder / "test.db").write_bytes(sqlite_template)
    url = f"sqlite:///{folder / 'test.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url_of_module")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("CRAWLDOCK_DATA_DIR", str(folder / "data"))
        patch.setattr(joblist, "RARE", many.JOBS // 20)
        patch.setattr(jobboard, "LOOK", 50)
        patch.setattr(jobboard, "COUNTED", 1000)
        patch.setattr(jobboard, "IN_LINE", 100)
        patch.setattr(collections, "PAGE", 300)
        settings.cache_clear()
        db.engine.cache_clear()
        with db.engine().execution_options(writes=True).begin() as connection:
            many.fill(connection)
        if request.param == "postgres":
            with db.engine().execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                until(lambda: _looked_at(connection))
        yield
        db.engine().dispose()
    db.engine.cache_clear()
    settings.cache_clear()


def _looked_at(connection: Connection) -> bool:
    """Have PostgreSQL look at all rows; False: it could not mark all jobs as visible to everybody yet.

    Then it would not take an index for all there is to know of them.
    """
    connection.exec_driver_sql("VACUUM ANALYZE")
    visible = "SELECT relallvisible = relpages FROM pg_class WHERE relname = 'job'"
    return bool(connection.exec_driver_sql(visible).scalar())
