"""Lets `shub deploy` build the project's egg."""

from setuptools import find_packages, setup

setup(
    name="somesite",
    version="1.0",
    packages=find_packages(),
    entry_points={"scrapy": ["settings = somesite.settings"]},
)
