"""The chunk store: objects in a folder, or in a bucket of an S3-compatible server. No database, no rules.

An object is named by its whole URL, so that what was written under another setting is still found.
None is ever written twice: each has a random name below the URL of the setting.
"""

import logging
import os
import uuid
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import ObjectLost, StoreAway
from app.settings import settings

if TYPE_CHECKING:
    from obstore.store import S3Store

log = logging.getLogger(__name__)

AT_ONCE = 8  # requests of one call
# An owner that waits for longer than its lease loses its job: see LEASE_MS in services.jobs.
CONNECT_SECONDS, REQUEST_SECONDS, RETRY_SECONDS = 2, 6, 3
_FILE = "file://"


def new_url(base: str) -> str:
    """The URL of an object to be, below that of a store."""
    name = uuid.uuid4().hex
    return f"{base}/{name[:2]}/{name}"


def base_of(url: str) -> str:
    """The URL of the store that an object is in."""
    return url.rsplit("/", 2)[0]


def write(objects: Sequence[tuple[str, bytes]]) -> None:
    """Write objects, (URL, content); when this returns they survive whatever happens to us.

    Raises:
        StoreAway: at least one was not written.

    """
    if len(objects) < 2:
        for each in objects:
            _write(each)
        return
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        list(pool.map(_write, objects))
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure, what has not begun never does


def _write(each: tuple[str, bytes]) -> None:
    url, data = each
    try:
        if url.startswith(_FILE):
            _write_file(Path(url.removeprefix(_FILE)), data)
        else:
            bucket, path = _split(url)
            bucket.put(path, data)
    except Exception as error:
        raise _away(error) from None


def _write_file(path: Path, data: bytes) -> None:
    # The store's own folder is never made: it may be a disk that is not mounted.
    path.parent.mkdir(exist_ok=True)
    new = _unfinished(path)
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def read(url: str) -> bytes:
    """The content of an object.

    Raises:
        StoreAway: it cannot be read now.
        ObjectLost: it is not there.

    """
    try:
        if url.startswith(_FILE):
            return Path(url.removeprefix(_FILE)).read_bytes()
        bucket, path = _split(url)
        return bytes(bucket.get(path).bytes())
    except FileNotFoundError as error:  # obstore's own is one too
        if not _there(base_of(url), error):
            raise _away(error) from None
        log.error("the chunk store has no %s", url)
        raise ObjectLost("records are missing from the chunk store") from None
    except Exception as error:
        raise _away(error) from None


def _there(base: str, error: FileNotFoundError) -> bool:
    """Is it the object alone that was not found, and not the whole store?"""
    if base.startswith(_FILE):
        return Path(base.removeprefix(_FILE)).is_dir()
    return "NoSuchBucket" not in str(error)


def remove(urls: Sequence[str]) -> list[str]:
    """Remove objects, there or not; returns those that may still be there."""
    stores = defaultdict(list)
    for url in urls:
        stores[base_of(url)].append(url)
    left: list[str] = []
    for base, mine in stores.items():
        try:
            if base.startswith(_FILE):
                _remove_files(Path(base.removeprefix(_FILE)), mine)
            else:
                parts = [_split(url) for url in mine]
                parts[0][0].delete([path for _, path in parts])
        except Exception as error:
            log.warning("%s objects of %s stay for now: %s", len(mine), base, _away(error))
            left += mine
    return left


def _remove_files(folder: Path, urls: Sequence[str]) -> None:
    folder.stat()  # raises where no disk is mounted: its files are not gone
    for url in urls:
        path = Path(url.removeprefix(_FILE))
        for each in (path, _unfinished(path)):
            each.unlink(missing_ok=True)


def _away(error: Exception) -> StoreAway:
    """What the log may know in full, and a user in few words."""
    words = str(error).strip().splitlines() or [""]
    log.warning("chunk store: %s: %s", type(error).__name__, words[0][:300])
    return StoreAway("the chunk store does not answer, try again")


def _split(url: str) -> "tuple[S3Store, str]":
    bucket, _, path = url.removeprefix("s3://").partition("/")
    return _bucket(bucket, os.getpid()), path


@lru_cache
def _bucket(name: str, process: int) -> "S3Store":
    """The bucket, for one process: the threads behind it do not survive a fork."""
    from obstore.store import S3Store

    found = settings()
    endpoint = found.aws_endpoint_url
    given: dict[str, Any] = {
        "access_key_id": found.aws_access_key_id,
        "secret_access_key": found.aws_secret_access_key,
        "session_token": found.aws_session_token,
        "region": found.aws_region,
        "endpoint": endpoint and endpoint.rstrip("/"),
    }
    return S3Store(
        name,
        config={key: value for key, value in given.items() if value is not None},  # type: ignore[arg-type]
        client_options={
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "allow_http": (endpoint or "").startswith("http://"),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    )
