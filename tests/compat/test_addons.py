"""Spidermon and DeltaFetch, as released, from a project's requirements."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.compat import clients
from tests.eggs import HEAD, egg
from tests.platform import KEY, Platform

SETTINGS = """
SPIDER_MODULES = ["proj.spiders"]
SPIDERMON_ENABLED = True
EXTENSIONS = {"spidermon.contrib.scrapy.extensions.Spidermon": 500}
"""
DELTAFETCH = """
SPIDER_MODULES = ["proj.spiders"]
SPIDER_MIDDLEWARES = {"scrapy_deltafetch.DeltaFetch": 100}
DELTAFETCH_ENABLED = True
"""

MONITORS = """
from spidermon import Monitor, MonitorSuite
from spidermon.contrib.actions.jobs.tags import AddJobTags, RemoveJobTags
from spidermon.contrib.scrapy.monitors import FinishReasonMonitor, ZyteJobsComparisonMonitor

class Failed(AddJobTags):
    tags = ["too few"]

class Passed(RemoveJobTags):
    tags = ["unchecked"]

class History(Monitor):
    def test_it_grows(self):
        counts = [stats["item_scraped_count"] for stats in self.data.spider.stats_history]
        self.data.spider.logger.info("HISTORY %s", counts)

class Compared(MonitorSuite):
    monitors = [FinishReasonMonitor, ZyteJobsComparisonMonitor]
    monitors_failed_actions = [Failed]
    monitors_passed_actions = [Passed]

class Remembered(MonitorSuite):
    monitors = [History]
"""

SPIDER = '''
class Watched(scrapy.Spider):
    """So many items, each from a page of its own."""
    name = "watched"
    def __init__(self, items="4", **kwargs):
        super().__init__(**kwargs)
        self.start_urls = ["data:,first"]
        self.items = int(items)
    def parse(self, response):
        yield from (scrapy.Request(f"data:,{n}", self.page) for n in range(self.items))
    def page(self, response):
        yield {"text": response.text}
'''


@pytest.fixture(scope="module")
def watched(platform: Platform) -> int:
    """A project whose virtualenv has the add-ons."""
    files = {"proj/__init__.py": "", "proj/settings.py": SETTINGS, "proj/monitors.py": MONITORS}
    code = egg({**files, "proj/spiders.py": HEAD + SPIDER})
    return platform.deploy(code, requirements=clients.requirements("addons").encode())


def run(
    platform: Platform, project: int, settings: dict[str, Any], **params: Any
) -> tuple[dict[str, Any], str]:
    """Run a job with settings; returns the job and its log."""
    key = platform.run_json(project, "watched", job_settings=settings, **params)
    job = platform.wait(key)
    return job, platform.log_of(key)


def test_spidermon_compares_with_earlier_jobs(platform: Platform, watched: int) -> None:
    settings = {"SPIDERMON_SPIDER_CLOSE_MONITORS": ["proj.monitors.Compared"], "SHUB_APIKEY": KEY,
                "SPIDERMON_JOBS_COMPARISON": 5, "SPIDERMON_JOBS_COMPARISON_THRESHOLD": 0.8,
                "SPIDERMON_JOBS_COMPARISON_TAGS": ["daily"]}  # fmt: skip
    run(platform, watched, {}, items="4", add_tag=["daily"])
    run(platform, watched, {}, items="50", n="of another kind")
    job, log = run(platform, watched, settings, items="4", add_tag=["daily", "unchecked"], n="good")
    assert job["tags"] == ["daily"], log
    job, log = run(platform, watched, settings, items="2", add_tag=["daily", "unchecked"], n="bad")
    assert job["tags"] == ["daily", "unchecked", "too few"], log
    assert "Expecting 'item_scraped_count' to be '>=' to '4.0'. Current value: '2.0'" in log, log


def test_spidermon_remembers_statistics(platform: Platform, watched: int) -> None:
    collector = (
        "spidermon.contrib.stats.statscollectors.sc_collections.ScrapyCloudCollectionsStatsHistoryCollector"
    )
    settings = {"SPIDERMON_SPIDER_CLOSE_MONITORS": ["proj.monitors.Remembered"], "STATS_CLASS": collector}
    logs = [run(platform, watched, settings, items=items, n=f"history {items}") for items in ("1", "2", "3")]
    assert [log.partition("HISTORY ")[2].partition("\n")[0] for _, log in logs] == ["[]", "[1]", "[2, 1]"], (
        logs[2][1]
    )
    rows = httpx2.get(
        f"{platform.url}/collections/{watched}/s/watched_stats_history?format=json", auth=(KEY, "")
    )
    assert [row["value"]["item_scraped_count"] for row in rows.json()] == [3, 2, 1]
    assert rows.json()[0]["value"]["job_url"] == f"https://app.zyte.com/p/{logs[2][0]['id']}"


def test_deltafetch_passes_over_what_was_seen(platform: Platform, tmp_path: Path) -> None:
    """Where it keeps what it saw must outlive the job: a job's own folder does not."""
    code = egg({"proj/__init__.py": "", "proj/settings.py": DELTAFETCH, "proj/spiders.py": HEAD + SPIDER})
    project = platform.deploy(code, requirements=clients.requirements("deltafetch").encode())
    settings = {"DELTAFETCH_DIR": str(tmp_path)}
    first, _ = run(platform, project, settings, items="3", n="first")
    second, log = run(platform, project, settings, items="5", n="second")
    assert (first["items_scraped"], second["items_scraped"]) == (3, 2), log
    assert "'deltafetch/skipped': 3" in log
