"""Are records as fast in a chunk store as in the database?"""

import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import httpx

from bench import typical
from bench.crawldock import Crawldock, api_alone, platform
from bench.lab import Lab, Row, rates
from bench.process import Child, free_port, run

BUCKET = "chunks"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
BATCH = 20_000
_numbers = itertools.count()


def measure(lab: Lab) -> list[Row]:
    """The same items written by POST and read by curl; the database is the peer of the stores."""
    count = lab.of(100_000, 5_000)
    raw = typical.described(count)
    lines = raw.splitlines(keepends=True)
    bodies = [b"".join(lines[first : first + BATCH]) for first in range(0, count, BATCH)]
    with ExitStack() as stack:
        folder = lab.place("chunks")
        folder.mkdir()
        server = stack.enter_context(_moto(lab))
        places = {
            "database": {},
            "file://": {"CRAWLDOCK_CHUNK_STORE": f"file://{folder}"},
            "s3://, moto's server": {
                "CRAWLDOCK_CHUNK_STORE": f"s3://{BUCKET}",
                "AWS_ENDPOINT_URL": server,
                **CREDENTIALS,
            },
        }
        sides = [stack.enter_context(_api(lab, more)) for more in places.values()]
        jobs = [_job(ours) for ours in sides]
        what = f"{count:,} items with running text"
        writes = lab.turns(f"{what} written", [partial(_write, ours, bodies) for ours in sides])
        for ours, job in zip(sides, jobs, strict=True):
            _fill(ours, job, bodies)
        reads = lab.turns(
            f"{what} read",
            [partial(_read, ours, job, len(raw)) for ours, job in zip(sides, jobs, strict=True)],
        )
    rows = []
    for work, (base, *others) in (("written, POST", writes), ("read, jl, curl", reads)):
        for place, seconds in zip(list(places)[1:], others, strict=True):
            rows += rates(f"{what} {work}, {place}", (count, len(raw)), seconds, "database", base)
    return rows


@contextmanager
def _api(lab: Lab, more: Mapping[str, str]) -> Iterator[Crawldock]:
    folder = lab.place("chunkstore")
    with platform(folder):
        pass
    with api_alone(folder, more=more) as ours:
        yield ours


@contextmanager
def _moto(lab: Lab) -> Iterator[str]:
    """A server with an empty bucket; its URL."""
    port, folder = free_port(), lab.place("moto")
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    with Child([sys.executable, "-m", "moto.server", "-p", str(port)], folder=folder, env={}) as child:
        child.ready(f"{url}/moto-api/")
        httpx.put(f"{url}/{BUCKET}", trust_env=False).raise_for_status()
        yield url


def _job(ours: Crawldock) -> str:
    return ours.schedule("three", {"n": f"chunks{next(_numbers)}"})


def _fill(ours: Crawldock, job: str, bodies: list[bytes]) -> None:
    for place, body in enumerate(bodies):
        ours.write(f"/items/{job}", body, start=str(place * BATCH))


def _write(ours: Crawldock, bodies: list[bytes]) -> float:
    job = _job(ours)
    began = time.perf_counter()
    _fill(ours, job, bodies)
    return time.perf_counter() - began


def _read(ours: Crawldock, job: str, size: int) -> float:
    took, printed = run(ours.curl(f"/items/{job}"), folder=ours.database.parent)
    if int(printed) != size:
        raise RuntimeError(f"{printed} bytes and not {size}")
    return took
