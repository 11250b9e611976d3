"""From SQLite to PostgreSQL: everything comes along, and counting goes on."""

import pytest
from sqlalchemy import select
from sqlmodel import col

from app import copying, db
from app.errors import BadParameter, Refused
from app.models import Job, JobState, Kind, metadata
from app.services import apikeys, joblist, jobs, projects, reader, records
from app.settings import settings

pytestmark = pytest.mark.usefixtures("sent")


def fill() -> None:
    """One finished job with items and tags, and a pending one."""
    with db.transaction() as session:
        projects.create(session, "one", 1)
        projects.set_deployed(session, 1, ["quotes"])
        apikeys.create(session, "anna", projects=[1])
        for tag in ("a", "b"):
            jobs.schedule(session, 1, jobs.NewJob("quotes", args={"x": tag}, tags=[tag, "both"]), "anna")
        claimed = jobs.claim(session, "worker", "task")
        assert claimed is not None
        batch = records.pack(Kind.ITEMS, 0, [5, 6], [b'{"n":1}', b'{"n":2}'])
        assert records.append(session, claimed.id, claimed.token, [batch], None)
        assert jobs.finish(session, claimed.id, claimed.token, "finished")


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    settings.cache_clear()
    db.engine.cache_clear()


@pytest.fixture
def moved(sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source; its content has been copied into the process's own PostgreSQL database."""
    use(sqlite_url, monkeypatch)
    fill()
    db.engine().dispose()
    use(postgres_url, monkeypatch)
    counts = copying.copy_from(sqlite_url)
    assert counts["job"] == 2
    assert set(counts) == {table.name for table in metadata.sorted_tables}
    return sqlite_url


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    db.engine().dispose()
    db.engine.cache_clear()
    settings.cache_clear()


def test_everything_comes_along(moved: str) -> None:
    with db.reading() as session:
        rows = joblist.page(session, joblist.Filter(1), 10, 0)
        assert [row.state for row in rows] == [JobState.FINISHED, JobState.PENDING]
        tags = joblist.tags_of(session, [row.id for row in rows])
    assert tags == {rows[0].id: ["a", "both"], rows[1].id: ["b", "both"]}
    blocks = list(reader.read(rows[0].id, Kind.ITEMS, 0, 9, times=True))
    assert [(block.lines, block.times) for block in blocks] == [([b'{"n":1}', b'{"n":2}'], [5, 6])]


def test_counting_goes_on(moved: str) -> None:
    with db.transaction() as session:
        key = jobs.schedule(session, 1, jobs.NewJob("quotes"), "anna")
        ids = list(session.scalars(select(col(Job.id)).order_by(col(Job.id))))
        assert projects.create(session, "next") == 2
    assert (str(key), ids) == ("1/1/3", [1, 2, 3])


def test_a_database_that_holds_anything_is_refused(moved: str) -> None:
    with pytest.raises(Refused, match="not empty"):
        copying.copy_from(moved)


@pytest.mark.parametrize("url", ["nonsense", "mysql://h/d", "sqlite:////nosuch/file.db"])
def test_what_cannot_be_copied_from(postgres_url: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    use(postgres_url, monkeypatch)
    with pytest.raises(BadParameter):
        copying.copy_from(url)
