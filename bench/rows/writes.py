"""How fast are records written over the storage API?"""

import gzip
import shutil
from functools import partial
from pathlib import Path

from bench import egg, typical
from bench.crawldock import Crawldock, api_alone, platform
from bench.lab import Lab, Row, rates
from bench.process import run
from bench.rows.items import crawl

PLAIN = ("--header", "Content-Type:")  # or curl would say that the body is a form


def measure(lab: Lab) -> list[Row]:
    """Whole processes on both sides; beside Scrapy, which makes the same items and writes a file."""
    count = lab.of(50_000, 2_000)
    folder, project = lab.place("writes"), lab.place("project")
    shutil.copytree(egg.PROJECT, project)
    with platform(folder):
        pass
    plain = typical.file(folder, count)
    packed = plain.with_suffix(".jl.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes(), 6))
    with api_alone(folder) as ours:
        compressed = (*PLAIN, "--header", "Content-Encoding: gzip")
        ways = {
            "python-scrapinghub": partial(_client, ours, plain, count),
            "curl, one POST, gzip": partial(_curl, ours, packed, count, compressed),
            "curl, one POST, plain": partial(_curl, ours, plain, count, PLAIN),
        }
        what = f"{count:,} items written"
        crawl(project, 10)
        *mine, theirs = lab.turns(what, [*ways.values(), partial(crawl, project, count)])
    size = count, plain.stat().st_size
    rows = []
    for way, seconds in zip(ways, mine, strict=True):
        rows += rates(f"{what}, {way}", size, seconds, "scrapy crawl -o", theirs)
    return rows


def _client(ours: Crawldock, file: Path, count: int) -> float:
    job = ours.new_job()
    took, _ = run(ours.client("write", job, str(file)), folder=file.parent)
    return _checked(ours, job, count, took)


def _curl(ours: Crawldock, file: Path, count: int, options: tuple[str, ...]) -> float:
    job = ours.new_job()
    argv = ours.curl(f"/items/{job}?start=0", *options, "--data-binary", f"@{file}")
    took, _ = run(argv, folder=file.parent)
    return _checked(ours, job, count, took)


def _checked(ours: Crawldock, job: str, count: int, took: float) -> float:
    if (stored := ours.stored(job)) != count:
        raise RuntimeError(f"job {job} has {stored} of {count} items")
    return took
