"""The main road: deploy, schedule, run, read."""

from tests.platform import Platform
from tests.site import PAGES, Site


def test_the_example_spider_crawls_a_site(platform: Platform, site: Site) -> None:
    job = platform.run(123, "somespider", start_url=site.url, add_tag=["a", "b"])
    assert (job["close_reason"], job["items_scraped"], job["tags"]) == ("finished", PAGES, ["a", "b"])
    titles = {item["title"] for item in platform.items(job["id"])}
    assert titles == {f"Page {n}" for n in range(1, PAGES + 1)}
    assert "Spider closed (finished)" in platform.log_of(job["id"])
    assert job["logs"] == len(platform.get("log.jl", project=123, job=job["id"]).text.splitlines())
