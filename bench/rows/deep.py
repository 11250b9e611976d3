"""How soon does the first byte come, wherever in a very large job a read starts?"""

import http.client
import json
import random
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bench import postgres, stored
from bench.crawldock import KEY, PROJECT, Crawldock, api_alone, copy_database, platform
from bench.lab import Lab, Row, median
from bench.process import say

FEW = 1_000
WAYS = {
    "start": "/items/{job}?start={job}/{place}",
    "startafter": "/items/{job}?startafter={job}/{before}",
    "start and count, with _key": "/items/{job}?start={job}/{place}&count=100&meta=_key",
    "index": "/items/{job}?index={place}",
    "offset": f"/api/items.jl?project={PROJECT}&job={{job}}&offset={{place}}",
    "offset and count": f"/api/items.json?project={PROJECT}&job={{job}}&offset={{place}}&count=100",
}


def measure(lab: Lab) -> list[Row]:
    """Milliseconds from connecting to the first byte of the body; beside a job of one chunk."""
    many, requests = lab.of(10_000_000, 50_000), lab.of(50, 5) * lab.rounds
    rows = []
    for kind in ("SQLite", "PostgreSQL"):
        with _api(lab, kind) as ours:
            jobs = {count: ours.new_job() for count in (many, FEW)}
            for count, job in jobs.items():
                began = time.perf_counter()
                stored.fill(ours.url_of_database, job, count)
                say(f"{kind}: {count:,} items in {time.perf_counter() - began:.1f} s")
            for way, path in WAYS.items():
                _check(ours, path, jobs[many], many)
                took = {count: list[float]() for count in jobs}
                for number in range(requests):
                    for count in (many, FEW) if number % 2 else (FEW, many):
                        took[count].append(_first_byte(ours, path, jobs[count], random.randrange(count)))
                for name, figure in (("p50", median), ("most", max)):
                    mine, others = figure(took[many]), figure(took[FEW])
                    what = f"first byte of {many:,} items, {kind}, {way}: {name} of {requests}"
                    rows.append(Row(what, "ms", "less", mine, f"itself, {FEW:,} items", others))
    return rows


@contextmanager
def _api(lab: Lab, kind: str) -> Iterator[Crawldock]:
    folder = lab.place("deep")
    with platform(folder):
        pass
    if kind == "SQLite":
        with api_alone(folder) as ours:
            yield ours
        return
    with postgres.server() as server:
        url = server.create("deep")
        copy_database(folder, url)
        with api_alone(folder, url) as ours:
            yield ours


def _path(path: str, job: str, place: int) -> str:
    return path.format(job=job, place=place, before=max(place - 1, 0))


def _first_byte(ours: Crawldock, path: str, job: str, place: int) -> float:
    """Whoever reads on from there would read for long: the line is closed instead."""
    basic = b64encode(f"{KEY}:".encode()).decode()
    with closing(http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)) as connection:
        began = time.perf_counter()
        connection.request("GET", _path(path, job, place), headers={"Authorization": f"Basic {basic}"})
        answer = connection.getresponse()
        begun = answer.read(1)
        took = time.perf_counter() - began
    if answer.status != 200 or not begun:
        raise RuntimeError(f"{path}: {answer.status}, {begun!r}")
    return took * 1000


def _check(ours: Crawldock, path: str, job: str, count: int) -> None:
    """Is it the right item?"""
    place = count * 2 // 3
    url = _path(path, job, place) + ("" if "_key" in path else "&meta=_key")
    with ours.http.stream("GET", url) as answer:
        found = json.loads(next(answer.iter_lines()))
    first = found[0] if isinstance(found, list) else found
    if first["_key"] != f"{job}/{place}":
        raise RuntimeError(f"{path}: {first['_key']} instead of {job}/{place}")
