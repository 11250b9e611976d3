"""A browser, and pages of it that somebody has signed in with; they complain of anything in the console."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.demo import EGG
from tests.platform import KEY, Platform

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Open = Callable[..., Page]
# The usual five seconds are less than Scrapy may take to close a spider.
expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there is no Chromium the tests of this folder are skipped, and say so; on CI there must be one."""
    if CHROMIUM.exists() or os.environ.get("CI"):
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"no {CHROMIUM}: apt-get install chromium"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window; for one module, as other modules have event loops of their own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shop(platform: Platform) -> int:
    """A project of spiders as people have them."""
    return platform.deploy(EGG)


@pytest.fixture
def enter(chromium: Browser, platform: Platform) -> Iterator[Open]:
    """Open a browser of one's own, signed in unless told otherwise; at the end its console must be clean."""
    contexts, complaints = [], []

    def begin(*, sign_in: bool = True, width: int = 1280, **options: Any) -> Page:
        context = chromium.new_context(
            base_url=platform.url, viewport={"width": width, "height": 900}, **options
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()

        def listen(line: ConsoleMessage) -> None:
            # That a page itself is an error is for the test to judge.
            if line.type == "error" and line.location["url"] != page.url:
                complaints.append(f"{line.text} ({line.location['url']})")

        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if sign_in:
            page.goto("/login")
            page.get_by_label("API key or password").fill(KEY)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/")
        return page

    yield begin
    for context in contexts:
        context.close()
    assert complaints == []
