"""python-scrapinghub on what jobs found: items, logs, requests, samples; reading, writing, paging, filters."""

import pytest

from tests.compat.clients import Python


@pytest.fixture
def job(python: Python, project: int) -> str:
    """A job that never runs, to write to."""
    key: str = python("return project.jobs.run('three', meta={'state': 'finished'}).key", project=project)
    return key


# A crawled job


def test_items_of_a_crawl(python: Python, crawl: str) -> None:
    items = python("return client.get_job(key).items.list()", key=crawl)
    assert sorted(item["title"] for item in items) == [f"Page {n}" for n in range(1, 8)]
    assert all(item["_type"] == "dict" and "_key" not in item for item in items)


def test_pages_of_items(python: Python, crawl: str) -> None:
    every, first, rest, after, one, last = python(
        """
        items = client.get_job(key).items
        return (items.list(), items.list(count=2), items.list(start=f"{key}/5"), items.list(startafter=f"{key}/5"),
                items.get(3), items.list(offset=6))
        """,
        key=crawl,
    )
    assert (first, rest, after, one, last) == (every[:2], every[5:], every[6:], every[3], every[6:])


def test_items_in_lists(python: Python, crawl: str) -> None:
    code = (
        "return [[item['url'][-1] for item in part] for part in client.get_job(key).items.list_iter(**how)]"
    )
    every = python("return [item['url'][-1] for item in client.get_job(key).items.iter()]", key=crawl)
    assert python(code, key=crawl, how={"chunksize": 3}) == [every[:3], every[3:6], every[6:]]
    assert python(code, key=crawl, how={"chunksize": 7}) == [every, []]
    assert python(code, key=crawl, how={"chunksize": 2, "start": 1, "count": 3}) == [every[1:3], every[3:4]]


def test_items_with_meta_fields(python: Python, crawl: str) -> None:
    item, bare = python(
        """
        items = client.get_job(key).items
        return items.list(count=1, meta=["_key", "_ts"])[0], items.list(count=1, nodata=1, meta=["_key"])[0]
        """,
        key=crawl,
    )
    assert item["_key"] == f"{crawl}/0" and item["_ts"] > 1_700_000_000_000 and "title" in item
    assert bare == {"_key": f"{crawl}/0"}


def test_items_that_a_filter_leaves(python: Python, crawl: str) -> None:
    code = """
    found = client.get_job(key).items.list(filter=filters)
    return sorted(item["title"] for item in found)
    """
    assert python(code, key=crawl, filters=[["links", "=", [0]]]) == ["Page 4", "Page 5", "Page 6", "Page 7"]
    assert python(code, key=crawl, filters=[["title", "contains", ["e 3"]]]) == ["Page 3"]
    both = [["links", ">", [0]], ["title", "!=", ["Page 1"]]]
    assert python(code, key=crawl, filters=both) == ["Page 2", "Page 3"]
    assert python(code, key=crawl, filters='["title", "matches", ["Page [12]"]]') == ["Page 1", "Page 2"]


def test_items_since_a_time(python: Python, crawl: str) -> None:
    code = """
    items = client.get_job(key).items
    last = items.list(meta=["_ts"])[-1]["_ts"]
    return len(items.list(startts=0)), len(items.list(startts=last)) > 0, items.list(startts=last + 1)
    """
    assert python(code, key=crawl) == [7, True, []]


def test_stats_of_a_crawl(python: Python, crawl: str) -> None:
    items, logs, requests = python(
        "job = client.get_job(key)\nreturn job.items.stats(), job.logs.stats(), job.requests.stats()",
        key=crawl,
    )
    assert items["totals"]["input_values"] == 7 and items["totals"]["input_bytes"] > 300
    assert items["counts"]["title"] == items["counts"]["url"] == 7
    assert sum(logs["counts"].values()) == logs["totals"]["input_values"] and logs["counts"]["20"] > 5
    assert requests["totals"]["input_values"] == 7 and requests["counts"]["fp"] == 7
    assert requests["counts"]["parent"] == 6 and "time" not in requests["counts"]


def test_logs_of_a_crawl(python: Python, crawl: str) -> None:
    every, warnings, closed, first, last, one = python(
        """
        logs = client.get_job(key).logs
        return (logs.list(), logs.list(level="WARNING"), logs.list(filter=[("message", "contains", ["Spider closed"])]),
                logs.list(count=1), logs.list(offset=logs.stats()["totals"]["input_values"] - 1), logs.get(0))
        """,
        key=crawl,
    )
    assert all(set(entry) == {"time", "level", "message"} for entry in every)
    assert (first, last, one) == (every[:1], every[-1:], every[0])
    assert [entry["message"] for entry in closed] == ["[scrapy.core.engine] Spider closed (finished)"]
    assert warnings == [entry for entry in every if entry["level"] >= 30]


def test_an_unknown_level(python: Python, crawl: str) -> None:
    said = python.error("client.get_job(key).logs.list(level='LOUD')", key=crawl)
    assert said == "ValueError: Unknown log level: LOUD"


def test_requests_of_a_crawl(python: Python, crawl: str) -> None:
    every, one, leaves = python(
        """
        requests = client.get_job(key).requests
        return requests.list(), requests.get(0), requests.list(filter=[("parent", ">", [0])])
        """,
        key=crawl,
    )
    assert len(every) == 7 and one == every[0] and "parent" not in one
    assert set(every[1]) == {"time", "parent", "duration", "status", "method", "rs", "url", "fp"}
    assert len(leaves) == 4 and {entry["status"] for entry in every} == {200}


def test_a_job_that_was_never_there(python: Python) -> None:
    assert python("""
        job = client.get_job("123/9999/1")
        return job.items.list(), job.logs.list(), job.requests.list(), job.samples.list()
    """) == [[], [], [], []]


# Writing


def test_written_items_come_back(python: Python, job: str) -> None:
    given = [{"n": n, "text": f"Grüße 世界 🎉 {n}", "more": [None, True, 1.5, {"a": []}]} for n in range(3)]
    code = """
    items = client.get_job(key).items
    places = [items.write(item) for item in given]
    items.flush()
    seen = items.list()
    places.append(items.write({"last": 1}))
    items.close()
    return places, seen, items.list(), items.stats()["totals"]["input_values"]
    """
    places, seen, every, total = python(code, key=job, given=given)
    assert (places, seen, every, total) == ([0, 1, 2, 3], given, [*given, {"last": 1}], 4)


def test_many_items_are_written_in_parts(python: Python, job: str) -> None:
    code = """
    items = client.get_job(key).items
    for n in range(2500):
        items.write({"n": n})
    items.close(block=True)
    return [item["n"] for item in items.iter()], items.get(2499), items.list(start=f"{key}/2498")
    """
    assert python(code, key=job) == [list(range(2500)), {"n": 2499}, [{"n": 2498}, {"n": 2499}]]


def test_an_item_over_the_limit(python: Python, job: str) -> None:
    said = python.error("client.get_job(key).items.write({'big': 'x' * (1 << 20)})", key=job)
    assert said.startswith("ValueTooLarge: Value exceeds max encoded size of 1 MiB")


def test_written_log_entries_come_back(python: Python, job: str) -> None:
    code = """
    logs = client.get_job(key).logs
    logs.log("plain", ts=1479000000000)
    logs.debug("d", ts=1479000000001); logs.info("i", ts=2); logs.warn("w"); logs.warning("w2"); logs.error("e", other=5)
    logs.log("critical", level=50)
    logs.flush()
    seen = logs.list()
    start = logs.batch_write_start()
    logs.close()
    return [[entry["level"], entry["message"]] for entry in seen], seen[0], list(seen[5]), logs.stats()["counts"], start
    """
    entries, first, names, counts, start = python(code, key=job)
    assert [level for level, _ in entries] == [20, 10, 20, 30, 30, 40, 50]
    assert [message for _, message in entries] == ["plain", "d", "i", "w", "w2", "e", "critical"]
    assert first == {"time": 1479000000000, "level": 20, "message": "plain"}
    assert sorted(names) == ["level", "message", "time"]
    assert (counts, start) == ({"10": 1, "20": 2, "30": 2, "40": 1, "50": 1}, 0)


def test_log_entries_are_appended(python: Python, job: str) -> None:
    code = """
    for message in ("first", "second"):
        logs = client.get_job(key).logs  # with a writer of its own
        logs.info(message, appendmode=True)
        logs.close()
    return [entry["message"] for entry in client.get_job(key).logs.iter()]
    """
    assert python(code, key=job) == ["first", "second"]


def test_written_requests_come_back(python: Python, job: str) -> None:
    code = """
    requests = client.get_job(key).requests
    first = requests.add("http://a/", 200, "GET", 1337, 5, 1479000000000)
    requests.add("http://a/b", 404, "POST", 0, 6, 1479000000001, parent=first, fp="f" * 40)
    requests.flush()
    requests.close()
    return first, requests.list(), requests.stats()["counts"]["parent"]
    """
    first, (one, two), parents = python(code, key=job)
    assert one == {
        "url": "http://a/",
        "status": 200,
        "method": "GET",
        "rs": 1337,
        "duration": 5,
        "time": 1479000000000,
    }
    assert (first, two["parent"], two["fp"], parents) == (0, 0, "f" * 40, 1)


def test_written_samples_come_back(python: Python, job: str) -> None:
    code = """
    samples = client.get_job(key).samples
    for n in range(3):
        samples.write([1479000000000 + n, n, 2, 0.5])
    samples.flush()
    samples.close()
    of_spider = hs.get_project(number).samples.list(key.split("/")[1], count=1)
    return samples.list(), samples.list(count=1), list(of_spider), list(samples.iter(count=2)), samples.get(1)
    """
    every, first, of_spider, two, one = python(code, key=job, project=int(job.split("/", maxsplit=1)[0]))
    assert every == [[1479000000000 + n, n, 2, 0.5] for n in range(3)]
    assert first == every[:1] and two == every[:2] and one == every[1]
    assert len(of_spider) == 1 and of_spider[0] in every


def test_samples_have_no_stats(python: Python, job: str) -> None:
    assert python.error("client.get_job(key).samples.stats()", key=job).startswith("NotImplementedError")


def test_all_writers_of_a_job_are_closed_at_once(python: Python, job: str) -> None:
    code = """
    job = hs.get_job(key)
    job.items.write({"n": 1}); job.logs.info("x"); job.samples.write([1, 2]); job.requests.add("u", 200, "GET", 1, None, 1, 1)
    job.close_writers()
    client.get_job(key).close_writers()  # has none of its own
    return [len(list(each.list())) for each in (job.items, job.logs, job.samples, job.requests)]
    """
    assert python(code, key=job) == [1, 1, 1, 1]


def test_the_clients_close_writes_what_is_left(python: Python, job: str) -> None:
    python("client.get_job(key).items.write({'n': 1})", key=job)
    assert python("return client.get_job(key).items.list()", key=job) == [{"n": 1}]


def test_a_key_that_is_wrong(python: Python, crawl: str) -> None:
    code = """
    from scrapinghub import ScrapinghubClient
    getattr(ScrapinghubClient("f" * 32, endpoint=URL).get_job(key), kind).list()
    """
    for kind in ("items", "logs", "requests", "samples"):
        assert python.error(code, key=crawl, kind=kind) == "Unauthorized: Unauthorized\n"
