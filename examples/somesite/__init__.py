"""A small Scrapy project to try the platform with."""
