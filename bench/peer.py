"""The peer: scrapyd, which also takes an egg, queues jobs and runs Scrapy, but keeps no records."""

import itertools
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench import egg, stack
from bench.load import Post
from bench.process import Child, free_port

PROJECT = "bench"
NEVER = 24 * 3600.0  # a poll interval at which nothing starts
CONFIG = """\
[scrapyd]
bind_address = 127.0.0.1
http_port = {port}
max_proc = {slots}
poll_interval = {poll}
items_dir = items
jobs_to_keep = 100000
finished_to_keep = 100000
"""


class Scrapyd:
    """A running scrapyd."""

    name = "scrapyd"

    def __init__(self, port: int, folder: Path, pid: int) -> None:
        self.port = port
        self.folder = folder
        self.pid = pid
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        self._numbers = itertools.count()

    def deploy(self) -> None:
        """Give it the measured project."""
        answer = self.http.post(
            "/addversion.json",
            data={"project": PROJECT, "version": "1"},
            files={"egg": ("bench.egg", egg.build())},
        )
        if answer.json()["status"] != "ok":
            raise RuntimeError(f"scrapyd refused the egg: {answer.text}")

    def schedules(self) -> Post:
        """See ``Target``."""
        return Post(
            self.port,
            "/schedule.json",
            lambda: f"project={PROJECT}&spider=three&n={next(self._numbers)}",
        )

    def schedule(self, spider: str, args: Mapping[str, str]) -> str:
        """See ``Target``."""
        form = {"project": PROJECT, "spider": spider, **args}
        answer = self.http.post(
            "/schedule.json",
            content=urllib.parse.urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ).json()
        if answer["status"] != "ok":
            raise RuntimeError(f"scrapyd refused a job: {answer}")
        return str(answer["jobid"])

    def finished(self) -> int:
        """See ``Target``."""
        return int(self.http.get("/daemonstatus.json").json()["finished"])

    def logged(self, job: str) -> bool:
        """See ``Target``."""
        path = self.folder / "logs" / PROJECT / "three" / f"{job}.log"
        try:
            return b" started (bot: " in path.read_bytes()
        except FileNotFoundError:
            return False


@contextmanager
def scrapyd(folder: Path, *, slots: int = 2, poll: float = 0.1, deploy: bool = True) -> Iterator[Scrapyd]:
    """A scrapyd, unless told otherwise with the measured project; ended at the end of the block."""
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "scrapyd.conf").write_text(CONFIG.format(port=port, slots=slots, poll=poll))
    argv = [stack.python(), "-m", "scrapyd"]
    with Child(argv, folder=folder, env={"HOME": str(folder)}) as child:
        child.ready(f"http://127.0.0.1:{port}/daemonstatus.json")
        server = Scrapyd(port, folder, child.popen.pid)
        with server.http:
            if deploy:
                server.deploy()
            yield server
