"""A platform to break: jobs that leave marks of their own, and the rules that hold whatever is killed."""

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.eggs import project
from tests.platform import Platform, until

SPIDERS = '''
class Told(scrapy.Spider):
    """An item each tenth of a second, `items` times; writes its start and end into a file of the job's own."""
    name = "told"

    def mark(self, what):
        with open(os.path.join(self.marks, os.environ["SHUB_JOBKEY"].replace("/", "-")), "a") as file:
            file.write(f"{what} {os.getpid()}\\n")

    async def start(self):
        self.mark("start")
        yield self.following(0)

    def following(self, n):
        return scrapy.Request("data:,", dont_filter=True, cb_kwargs={"n": n})

    # From callbacks: Scrapy's close never ends when an item of start() passes through it just then.
    async def parse(self, response, n):
        import asyncio
        if n < int(self.items):
            yield {"n": n}
            await asyncio.sleep(0.1)
            yield self.following(n + 1)

    def closed(self, reason):
        self.mark("end")
'''
WAIT_SECONDS = 15  # longest time that a job may wait while a slot is free
LONG = 600  # items: more than any test waits for
_number = itertools.count()


class Chaos(Platform):
    """A platform with a project of spiders that leave marks."""

    def __enter__(self) -> "Chaos":
        self.marks = self.folder / "marks"
        self.marks.mkdir()
        self._scheduled: dict[str, int] = {}
        super().__enter__()
        try:
            self.project = self.deploy(project(SPIDERS))
        except BaseException:
            self.stop()
            raise
        return self

    # Jobs

    def told(self, items: int, **params: Any) -> str:
        """Schedule a job of so many items, a tenth of a second each."""
        now = int(time.time())
        key = self.schedule(self.project, "told", items=items, marks=self.marks, n=next(_number), **params)
        self._scheduled[key] = now
        return key

    def started(self, key: str) -> bool:
        """Has its spider begun?"""
        return bool(self.marks_of(key))

    def marks_of(self, key: str) -> list[str]:
        """Words of the job's file: "start", "end"."""
        file = self.marks / key.replace("/", "-")
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def load(self, running: int = 2, pending: int = 2, items: int = 15) -> tuple[list[str], list[str]]:
        """Schedule jobs; return when those that can run do, keys of running and of pending ones."""
        until(self.healthy, 30)
        first = [self.told(items) for _ in range(running)]
        until(lambda: all(map(self.started, first)), 30)
        return first, [self.told(3) for _ in range(pending)]

    # Processes

    def spiders(self) -> list[psutil.Process]:
        """All processes of jobs of this platform, whoever is their parent by now."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(f"{self.folder}/data/runs/"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def spider(self, key: str) -> psutil.Process:
        """The process of the job's spider."""
        pid = (self.marks / key.replace("/", "-")).read_text().split()[1]
        return psutil.Process(int(pid))

    def runner(self, key: str) -> psutil.Process:
        """The slot's process that runs the job: it holds the lock of the job's folder."""
        folder = f"{self.folder}/data/runs/{key.replace('/', '-')}-"
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                if any(file.path.startswith(folder) for file in process.open_files()):
                    return process
        raise AssertionError(f"nobody runs {key}")

    def suspend(self, process: psutil.Process) -> None:
        """Stop a process where it holds no lock of the database, for which all others would wait until it goes on."""
        while True:
            process.suspend()
            with contextlib.closing(self.database(timeout=1)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("ROLLBACK")
                    return
                except sqlite3.OperationalError:
                    process.resume()
                    time.sleep(0.05)  # so it can end what it was at

    def database(self, timeout: float) -> sqlite3.Connection:
        """A connection of this process's own, without transactions but those that are asked for."""
        return sqlite3.connect(self.folder / "data" / "crawldock.db", isolation_level=None, timeout=timeout)

    # Rules

    def settle(self, *keys: str, seconds: float = 60) -> dict[str, dict[str, Any]]:
        """Wait for the end of all jobs; check what must hold for each job, and for the platform."""
        until(self.healthy, 30)
        jobs = {key: self.wait(key, seconds=seconds) for key in keys}
        for key, job in jobs.items():
            assert self.marks_of(key) in (["start", "end"], ["start"]), f"{key} {self.marks_of(key)}"
            assert job["close_reason"], job
            numbers = [item["n"] for item in self.items(key)]
            assert numbers == list(range(len(numbers))), f"{key} lost or doubled items"
            assert job["items_scraped"] == len(numbers)
        until(lambda: not self.spiders(), 5)
        self._check_waits()
        return jobs

    def _check_waits(self) -> None:
        """No job of the project has been pending for long while a slot was free."""
        slots = int(self.env["CRAWLDOCK_SLOTS"])
        jobs = self.get("jobs/list.json", project=self.project, count=1000).json()["jobs"]
        runs = [(_second(job["started_time"]), _second(job["updated_time"])) for job in jobs]
        for job, (start, _) in zip(jobs, runs, strict=True):
            free = 0  # seconds in a row
            for second in range(self._scheduled[job["id"]], start):
                busy = sum(begun <= second <= ended for begun, ended in runs)
                free = free + 1 if busy < slots else 0
                assert free <= WAIT_SECONDS, f"{job} waited while a slot was free"


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def begin(folder: Path, **env: str) -> Chaos:
    return Chaos(folder, **env)


@pytest.fixture(scope="module")
def _chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    with begin(tmp_path_factory.mktemp("chaos")) as platform:
        yield platform


@pytest.fixture
def chaos(_chaos: Chaos) -> Iterator[Chaos]:
    """A platform of this module's own with two slots, to break; what a test that failed has left is stopped."""
    yield _chaos
    until(_chaos.healthy, 30)
    live = {"project": _chaos.project, "state": ["pending", "running"]}
    if jobs := _chaos.get("jobs/list.json", **live).json()["jobs"]:
        _chaos.post("jobs/stop.json", project=_chaos.project, job=[job["id"] for job in jobs])
        until(lambda: not _chaos.get("jobs/list.json", **live).json()["jobs"])
