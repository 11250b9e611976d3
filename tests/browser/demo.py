"""A project to look at: spiders as people have them, which need no network."""

from tests.eggs import egg

SPIDERS = '''
import json, random, scrapy

class Shop(scrapy.Spider):
    """Some pages of a shop; `pages`, and `wait` seconds between them."""
    start_urls = ["data:text/plain,catalogue"]
    custom_settings = {"RANDOMIZE_DOWNLOAD_DELAY": False}

    def parse(self, response, page=1):
        self.logger.info("Page %d of %s", page, getattr(self, "category", "all"))
        for n in range(5):
            number = page * 5 + n
            item = {"title": f"The book of {number} things", "price": round(7.5 + number * 1.3 % 40, 2),
                    "url": f"https://shop.example/{self.name}/{number}", "in_stock": number % 4 != 0}
            if number % 3:
                item["rating"] = number % 5 + 1
            yield item
        if page % 4 == 0:
            try:
                json.loads("<html>")
            except ValueError:
                self.logger.exception("The price list of page %d cannot be read", page)
        if page < int(getattr(self, "pages", 3)):
            yield scrapy.Request(f"data:text/plain,{page}", dont_filter=True, cb_kwargs={"page": page + 1})

    @classmethod
    def update_settings(cls, settings):
        super().update_settings(settings)
        settings.set("DOWNLOAD_DELAY", 0, priority="spider")

class Books(Shop):
    name = "books"

class News(Shop):
    name = "news"

class Prices(Shop):
    name = "prices-of-all-shops-in-the-north-and-in-the-south"

class Slow(Shop):
    """Goes on until it is stopped, two pages a second."""
    name = "slow"
    @classmethod
    def update_settings(cls, settings):
        super(Shop, cls).update_settings(settings)
        settings.set("DOWNLOAD_DELAY", 0.5, priority="spider")

class Broken(Shop):
    name = "broken"
    def parse(self, response):
        self.logger.warning("The page looks different today")
        yield {"title": "only one"}
        raise ValueError("no price on the page")

class Banned(Shop):
    name = "banned"
    def parse(self, response):
        raise scrapy.exceptions.CloseSpider("banned")
'''

EGG = egg(
    {
        "shop/__init__.py": "",
        "shop/settings.py": "SPIDER_MODULES = ['shop.spiders']\n",
        "shop/spiders.py": SPIDERS,
    },
    settings="shop.settings",
)
