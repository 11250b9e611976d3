"""Chunk stores for tests: a folder, and a bucket of an S3-compatible server on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from app import store
from app.services import payloads
from app.settings import settings

BUCKET = "chunks"
ID, SECRET, REGION = "test", "s3-secret-of-a-test", "us-east-1"
_numbers = count(1)


@contextmanager
def s3_server() -> Iterator[str]:
    """A server with an empty bucket; yields its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        assert httpx.put(f"http://{host}:{port}/{BUCKET}").status_code == 200
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Place:
    """Where the chunks of a test are to be."""

    def __init__(self, url: str | None, server: str | None = None) -> None:
        self.url = url
        self.server = server

    def environment(self) -> dict[str, str]:
        """The variables that set it."""
        reached = {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}
        return reached | {
            "CRAWLDOCK_CHUNK_STORE": self.url or "",
            "AWS_ENDPOINT_URL": self.server or "",
        }

    def use(self, patch: pytest.MonkeyPatch, small: int = 0) -> None:
        """Set it for this process; chunks of less than ``small`` bytes stay in the database."""
        for name, value in self.environment().items():
            patch.setenv(name, value)
        patch.setattr(payloads, "SMALL", small)
        settings.cache_clear()
        store._bucket.cache_clear()

    @contextmanager
    def away(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """The disk is not mounted; the server does not answer."""
        if self.server is None:
            assert self.url
            path = Path(self.url.removeprefix("file://"))
            path.rename(f"{path}-away")
            yield
            Path(f"{path}-away").rename(path)
        else:
            Place(self.url, "http://127.0.0.1:9").use(patch)
            yield
            self.use(patch)

    def objects(self) -> set[str]:
        """The URLs of all objects there."""
        if self.url is None:
            return set()
        if self.server is None:
            return {
                f"file://{path}"
                for path in Path(self.url.removeprefix("file://")).rglob("*")
                if path.is_file()
            }
        bucket = S3Store(
            BUCKET, endpoint=self.server, access_key_id=ID, secret_access_key=SECRET, region=REGION,
            client_options={"allow_http": True},
        )  # fmt: skip
        found = obstore.list(bucket, self.url.removeprefix(f"s3://{BUCKET}/") + "/").collect()
        return {f"s3://{BUCKET}/{each['path']}" for each in found}


def folder(path: Path) -> Place:
    """An empty folder."""
    path.mkdir()
    return Place(f"file://{path}")


def bucket(server: str) -> Place:
    """An empty part of the bucket."""
    return Place(f"s3://{BUCKET}/test/{next(_numbers)}", server)
