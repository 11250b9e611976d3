"""A spider that really crawls: every page of one site, one item a page."""

from urllib.parse import urlsplit

import scrapy


class SomeSpider(scrapy.Spider):
    """Follows all links within the site of ``start_url`` and yields the title of each page.

    Arguments:
        start_url: the page to begin with.
        delay: seconds between two requests, 0 by default.
    """

    name = "somespider"

    def __init__(self, start_url="http://127.0.0.1:8000/docs", **kwargs):
        super().__init__(**kwargs)
        self.start_urls = [start_url]
        self.allowed_domains = [urlsplit(start_url).hostname]

    @classmethod
    def from_crawler(cls, crawler, *args, delay="0", **kwargs):
        crawler.settings.set("DOWNLOAD_DELAY", float(delay), priority="spider")
        return super().from_crawler(crawler, *args, **kwargs)

    def parse(self, response):
        if not isinstance(response, scrapy.http.HtmlResponse):
            return  # a picture, a document: no page
        yield {
            "url": response.url,
            "title": response.css("title::text").get(),
            "links": len(response.css("a")),
        }
        yield from response.follow_all(css="a[href]")
