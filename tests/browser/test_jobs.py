"""Running spiders and looking after jobs, in a browser."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.platform import Platform


def test_signing_in_and_out(enter: Open) -> None:
    page = enter(sign_in=False)
    page.goto("/p/123/jobs")
    expect(page).to_have_title(re.compile("Sign in"))
    page.get_by_label("API key or password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("no valid API key")
    page.reload()


def test_a_job_runs_from_the_form_and_its_counter_moves(enter: Open, platform: Platform, shop: int) -> None:
    page = enter()
    page.goto(f"/p/{shop}/run")
    page.get_by_label("slow", exact=True).check()
    page.get_by_label("Arguments").fill("pages=200\nrun=counter")
    expect(page.locator("#calls")).to_contain_text("run=counter")
    page.get_by_role("button", name="Run", exact=True).click()
    key = page.url.partition("/p/")[2]
    page.goto(f"/p/{shop}/jobs?args=run%3Dcounter")
    items = page.get_by_role("row", name=re.compile("slow")).locator("td[data-label=Items] a")
    expect(items).to_be_visible()
    first = int(items.inner_text())
    expect(items).not_to_have_text(str(first))  # nobody has loaded the page again
    page.get_by_label(f"Select job {key}").check()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop: 1 job").click()
    expect(page.get_by_role("status")).to_contain_text("1 of 1 jobs were asked to stop.")
    expect(page.get_by_role("row", name=re.compile("slow"))).to_contain_text("cancelled")
    assert platform.wait(key)["close_reason"] == "cancelled"


def test_the_priority_of_a_waiting_job(enter: Open, platform: Platform, shop: int) -> None:
    busy = [platform.schedule(shop, "slow", pages=500, n=n, priority=4) for n in range(2)]
    waits = platform.schedule(shop, "books", run="priority", priority=1)
    page = enter()
    page.goto(f"/p/{shop}/jobs?state=pending")
    expect(page.get_by_role("row", name=re.compile("books"))).to_contain_text("in line")
    page.get_by_label(f"Priority of job {waits}").select_option("3")
    expect(page.get_by_role("status")).to_contain_text(f"Job {waits} now has priority 3.")
    assert platform.job(waits)["priority"] == 3
    for key in busy:
        platform.post("jobs/stop.json", project=shop, job=key)
    platform.wait(waits)


def test_filter_and_tag_many(enter: Open, platform: Platform, shop: int) -> None:
    keys = [platform.schedule(shop, "books", run="tagged", n=n) for n in range(3)]
    platform.schedule(shop, "broken", run="other")
    for key in keys:
        platform.wait(key)
    page = enter()
    page.goto(f"/p/{shop}/jobs")
    page.get_by_label("Spider", exact=True).fill("books")
    page.get_by_label("Argument", exact=True).fill("run=tagged")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tr[data-row]")).to_have_count(3)
    assert "spider=books" in page.url
    page.get_by_label("Select all finished jobs shown").check()
    expect(page.locator("[data-chosen]")).to_have_text("3 selected")
    page.get_by_label("Tag", exact=True).last.fill("seen")
    page.get_by_role("button", name="Add tag").click()
    page.get_by_role("button", name=re.compile("Add tag: 3 jobs")).click()
    expect(page.get_by_role("status")).to_contain_text("3 of 3 jobs were tagged.")
    assert all(platform.job(key)["tags"] == ["seen"] for key in keys)


def test_without_javascript(enter: Open, platform: Platform, shop: int) -> None:
    page = enter(java_script_enabled=False)
    page.goto(f"/p/{shop}/run")
    page.get_by_label("books", exact=True).check()
    page.get_by_label("Arguments").fill("run=plain")
    page.get_by_role("button", name="Show the calls").click()
    expect(page.locator("#calls")).to_contain_text("run=plain")
    page.get_by_role("button", name="Run", exact=True).click()
    key = page.url.partition("/p/")[2]
    assert platform.wait(key)["spider"] == "books"
    page.goto(f"/p/{shop}/jobs?args=run%3Dplain")
    expect(page.get_by_role("row", name=re.compile("books"))).to_contain_text("finished")


def test_keys(enter: Open, platform: Platform, shop: int) -> None:
    platform.run(shop, "books", run="keys")
    page = enter()
    page.goto(f"/p/{shop}/jobs")
    page.keyboard.press("/")
    expect(page.get_by_label("Spider", exact=True)).to_be_focused()
    page.get_by_label("Spider", exact=True).blur()
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("[data-chosen]")).to_have_text("1 selected")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
