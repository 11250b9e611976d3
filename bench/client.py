"""What python-scrapinghub is measured at; runs in the peers' virtualenv, knows nothing of the others here.

``client.py URL KEY write|read JOB FILE|COUNT`` or ``… set|scan COLLECTION FILE|COUNT``; it prints the
seconds that the work took, without its own start, and fails when the number of records is another one.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scrapinghub import ScrapinghubClient  # type: ignore[import-not-found]  # not in ours


def write(client: Any, job: str, file: str) -> None:
    """Write the items of a file of JSON lines into a job, and wait until they are stored."""
    items = client.get_job(job).items
    for item in _records(file):
        items.write(item)
    items.close(block=True)


def read(client: Any, job: str, count: str) -> None:
    """Read all items of a job."""
    _expect(count, client.get_job(job).items.iter())


def store(client: Any, name: str, file: str) -> None:
    """Set the records of a file of JSON lines, one by one; a name is ``PROJECT/COLLECTION``."""
    into = _store(client, name)
    for record in _records(file):
        into.set(record)


def scan(client: Any, name: str, count: str) -> None:
    """Read all records of a collection."""
    _expect(count, _store(client, name).iter())


def _store(client: Any, name: str) -> Any:
    project, _, collection = name.partition("/")
    return client.get_project(int(project)).collections.get_store(collection)


def _records(file: str) -> Iterator[dict[str, Any]]:
    with Path(file).open("rb") as lines:
        yield from map(json.loads, lines)


def _expect(count: str, records: Iterator[Any]) -> None:
    found = sum(1 for _ in records)
    if found != int(count):
        raise SystemExit(f"{found} records and not {count}")


WORK: dict[str, Callable[[Any, str, str], None]] = {
    "write": write,
    "read": read,
    "set": store,
    "scan": scan,
}


def main() -> None:
    """Do what the command line asks for."""
    url, key, work, what, argument = sys.argv[1:]
    began = time.perf_counter()
    client = ScrapinghubClient(key, dash_endpoint=f"{url}/api/", endpoint=url)
    WORK[work](client, what, argument)
    client.close()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
