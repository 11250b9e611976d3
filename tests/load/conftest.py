"""An API process of its own, without workers: what its memory does, and who it lets in meanwhile."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import orjson
import psutil
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from app.db import make_engine
from app.keys import JobKey
from app.models import JobState
from app.services import apikeys, jobs, projects
from tests.platform import CRAWLDOCK, KEY, ROOT, free_port, until


class Api:
    """`crawldock api` on SQLite, with project 1 and its spider "quotes"."""

    def __init__(self, folder: Path, database: bytes) -> None:
        (folder / "crawldock.db").write_bytes(database)
        self._url = f"sqlite:///{folder / 'crawldock.db'}"
        self.port = free_port()
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CRAWLDOCK_")},
            "CRAWLDOCK_DATA_DIR": str(folder),
            "CRAWLDOCK_PORT": str(self.port),
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",  # nobody there: nothing is to be run
        }
        self._log = (folder / "api.log").open("wb")
        self.process = subprocess.Popen(
            [*CRAWLDOCK, "api"], cwd=ROOT, env=env, stdout=self._log, stderr=self._log
        )
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", auth=(KEY, ""), timeout=60)
        with Session((engine := make_engine(self._url)).execution_options(writes=True)) as session:
            apikeys.create(session, "admin", admin=True, value=KEY)
            projects.create(session, "one", 1)
            projects.set_deployed(session, 1, ["quotes"])
            session.commit()
        engine.dispose()
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.http.get("/health/live").status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(30)
        self._log.close()

    def job(self) -> JobKey:
        """A new finished job."""
        with Session((engine := make_engine(self._url)).execution_options(writes=True)) as session:
            key = jobs.schedule(session, 1, jobs.NewJob("quotes", state=JobState.FINISHED), "admin")
            session.commit()
        engine.dispose()
        return key

    def copies(self, key: JobKey, count: int, spider_args: dict[str, str]) -> None:
        """Copies of a finished job, beside those that are scheduled."""
        changed = {"id": "NULL", "number": "1000000 + n", "spider_args": ":args"}
        engine = make_engine(self._url)
        columns = [column["name"] for column in inspect(engine).get_columns("job")]
        copy = (
            f"WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < {count})"
            f" INSERT INTO job SELECT {', '.join(changed.get(name, name) for name in columns)} FROM job, copies"
            f" WHERE number = {key.job}"
        )
        with engine.connect().execution_options(writes=True) as connection:
            connection.execute(text(copy), {"args": orjson.dumps(spider_args).decode()})
            connection.commit()
        engine.dispose()

    def log_text(self) -> str:
        """What it has logged."""
        return Path(self._log.name).read_text()

    def memory(self) -> int:
        """Resident MB of the process."""
        return int(psutil.Process(self.process.pid).memory_info().rss >> 20)

    def connect(self, path: str) -> socket.socket:
        """Ask for ``path`` and read nothing of the answer; the kernel holds little of it for us."""
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", self.port))
        line.sendall(
            f"GET {path}{'&' if '?' in path else '?'}apikey={KEY} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        return line


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, sqlite_template: bytes) -> Iterator[Api]:
    running = Api(tmp_path_factory.mktemp("api"), sqlite_template)
    yield running
    running.stop()
