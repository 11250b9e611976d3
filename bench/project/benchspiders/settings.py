"""Scrapy settings of the measured project: no network, no port, a log that is not the work."""

BOT_NAME = "benchspiders"
SPIDER_MODULES = ["benchspiders.spiders"]
ROBOTSTXT_OBEY = False
TELNETCONSOLE_ENABLED = False
LOG_LEVEL = "INFO"  # on DEBUG every item is a log line too
