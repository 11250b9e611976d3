"""A platform whose records are in a bucket: written by runs, moved to and fro while it runs, unseen by spiders."""

from collections.abc import Iterator

import pytest

from tests import stores
from tests.platform import Platform
from tests.run.spiders import EGG

CODE = """if True:
    from sh_scrapy.writer import pipe_writer
    for n in range(9_000):
        pipe_writer.write_item({"n": n, "text": os.urandom(20).hex()})
    pipe_writer.write_item({"env": sorted(os.environ)})"""


@pytest.fixture(scope="module")
def place(s3: str) -> stores.Place:
    return stores.bucket(s3)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, place: stores.Place) -> Iterator[Platform]:
    """A platform of this module's own."""
    with Platform(tmp_path_factory.mktemp("store"), **place.environment()) as running:
        yield running


def test_the_records_of_a_run(platform: Platform, place: stores.Place) -> None:
    job = platform.run(platform.deploy(EGG), "code", code=CODE)
    assert job["close_reason"] == "finished" and job["errors_count"] == 0
    *items, env, _ = platform.items(job["id"])
    assert [item["n"] for item in items] == list(range(9_000))
    assert not [name for name in env["env"] if name.startswith(("AWS", "CRAWLDOCK"))]
    there = place.objects()
    assert len(there) >= 9
    for where, number in (("", 0), (place.url or "", len(there))):
        platform.env["CRAWLDOCK_CHUNK_STORE"] = where
        assert f"moved\t{len(there)} chunks" in platform.crawldock("move-chunks")
        assert platform.items(job["id"])[:9_000] == items
        (row,) = platform.sql("SELECT count(*) AS n FROM chunk WHERE object_url IS NOT NULL")
        assert row["n"] == number
