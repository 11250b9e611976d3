"""Settings: defaults, variables, and one clear line for a bad value."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import BadSettings
from app.settings import Settings, settings, variable


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of ours is set, and nothing is remembered."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_defaults() -> None:
    found = settings()
    assert (found.host, found.port, found.data_dir, found.redis_url) == (
        "127.0.0.1",
        8000,
        Path("data"),
        None,
    )
    assert found.slots >= 1
    assert found.database == f"sqlite:///{Path('data/crawldock.db').absolute()}"
    assert found.url == "http://127.0.0.1:8000"


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CRAWLDOCK_SLOTS": "7",
        "REDIS_URL": "redis://r:1/2",
        "CRAWLDOCK_UPLOAD_MB": "3",
    }.items():
        monkeypatch.setenv(name, value)
    assert (settings().slots, settings().redis_url, settings().upload_mb) == (7, "redis://r:1/2", 3)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_urls_of_databases(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    monkeypatch.setenv("DATABASE_URL", given)
    assert settings().database == used


@pytest.mark.parametrize(
    ("host", "public", "url"),
    [
        ("0.0.0.0", None, "http://127.0.0.1:8000"),
        ("::", None, "http://127.0.0.1:8000"),
        ("::1", None, "http://[::1]:8000"),
        ("host", "https://crawl.example.com/", "https://crawl.example.com"),
    ],
)
def test_where_the_api_is_reached(
    monkeypatch: pytest.MonkeyPatch, host: str, public: str | None, url: str
) -> None:
    monkeypatch.setenv("CRAWLDOCK_HOST", host)
    if public:
        monkeypatch.setenv("CRAWLDOCK_PUBLIC_URL", public)
    assert settings().url == url


BAD = {
    "CRAWLDOCK_PORT": ["0", "65536", "x"], "CRAWLDOCK_SLOTS": ["0", "1001", "two"],
    "CRAWLDOCK_API_KEY": ["short", "x" * 129, "with spaces in it"], "CRAWLDOCK_PUBLIC_URL": ["crawl.example.com", "ftp://x"],
    "DATABASE_URL": ["mysql://u:secret@h/d", "sqlite:x"], "REDIS_URL": ["http://:secret@h", "localhost"],
    "CRAWLDOCK_STOP_GRACE_SECONDS": ["0", "-1", "1.5"], "CRAWLDOCK_UPLOAD_MB": ["0", "1025"],
    "CRAWLDOCK_RETENTION_DAYS": ["-1"], "CRAWLDOCK_LOG_LEVEL": ["loud"], "CRAWLDOCK_JOB_MEMORY_MB": ["63"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_a_bad_value_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as error:
        settings()
    text = str(error.value)
    assert text.startswith(name)
    assert "\n" not in text
    assert "secret" not in text


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLDOCK_PORT", "x")
    monkeypatch.setenv("CRAWLDOCK_SLOTS", "0")
    with pytest.raises(BadSettings, match=r"CRAWLDOCK_PORT \('x'\).*; CRAWLDOCK_SLOTS \('0'\)"):
        settings()


def test_a_key_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLDOCK_API_KEY", "p@ssword-with-a-bad-letter")
    with pytest.raises(BadSettings) as error:
        settings()
    assert "p@ssword" not in str(error.value)


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:"])
def test_a_database_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(BadSettings, match="DATABASE_URL: must name a file"):
        settings()


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLDOCK_HOST", "")  # and never "all addresses"
    monkeypatch.setenv("CRAWLDOCK_DATA_DIR", "")
    assert (settings().host, settings().data_dir) == ("127.0.0.1", Path("data"))


def test_the_readme_has_every_setting() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for name in Settings.model_fields:
        assert f"| `{variable(name)}` |" in readme
