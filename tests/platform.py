"""A whole platform as a user starts it: `crawldock up` in a process of its own, spoken to over HTTP alone."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
from sqlalchemy.orm import Session

from app import chunks
from app.db import make_engine
from app.services import projects
from tests.eggs import SPIDERS, project

KEY = "0123456789abcdef0123456789abcdef"
CRAWLDOCK = [sys.executable, "-m", "app.cli"]
ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = 30.0, pause: float = 0.05) -> Any:
    """Ask until the answer is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last answer {answer!r}"
        time.sleep(pause)
    return answer


class Platform:
    """A running platform; environment variables may be given, as ``CRAWLDOCK_SLOTS="1"``."""

    venvs: Path | None = None  # where all platforms of a test run keep their virtualenvs

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CRAWLDOCK_")},
            "CRAWLDOCK_PORT": str(self.port),
            "CRAWLDOCK_DATA_DIR": str(folder / "data"),
            "CRAWLDOCK_SLOTS": "2",
            # The run tests pass both ways: `CRAWLDOCK_WARM_START=0 pytest tests/run` is the other one.
            "CRAWLDOCK_WARM_START": os.environ.get("CRAWLDOCK_WARM_START", "1"),
            "CRAWLDOCK_API_KEY": KEY,
            # Scrapy looks every five seconds whether it can close, when nothing else makes it look.
            "CRAWLDOCK_STOP_GRACE_SECONDS": "7",
            **env,
        }
        self._projects = iter(range(1000, 1_000_000))
        self.http = httpx2.Client(base_url=f"{self.url}/api/", auth=(KEY, ""), timeout=60)

    def __enter__(self) -> "Platform":
        try:
            self.start()
        except BaseException:
            self.stop()  # nothing is left of one that did not come up
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.http.close()

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        data = self.folder / "data"
        if self.venvs is not None and not data.exists():
            self.venvs.mkdir(exist_ok=True)
            data.mkdir()
            (data / "venvs").symlink_to(self.venvs)
        self.log = self.folder / "up.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*CRAWLDOCK, "up"], cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: "Crawldock is ready" in self.log.read_text() or self.process.poll() is not None, 90)
        assert self.process.poll() is None, self.log.read_text()
        until(self.healthy, 30)

    def healthy(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/health").status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Descendants with all of ``words`` in their command line, the oldest first."""
        found = []
        for process in self.descendants():
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if all(word in line for word in words):
                found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def worker(self) -> psutil.Process:
        """The main process of the worker."""
        return self.part("worker")

    def part(self, name: str) -> psutil.Process:
        """The main process of a part: valkey-server, api, worker, scheduler."""
        process: psutil.Process = until(lambda: self.part_or_none(name), 5)
        return process

    def part_or_none(self, name: str) -> psutil.Process | None:
        """The main process of a part that may just be down."""
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if process.name() == name:
                    return process
        return None

    def broker(self) -> str:
        """The URL of its own broker."""
        title = " ".join(self.part("valkey-server").cmdline())  # "valkey-server unixsocket:/…/valkey.sock"
        return "redis+socket://" + title.partition("unixsocket:")[2].split()[0]

    def crawldock(self, *args: str) -> str:
        """Run `crawldock …` beside the platform."""
        return subprocess.run(
            [*CRAWLDOCK, *args], cwd=ROOT, env=self.env, check=True, capture_output=True, text=True
        ).stdout

    # The API

    def get(self, path: str, **params: Any) -> httpx2.Response:
        return self.http.get(path, params=params)

    def post(self, path: str, **data: Any) -> httpx2.Response:
        return self.http.post(path, data=data)

    def create_project(self, project_id: int) -> None:
        """What `crawldock projects create` does, without starting an interpreter for it."""
        engine = make_engine(
            self.env.get("DATABASE_URL") or f"sqlite:///{self.folder / 'data' / 'crawldock.db'}"
        )
        with Session(engine.execution_options(writes=True)) as session:
            projects.create(session, f"project {project_id}", project_id)
            session.commit()
        engine.dispose()

    def deploy(
        self, egg: bytes | None = None, project_id: int | None = None, version: str = "1", **files: Any
    ) -> int:
        """Deploy an egg, by default the usual spiders, to a new project; returns the project's id."""
        if project_id is None:
            project_id = next(self._projects)
            self.create_project(project_id)
        egg = project(SPIDERS) if egg is None else egg
        answer = self.http.post(
            "scrapyd/addversion.json",
            data={"project": project_id, "version": version},
            files={"egg": ("project.egg", egg), **files},
        )
        assert answer.status_code == 200, answer.text
        assert httpx2.Response(200, text=answer.text.splitlines()[-1]).json()["status"] == "ok", answer.text
        return project_id

    def schedule(self, project_id: int, spider: str, **params: Any) -> str:
        answer = self.post("schedule.json", project=project_id, spider=spider, **params).json()
        assert answer["status"] == "ok", answer
        return str(answer["jobid"])

    def job(self, key: str) -> dict[str, Any]:
        jobs = self.get("jobs/list.json", project=key.split("/", maxsplit=1)[0], job=key).json()["jobs"]
        return dict(jobs[0])

    def wait(self, key: str, state: str = "finished", seconds: float = 40.0) -> dict[str, Any]:
        """Wait until the job is in ``state``; returns the job."""
        until(lambda: self.job(key)["state"] == state, seconds)
        return self.job(key)

    def run(self, project_id: int, spider: str, **params: Any) -> dict[str, Any]:
        """Schedule a job and wait for its end."""
        return self.wait(self.schedule(project_id, spider, **params))

    def items(self, key: str) -> list[Any]:
        text = self.get("items.jl", project=key.split("/", maxsplit=1)[0], job=key).text
        return [httpx2.Response(200, text=line).json() for line in text.splitlines()]

    def log_of(self, key: str) -> str:
        return self.get("log.txt", project=key.split("/", maxsplit=1)[0], job=key).text

    def run_json(self, project_id: int, spider: str, **params: Any) -> str:
        """``schedule`` with the parameters of run.json; dictionaries are sent as JSON."""
        data = {
            name: json.dumps(value) if isinstance(value, dict) else value for name, value in params.items()
        }
        answer = self.post("run.json", project=project_id, spider=spider, **data).json()
        assert answer["status"] == "ok", answer
        return str(answer["jobid"])

    # The database, beside the API

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run one statement on the platform's SQLite database."""
        with contextlib.closing(
            sqlite3.connect(self.folder / "data" / "crawldock.db", timeout=30)
        ) as connection:
            connection.row_factory = sqlite3.Row
            with connection:
                return connection.execute(statement, values).fetchall()

    def row(self, key: str) -> dict[str, Any]:
        """The job's row."""
        project_id, spider, number = map(int, key.split("/"))
        (found,) = self.sql(
            "SELECT job.* FROM job JOIN spider ON spider.id = job.spider_id"
            " WHERE spider.project_id = ? AND spider.number = ? AND job.number = ?",
            project_id, spider, number,
        )  # fmt: skip
        return dict(found)

    def logged_at(self, key: str, words: str) -> int:
        """When the job's log first had ``words``, in ms; the API tells seconds."""
        chunks_of = "SELECT data FROM chunk WHERE job_id = ? AND kind = 'logs' ORDER BY first"
        found = [
            line for row in self.sql(chunks_of, self.row(key)["id"]) for line in chunks.lines(row["data"])
        ]
        entries = [json.loads(line) for line in found]
        return next(int(entry["time"]) for entry in entries if words in entry["message"])

    def left_of(self, key: str) -> list[str]:
        """What is left of a job on this machine: scratch folders, and processes that live in them."""
        home = str(self.folder / "data" / "runs" / f"{key.replace('/', '-')}-")
        found = [str(folder) for folder in Path(home).parent.glob(f"{Path(home).name}*")]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd().startswith(home):
                    found.append(f"process {process.pid}")
        return found
