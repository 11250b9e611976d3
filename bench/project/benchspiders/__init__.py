"""The Scrapy project that both sides of every measurement run."""
