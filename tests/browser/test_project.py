"""What is deployed, who may touch it, what it has stored, and where it runs, in a browser."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.demo import EGG
from tests.platform import Platform


def test_an_egg_is_uploaded_its_build_followed_and_undone(enter: Open, platform: Platform) -> None:
    project = platform.deploy(EGG, version="first")
    page = enter()
    page.goto(f"/p/{project}/deploys")
    page.get_by_label("Egg", exact=True).set_input_files(
        {"name": "shop.egg", "mimeType": "application/zip", "buffer": EGG}
    )
    page.get_by_label("Version", exact=True).fill("second")
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("second")
    expect(page.locator(".chip").first).to_have_text("current")  # nobody has loaded the page again
    page.get_by_role("link", name="Code & deploys").first.click()
    page.get_by_role("row", name=re.compile("first")).get_by_role("button", name="Make current").click()
    expect(page.get_by_role("status")).to_contain_text("run version first")
    expect(page.get_by_role("row", name=re.compile("first"))).to_contain_text("current")
    assert platform.run(project, "books")["version"] == "first"


def test_a_bar_leads_to_its_run_and_a_spider_to_the_form(enter: Open, platform: Platform, shop: int) -> None:
    key = platform.run(shop, "news", run="bars")["id"]
    page = enter()
    page.goto(f"/p/{shop}/spiders?search=news")
    row = page.get_by_role("row", name=re.compile("news"))
    expect(row.locator("svg.bars a").last).to_have_attribute("href", f"/p/{key}")
    key = platform.run(shop, "news", run="bars", again=1)["id"]
    expect(row.locator("svg.bars a").last).to_have_attribute(
        "href", f"/p/{key}"
    )  # nobody has loaded it again
    row.get_by_role("link", name="Run news").click()
    expect(page.get_by_label("news", exact=True)).to_be_checked()
    page.goto(f"/p/{shop}/spiders?search=news")
    page.get_by_role("link", name="news", exact=True).click()
    page.get_by_role("link", name="Run again as last time").click()
    expect(page.get_by_label("Arguments")).to_have_value("run=bars\nagain=1")


def test_a_worker_drains_and_takes_jobs_again(enter: Open, platform: Platform, shop: int) -> None:
    busy = platform.schedule(shop, "slow", pages=500, run="drain", priority=4)
    platform.wait(busy, "running")
    page = enter()
    page.goto("/workers")
    try:
        page.get_by_role("button", name="Drain").click()
        expect(page.get_by_role("row", name=re.compile("worker-"))).to_contain_text("draining")
        waits = platform.schedule(shop, "books", run="after drain")
        platform.post("jobs/stop.json", project=shop, job=busy)
        expect(page.get_by_text("empty: it can be switched off")).to_be_visible()
        assert platform.job(waits)["state"] == "pending"
    finally:
        page.get_by_role("button", name="Take jobs again").click()
    platform.wait(waits)


def test_members_and_keys_without_javascript(enter: Open, shop: int) -> None:
    page = enter(java_script_enabled=False)
    page.goto(f"/p/{shop}/settings")
    new = page.locator("form", has=page.get_by_role("button", name="Make a key"))
    new.get_by_label("User").fill("marie")
    new.get_by_role("button").click()
    key = page.locator("#fresh").inner_text()
    page.goto(f"/p/{shop}/settings")
    expect(page.get_by_text(key)).to_have_count(0)
    theirs = enter(sign_in=False)
    theirs.goto("/login")
    theirs.get_by_label("API key or password").fill(key)
    theirs.get_by_role("button", name="Sign in").click()
    theirs.goto(f"/p/{shop}/settings")
    expect(theirs.get_by_role("button", name="Make a key")).to_have_count(0)
    page.get_by_role("row", name=re.compile("marie")).get_by_role("button", name="Revoke key").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_role("status")).to_contain_text("The key of marie is invalid now.")
    theirs.reload()
    expect(theirs).to_have_url(re.compile("/login"))


def test_records_are_found_read_and_deleted(enter: Open, platform: Platform, shop: int) -> None:
    lines = "".join(f'{{"_key": "book/{n}", "n": {n}}}\n' for n in range(60))
    stored = platform.http.post(f"{platform.url}/collections/{shop}/s/books", content=lines.encode())
    assert stored.status_code == 200
    page = enter()
    page.goto(f"/p/{shop}/collections")
    expect(page.get_by_role("row", name=re.compile("books"))).to_contain_text("60")
    page.get_by_role("link", name="books").click()
    page.get_by_label("Keys that begin with").fill("book/7")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="book/7").click()
    expect(page.locator("pre")).to_have_text('{\n  "n": 7\n}')
    page.get_by_role("button", name="Delete record").click()
    page.get_by_role("button", name="Delete the record").click()
    expect(page.get_by_role("status")).to_contain_text("was deleted")
    expect(page.get_by_text("59 records")).to_be_visible()
