"""Settings of the example project."""

BOT_NAME = "somesite"
SPIDER_MODULES = ["somesite.spiders"]
ROBOTSTXT_OBEY = False
LOG_LEVEL = "INFO"
CLOSESPIDER_PAGECOUNT = 1000  # a try should end
