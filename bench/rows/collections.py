"""How fast are records of a collection written and read?"""

import http.client
import itertools
import json
import sqlite3
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bench import typical
from bench.crawldock import KEY, PROJECT, Crawldock, api_alone, platform
from bench.lab import Lab, Row, rates
from bench.process import run

BATCH = 1_000
PEER = "sqlite3 in Python"
_names = itertools.count()


def measure(lab: Lab) -> list[Row]:
    """Beside plain SQLite, which is as durable: WAL, synchronous=FULL, a transaction for each call."""
    few, many = lab.of(2_000, 200), lab.of(50_000, 5_000)
    folder = lab.place("collections")
    with platform(folder):
        pass
    with api_alone(folder) as ours, closing(_peer(folder / "peer.db")) as peer:
        records = [_record(number) for number in range(many)]
        some = folder / "records.jl"
        some.write_bytes(b"".join(line + b"\n" for line in records[:few]))
        rows = []

        def pair(
            what: str, size: list[bytes], ours_: Callable[[], float], theirs: Callable[[], float]
        ) -> None:
            mine, others = lab.turns(what, [ours_, theirs])
            rows.extend(rates(what, (len(size), sum(map(len, size))), mine, PEER, others))

        pair(
            f"{few:,} records set one by one, python-scrapinghub",
            records[:few],
            partial(_set, ours, some),
            partial(_insert, peer, records[:few], 1),
        )
        pair(
            f"{many:,} records set by {BATCH:,}, POST",
            records,
            partial(_post, ours, records),
            partial(_insert, peer, records, BATCH),
        )
        name = f"{PROJECT}/full"
        _post(ours, records, "full")
        _insert(peer, records, BATCH, "full")
        pair(
            f"{many:,} records scanned, curl",
            records,
            partial(_scan, ours, folder, sum(map(len, records))),
            partial(_select, peer, many, bytes),
        )
        pair(
            f"{many:,} records scanned, python-scrapinghub",
            records,
            lambda: float(run(ours.client("scan", name, many), folder=folder)[1]),
            partial(_select, peer, many, json.loads),
        )
    return rows


def _record(number: int) -> bytes:
    """A typical item under a key, in an order that is not that of the keys."""
    item = json.loads(typical.lines(1, number))
    return json.dumps({"_key": f"{number * 7919 % 1_000_003:07d}", **item}).encode()


# Ours


def _set(ours: Crawldock, file: Path) -> float:
    """Seconds in the client, without the start of its Python."""
    name = f"{PROJECT}/set{next(_names)}"
    return float(run(ours.client("set", name, str(file)), folder=file.parent)[1])


def _post(ours: Crawldock, records: list[bytes], name: str = "") -> float:
    path = f"/collections/{PROJECT}/s/{name or f'post{next(_names)}'}"
    basic = b64encode(f"{KEY}:".encode()).decode()
    bodies = [b"\n".join(part) + b"\n" for part in _parts(records, BATCH)]
    with closing(http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)) as connection:
        began = time.perf_counter()
        for body in bodies:
            connection.request("POST", path, body, {"Authorization": f"Basic {basic}"})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"records were refused: {answer.status} {said[:300]!r}")
        return time.perf_counter() - began


def _scan(ours: Crawldock, folder: Path, size: int) -> float:
    took, printed = run(ours.curl(f"/collections/{PROJECT}/s/full?meta=_key"), folder=folder)
    if int(printed) < 0.9 * size:  # it need not put spaces where they were
        raise RuntimeError(f"{printed} bytes are less than the collection holds")
    return took


# Theirs


def _peer(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _insert(peer: sqlite3.Connection, records: list[bytes], size: int, name: str = "") -> float:
    name = name or f"insert{next(_names)}"
    peer.execute(f"CREATE TABLE {name} (key TEXT PRIMARY KEY, value BLOB)")
    statement = f"INSERT OR REPLACE INTO {name} VALUES (?, ?)"
    began = time.perf_counter()
    for part in _parts(records, size):
        peer.execute("BEGIN IMMEDIATE")
        peer.executemany(statement, [(json.loads(line)["_key"], line) for line in part])
        peer.execute("COMMIT")
    return time.perf_counter() - began


def _select(peer: sqlite3.Connection, count: int, read: Callable[[bytes], object]) -> float:
    began = time.perf_counter()
    found = sum(1 for (value,) in peer.execute("SELECT value FROM full ORDER BY key") if read(value))
    if found != count:
        raise RuntimeError(f"{found} of {count} records")
    return time.perf_counter() - began


def _parts(records: list[bytes], size: int) -> Iterator[list[bytes]]:
    for first in range(0, len(records), size):
        yield records[first : first + size]
