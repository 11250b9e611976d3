"""Migrations: up, down, up; what they make is what the models say, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from alembic import command
from app import db, migrations
from app.errors import BadSettings
from app.models import metadata
from app.services import apikeys
from app.settings import settings
from tests import stores
from tests.factories import job_with_items
from tests.platform import KEY


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[db.Engine]:
    """A migrated database, before anything is in it."""
    engine = db.make_engine(request.getfixturevalue(f"{request.param}_url"))
    yield engine
    engine.dispose()


def move(engine: db.Engine, revision: str) -> None:
    setup = migrations.config()
    with engine.execution_options(writes=True).begin() as connection:
        setup.attributes["connection"] = connection
        (command.downgrade if revision == "base" else command.upgrade)(setup, revision)


def tables(engine: db.Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version", "sqlite_sequence"}


def schema(engine: db.Engine) -> list[tuple[str, str]]:
    """Name and definition of every table, index and constraint, as the database tells it."""
    sqlite = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    postgres = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL "
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace "
        "UNION ALL SELECT table_name || '.' || column_name, data_type || is_nullable "
        "FROM information_schema.columns WHERE table_schema = 'public'"
    )
    with engine.connect() as connection:
        rows = connection.execute(text(sqlite if engine.dialect.name == "sqlite" else postgres))
        return sorted((name, definition) for name, definition in rows)


def test_down_leaves_nothing_and_up_again_makes_the_same(engine: db.Engine) -> None:
    before = schema(engine)
    move(engine, "base")
    assert tables(engine) == set()
    move(engine, "head")
    assert schema(engine) == before


def test_they_make_what_the_models_say(engine: db.Engine) -> None:
    assert tables(engine) == set(metadata.tables)
    with engine.connect() as connection:
        # Alembic cannot compare expressions on SQLite; the next test does.
        options = {"compare_type": True, "include_object": lambda _, name, *more: name != "ix_job_queue"}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_models_make_the_same_indexes(engine: db.Engine) -> None:
    """Of expressions and conditions too, which the comparison above passes over."""

    def indexes() -> list[tuple[str, str]]:
        return [(name, sql) for name, sql in schema(engine) if "INDEX" in sql]

    migrated = indexes()
    move(engine, "base")
    with engine.execution_options(writes=True).begin() as connection:
        metadata.create_all(connection)
    assert indexes() == migrated


def test_the_queue_has_its_index(engine: db.Engine) -> None:
    definition = dict(schema(engine))["ix_job_queue"]
    assert "priority DESC, id" in definition
    assert "WHERE" in definition
    assert "'pending'" in definition


def test_a_claim_uses_the_queue_index(engine: db.Engine) -> None:
    query = "SELECT id FROM job WHERE state = 'pending' ORDER BY priority DESC, id LIMIT 1"
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        plan = "\n".join(str(line) for line in connection.execute(text(f"{explain} {query}")))
    assert "ix_job_queue" in plan


def test_no_way_down_while_records_are_elsewhere(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: object
) -> None:
    stores.folder(tmp_path / "chunks").use(monkeypatch)
    job_with_items([1])
    before = schema(db.engine())
    with pytest.raises(RuntimeError, match="crawldock move-chunks"):
        move(db.engine(), "base")
    assert schema(db.engine()) == before


def test_migrating_twice_changes_nothing(database: str) -> None:
    before = schema(db.engine())
    migrations.migrate()
    assert schema(db.engine()) == before


def valid(key: str) -> bool:
    with db.reading() as session:
        return apikeys.find(session, key) is not None


def test_the_admin_key_of_the_settings(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLDOCK_API_KEY", "k" * 32)
    settings.cache_clear()
    assert migrations.admin_key(make=True) == "k" * 32
    assert (valid("k" * 32), valid(KEY)) == (True, False)


def test_an_admin_key_is_made_and_kept(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRAWLDOCK_API_KEY", raising=False)
    settings.cache_clear()
    settings().data_dir.mkdir()
    assert migrations.admin_key(make=False) is None
    made = migrations.admin_key(make=True)
    assert made == migrations.admin_key(make=True) == migrations.admin_key(make=False)
    assert made is not None and valid(made)
    kept = settings().data_dir / "admin-key"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (f"{made}\n", 0o600)


def test_a_revoked_key_of_the_settings_is_said_to_be_so(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAWLDOCK_API_KEY", KEY)
    settings.cache_clear()
    with db.transaction() as session:
        apikeys.revoke(session, "admin", "somebody")
    with pytest.raises(BadSettings, match="CRAWLDOCK_API_KEY: this key was revoked"):
        migrations.admin_key(make=True)
    assert not valid(KEY)


@pytest.mark.parametrize("kept", ["", KEY])
def test_a_kept_key_that_is_empty_or_revoked_gives_way_to_a_new_one(
    database: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRAWLDOCK_API_KEY", raising=False)
    settings.cache_clear()
    settings().data_dir.mkdir()
    (settings().data_dir / "admin-key").write_text(kept)
    with db.transaction() as session:
        apikeys.revoke(session, "admin", "somebody")
    assert migrations.admin_key(make=False) is None
    made = migrations.admin_key(make=True)
    assert made and made != kept and valid(made) and not valid(KEY)
    assert (settings().data_dir / "admin-key").stat().st_mode & 0o777 == 0o600
