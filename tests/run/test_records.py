"""Records of a running job: readable while it runs, complete and in order when it has ended."""

import json
from pathlib import Path

import pytest

from app.services.compaction import compact
from tests.platform import Platform, until

CHUNKS = "SELECT first FROM chunk WHERE job_id = ? AND kind = 'items'"


def test_records_are_readable_while_the_job_runs(platform: Platform, project: int, tmp_path: Path) -> None:
    key = platform.schedule(project, "ready", go=str(tmp_path / "go"))
    until(lambda: "waiting" in platform.log_of(key))
    until(lambda: platform.items(key))
    job = platform.job(key)
    # The spider cannot go on before we let it: what we have read was there while it ran.
    assert (job["state"], job["items_scraped"]) == ("running", 1) and job["logs"] > 0
    (tmp_path / "go").touch()
    assert platform.wait(key)["close_reason"] == "finished"
    assert [item["n"] for item in platform.items(key)] == [1, 2]


@pytest.mark.usefixtures("inside")
def test_what_a_slow_spider_leaves_in_pieces_becomes_one(
    platform: Platform, project: int, tmp_path: Path
) -> None:
    code = """if True:
        from sh_scrapy.writer import pipe_writer
        for n in range(5):
            while not os.path.exists(f"{self.folder}/{n}"): time.sleep(0.02)
            pipe_writer.write_item({"n": n})"""
    key = platform.schedule(project, "code", code=code, folder=str(tmp_path))
    job_id = platform.row(key)["id"]
    for n in range(5):
        assert len(platform.sql(CHUNKS, job_id)) == n
        (tmp_path / str(n)).touch()
        until(lambda n=n: len(platform.items(key)) > n)
    assert platform.wait(key)["close_reason"] == "finished"
    items = platform.items(key)
    assert compact(job_id) and platform.row(key)["compacted"]
    assert len(platform.sql(CHUNKS, job_id)) == 1
    assert platform.items(key) == items and [item.get("n") for item in items] == [0, 1, 2, 3, 4, None]


def test_many_items_arrive_complete_and_in_order(platform: Platform, project: int) -> None:
    code = """if True:
        from sh_scrapy.writer import pipe_writer
        for n in range(12_000):
            pipe_writer.write_item({"n": n, "text": "ü" * 20})"""
    job = platform.run(project, "code", code=code)
    assert job["close_reason"] == "finished" and job["items_scraped"] == 12_001
    items = platform.items(job["id"])
    assert [item.get("n") for item in items] == [*range(12_000), None] and items[0]["text"] == "ü" * 20


def test_processes_that_write_at_once_lose_nothing(platform: Platform, project: int) -> None:
    code = """if True:
        lines = ["import os; pipe = os.open(os.environ['SHUB_FIFO_PATH'], os.O_WRONLY)",
                 "for n in range(500): os.write(pipe, b'ITM {\\"p\\": %d, \\"n\\": %d}\\\\n' % (os.getpid(), n))"]
        both = [subprocess.Popen([sys.executable, "-c", "\\n".join(lines)]) for _ in range(2)]
        for each in both: assert each.wait() == 0"""
    job = platform.run(project, "code", code=code)
    items = [item for item in platform.items(job["id"]) if "p" in item]
    assert job["errors_count"] == 0 and len(items) == 1000
    for process in {item["p"] for item in items}:
        assert [item["n"] for item in items if item["p"] == process] == list(range(500))


def test_counters_and_stats_are_those_of_the_spider(platform: Platform, project: int) -> None:
    job = platform.run(project, "three", n="counted")
    assert (job["items_scraped"], job["responses_received"], job["errors_count"]) == (3, 1, 0)
    assert '"finish_reason":"finished"' in platform.row(job["id"])["scrapystats"].replace(" ", "")


def test_samples_tell_where_the_job_stood(platform: Platform, project: int) -> None:
    key = platform.run(project, "code", code="time.sleep(1.5); self.logger.error('oh')")["id"]
    samples = platform.http.get(f"{platform.url}/samples/{key}").text.splitlines()
    moment, items, requests, logs, errors, memory = json.loads(samples[-1])
    row = platform.row(key)
    assert row["running_time"] < moment <= row["finished_time"] + 1000
    assert (items, requests, logs, errors) == (1, 1, row["logs"], 1) and memory > 10 << 20
