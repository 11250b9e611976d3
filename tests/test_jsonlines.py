"""JSON lines going out."""

import orjson
import psutil

from app import jsonlines


def test_written_lines_are_the_values() -> None:
    values = [{"a": "ä\n"}, [1, None], "x"]
    assert jsonlines.written(iter(values)) == b'{"a":"\xc3\xa4\\n"}\n[1,null]\n"x"\n'
    assert jsonlines.written([]) == b""


def test_kept_lines_take_no_more_memory_than_they_need() -> None:
    """20,000 of a hundred bytes: each with a page of its own, it would be 80 MB."""
    memory = psutil.Process().memory_info
    before = memory().rss
    lines = [jsonlines.dumps({"n": n, "text": "x" * 80}) for n in range(20_000)]
    assert memory().rss - before < 20e6
    assert orjson.loads(lines[7]) == {"n": 7, "text": "x" * 80}
