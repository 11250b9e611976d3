"""Typical items without a crawl: those of the spider ``many``, and the same with running text."""

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc_data import topics
from typing import Any

from bench.project.benchspiders.products import product

FIELDS = tuple(product(0))


def lines(count: int, first: int = 0) -> bytes:
    """Items as JSON lines, byte for byte what ``scrapy crawl -o items.jl`` writes of them."""
    return _lines(product(number) for number in range(first, first + count))


def described(count: int) -> bytes:
    """The same with two sentences of Python's manual as each one's description: about 450 bytes."""
    sentences = itertools.cycle(_sentences())
    return _lines(
        {**product(number), "description": f"{next(sentences)} {next(sentences)}"} for number in range(count)
    )


def file(folder: Path, count: int) -> Path:
    """A file of so many items, in a folder that is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "typical.jl"
    with path.open("wb") as output:
        for first in range(0, count, 100_000):
            output.write(lines(min(100_000, count - first), first))
    return path


def batches(count: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The items in bodies of ``size``, each with the number of its first one."""
    for first in range(0, count, size):
        yield first, lines(min(size, count - first), first)


def _lines(items: Iterator[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


@cache
def _sentences() -> list[str]:
    """More than there are in a chunk, which holds 1,000 items: it must not find one twice."""
    text = " ".join(" ".join(topics.topics.values()).split())
    ends = re.split(r"(?<=[.:]) ", text)
    return list(dict.fromkeys(sentence for sentence in ends if 40 < len(sentence) < 300))
