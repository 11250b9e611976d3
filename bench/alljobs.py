"""Calls on all jobs of a project: reading a million of them, changing the tags of a hundred thousand."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Seconds of ``update.json``, and how long a client that schedules all the while has to wait."""
    with _scheduling(ours) as idle:
        time.sleep(lab.of(30, 1))  # about as long as all the calls: the longest of more is longer
    took: dict[str, list[float]] = {"add_tag": [], "remove_tag": []}
    worst, usual = [], []
    for action in (*took,) * lab.rounds:
        form = {"project": str(PROJECT), "has_tag": TENTH, action: "new"}
        with _scheduling(ours) as busy:
            began = time.perf_counter()
            answer = ours.http.post("/api/jobs/update.json", data=form, timeout=300)
            took[action].append(time.perf_counter() - began)
        if answer.json()["count"] != total // 10:
            raise RuntimeError(f"not the jobs of a tag: {answer.text}")
        worst.append(max(busy.waits))
        say(f"{action}, {kind}: {took[action][-1]:.3g} s; schedule.json {worst[-1]:.3g} ms at most")
        usual.append(median(busy.waits))
    what = f"update.json of {total // 10:,} jobs, {kind}"
    itself = "nothing else runs"
    return [
        Row(f"{what}: adding a tag", "s", "less", median(took["add_tag"]), MARK, 5),
        Row(f"{what}: removing it", "s", "less", median(took["remove_tag"]), MARK, 5),
        Row(f"schedule.json meanwhile, {kind}: p50", "ms", "less", median(usual), itself, median(idle.waits)),
        Row(f"schedule.json meanwhile, {kind}: longest", "ms", "less", max(worst), itself, max(idle.waits)),
    ]


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
