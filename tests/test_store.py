"""Objects in a folder and in a bucket: written, read, removed, and what is said when that fails."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import store
from app.errors import BadSettings, ObjectLost, StoreAway
from app.settings import settings
from tests import stores
from tests.stores import SECRET, Place


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """The settings of a test are not the next one's."""
    yield
    settings.cache_clear()


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A store of each kind."""
    if request.param == "s3":
        found = stores.bucket(request.getfixturevalue("s3"))
    else:
        found = stores.folder(tmp_path / "chunks")
    found.use(monkeypatch)
    return found


def new(place: Place, number: int = 1) -> list[str]:
    assert place.url
    return [store.new_url(place.url) for _ in range(number)]


def test_what_was_written_is_read(place: Place) -> None:
    urls = new(place, 20)
    store.write([(url, url.encode() * 1000) for url in urls])
    assert [store.read(url) for url in urls] == [url.encode() * 1000 for url in urls]
    assert place.objects() == set(urls) and {store.base_of(url) for url in urls} == {place.url}


def test_removing_twice_or_what_never_was_is_no_error(place: Place) -> None:
    urls = new(place, 3)
    store.write([(urls[0], b"a"), (urls[1], b"b")])
    assert store.remove(urls[1:]) == store.remove(urls[1:]) == []
    assert place.objects() == {urls[0]}
    with pytest.raises(ObjectLost, match="records are missing"):
        store.read(urls[1])


def test_a_store_that_is_away(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (url,) = new(place)
    store.write([(url, b"a")])
    with place.away(monkeypatch):
        for failing in (lambda: store.write([(url, b"b")]), lambda: store.read(url)):
            with pytest.raises(StoreAway, match="does not answer") as error:
                failing()
            assert not isinstance(error.value, ObjectLost)
        assert store.remove([url]) == [url]
    assert store.read(url) == b"a"
    assert SECRET not in caplog.text and "Traceback" not in caplog.text


def test_one_store_that_is_away_keeps_nothing_in_the_other(tmp_path: Path) -> None:
    there, away = stores.folder(tmp_path / "there"), Place(f"file://{tmp_path}/away")
    urls = new(there) + new(away)
    store.write([(urls[0], b"a")])
    assert store.remove(urls) == urls[1:] and there.objects() == set()


def test_a_half_written_file_goes_with_its_object(tmp_path: Path) -> None:
    place = stores.folder(tmp_path / "chunks")
    (url,) = new(place)
    store.write([(url, b"a")])
    Path(url.removeprefix("file://") + ".new").write_bytes(b"half of it")
    assert store.remove([url]) == [] and place.objects() == set()


def test_a_bucket_that_is_not_there_or_not_ours(
    s3: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place = Place("s3://nosuchbucket/x", s3)
    place.use(monkeypatch)
    for failing in (lambda: store.write([(new(place)[0], b"b")]), lambda: store.read(new(place)[0])):
        with pytest.raises(StoreAway, match="does not answer") as error:
            failing()
        assert not isinstance(error.value, ObjectLost)


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3://b", "s3://bucket/a b", "s3://id:secret@bucket", "file://relative", "file:///", "gs://bucket/x",
     "s3://bucket/x?y=secret", "/plain/path", "file:///" + "x" * 200],
)  # fmt: skip
def test_what_is_no_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Place(url).use(monkeypatch)
    with pytest.raises(BadSettings, match=r"^CRAWLDOCK_CHUNK_STORE: ") as error:
        settings()
    assert "secret" not in str(error.value)


def test_a_slash_at_the_end_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    Place("s3://bucket/prefix/").use(monkeypatch)
    assert settings().chunk_store == "s3://bucket/prefix"


def test_without_the_library_a_bucket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Place("s3://bucket").use(monkeypatch)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(BadSettings, match=r"CRAWLDOCK_CHUNK_STORE: .*pip install 'crawldock\[s3\]'"):
        settings()
    Place("file:///folder").use(monkeypatch)
    assert settings().chunk_store == "file:///folder"
