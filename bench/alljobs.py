"""Calls on all jobs of a project: reading a million of them, changing the tags of a hundred thousand."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.crawldock import KEY, PROJECT, Crawldock
from bench.lab import MARK, Lab, Row, median
from bench.process import run, say
from bench.rows.memory import highest, resident
from bench.stock import TENTH

DUMP = str(Path(__file__).with_name("dump.py"))


def read(lab: Lab, kind: str, ours: Crawldock, total: int) -> list[Row]:
    """Jobs per second of ``jobs/list.jl``, beside a plain script that dumps the same rows, and the memory.

    Processor time is that of the API, or of the script: where others use the machine, too, it tells more.
    """
    database = ours.url_of_database.replace("+psycopg", "").removeprefix("sqlite:///")
    api = psutil.Process(ours.pid)
    grown: list[float] = []
    busy: dict[str, list[float]] = {"api": [], "script": []}

    def mine() -> float:
        before = sum(api.cpu_times()[:2])
        with highest(lambda: resident(ours.pid)) as more:
            took, size = run(ours.curl(f"/api/jobs/list.jl?project={PROJECT}"), folder=lab.folder)
        if int(size) < 200 * total:
            raise RuntimeError(f"{size} bytes are not {total} jobs")
        grown.append(more())
        busy["api"].append(sum(api.cpu_times()[:2]) - before)
        return took

    def script() -> float:
        took, cpu = map(float, run([sys.executable, DUMP, database], folder=lab.folder)[1].split())
        busy["script"].append(cpu)
        return took

    what = f"jobs/list.jl of {total:,} jobs, {kind}"
    took, theirs = lab.turns(what, [mine, script])
    cpu, its_cpu = (median(seconds) * 1e6 / total for seconds in busy.values())
    name = "plain script"
    return [
        Row(what, "jobs/s", "more", total / median(took), name, total / median(theirs)),
        Row(f"{what}: processor time of each", "µs", "less", cpu, name, its_cpu),
        Row(f"{what}: memory", "MB more", "less", max(grown), MARK, 50),
    ]


def tag(lab: Lab, kind: str, ours: Crawldock, total: int) -> list[Row]:
    """Seconds of ``update.json``, alone and beside a client that schedules without a pause, and its waits."""
    with _scheduling(ours) as idle:
        time.sleep(lab.of(30, 1))  # about as long as all the calls: the longest of more is longer
    took: dict[tuple[str, str], list[float]] = {}
    worst, usual = [], []
    for _ in range(lab.rounds):
        for way in "", ", beside schedules":
            for verb, action in ("adding", "add_tag"), ("removing", "remove_tag"):
                with _scheduling(ours) if way else nullcontext() as busy:
                    seconds = _update(ours, action, total)
                took.setdefault((verb, way), []).append(seconds)
                say(f"{kind}: {verb} a tag{way}: {seconds:.3g} s")
                if busy is not None:
                    worst.append(max(busy.waits))
                    usual.append(median(busy.waits))
                    say(f"{kind}: schedule.json meanwhile: {worst[-1]:.3g} ms at most")
    what = f"update.json of {total // 10:,} jobs, {kind}"
    itself = "nothing else runs"
    return [
        *(
            Row(f"{what}: {verb} a tag{way}", "s", "less", median(each), MARK, 5)
            for (verb, way), each in took.items()
        ),
        Row(f"schedule.json meanwhile, {kind}: p50", "ms", "less", median(usual), itself, median(idle.waits)),
        Row(f"schedule.json meanwhile, {kind}: longest", "ms", "less", max(worst), itself, max(idle.waits)),
    ]


def _update(ours: Crawldock, action: str, total: int) -> float:
    """Seconds for adding or removing a tag of every tenth job."""
    form = {"project": str(PROJECT), "has_tag": TENTH, action: "new"}
    began = time.perf_counter()
    answer = ours.http.post("/api/jobs/update.json", data=form, timeout=300)
    seconds = time.perf_counter() - began
    if answer.json()["count"] != total // 10:
        raise RuntimeError(f"not the jobs of a tag: {answer.text}")
    return seconds


@dataclass
class _Waits:
    waits: list[float] = field(default_factory=list)  # ms


@contextmanager
def _scheduling(ours: Crawldock) -> Iterator[_Waits]:
    """A client that schedules one job after the other during the block."""
    found = _Waits()
    done = threading.Event()
    failures: list[str] = []

    def client() -> None:
        with httpx.Client(base_url=ours.url, auth=(KEY, ""), timeout=60, trust_env=False) as http:
            for number in itertools.count():
                form = {"project": str(PROJECT), "spider": "three", "n": f"{time.time_ns()}-{number}"}
                began = time.perf_counter()
                answer = http.post("/api/schedule.json", data=form)
                found.waits.append((time.perf_counter() - began) * 1000)
                if answer.status_code != 200:
                    failures.append(answer.text)
                if failures or done.is_set():
                    return

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
    if failures:
        raise RuntimeError(f"schedule refused: {failures[0]}")
