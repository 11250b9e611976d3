"""python-scrapinghub's older client of the storage API (HubstorageClient); job records are in test_records.py."""

import pytest

from tests.compat.clients import Python


def test_the_clock(python: Python) -> None:
    first, second = python("return hs.server_timestamp(), hs.server_timestamp()")
    assert 1_700_000_000_000 < first <= second


def test_a_job_is_pushed_and_read(python: Python, empty: int) -> None:
    code = """
    job = hs.push_job(number, "w", priority=hs.jobq.PRIO_HIGH, spider_args={"a": "b"}, foo=[1], tags=["t"])
    return job.key, dict(job.metadata), job.metadata.authtoken(), hs.get_job(job.key).metadata["foo"]
    """
    key, meta, token, foo = python(code, project=empty)
    assert key == f"{empty}/1/1" and token is None and foo == [1]
    assert meta["scheduled_by"] == "admin" and meta["pending_time"] > 0
    wanted = {"project": empty, "spider": "w", "state": "pending", "priority": 3, "units": 1, "spider_args": {"a": "b"},
              "foo": [1], "tags": ["t"]}  # fmt: skip
    assert {name: meta[name] for name in wanted} == wanted


@pytest.mark.parametrize("state", ["pending", "running", "finished", "deleted"])
def test_a_job_is_pushed_in_any_state(python: Python, empty: int, state: str) -> None:
    code = """
    pushed = hs.get_project(number).jobq.push("w", state=state)
    return bool(pushed["auth"]), hs.get_job(pushed["key"]).metadata["state"], [row["key"] for row in hs.get_project(number).jobq.list(state=state)]
    """
    assert python(code, project=empty, state=state) == [state == "running", state, [f"{empty}/1/1"]]


def test_a_unique_job(python: Python, empty: int) -> None:
    code = """
    jobq = hs.get_project(number).jobq
    first = jobq.push("w", unique="h1")["key"]
    jobq.push("w", unique="h2"); jobq.push("w", unique=None); jobq.push("w", unique=None)
    try:
        jobq.push("v", unique="h1")
    except Exception as error:
        said = [type(error).__name__, str(error)]
    list(jobq.finish(first))
    return said, bool(jobq.push("w", unique="h1")["key"])
    """
    assert python(code, project=empty) == [["DuplicateJobError", "Active job exists with key h1"], True]


def test_the_best_job_is_started(python: Python, empty: int) -> None:
    code = """
    jobq = hs.get_project(number).jobq
    for spider, priority in (("low", jobq.PRIO_LOW), ("first", jobq.PRIO_HIGHEST), ("second", jobq.PRIO_HIGHEST)):
        jobq.push(spider, priority=priority)
    started = [jobq.start(host="h") for _ in range(4)]
    return started, hs.get_job(started[0]["key"]).metadata.authtoken()
    """
    (first, second, low, none), token = python(code, project=empty)
    assert [job["spider"] for job in (first, second, low)] == ["first", "second", "low"] and none is None
    assert (first["state"], first["host"], first["auth"], first["running_time"] > 0) == (
        "running",
        "h",
        token,
        True,
    )


def test_a_job_is_run_by_hand(python: Python, empty: int) -> None:
    """What a runner of one's own does (contract 10.7)."""
    code = """
    hs.push_job(number, "w")
    started = hs.get_project(number).jobq.start()
    from scrapinghub import HubstorageClient
    runner = HubstorageClient(endpoint=URL)  # without a key: all by the job's own token
    job = runner.get_job(started["key"], jobauth=(started["key"], started["auth"]))
    job.items.write({"n": 1}); job.logs.info("by the job"); job.requests.add("u", 200, "GET", 1, None, 1, 1)
    job.close_writers()
    job.update_metadata({"close_reason": "enough", "tags": ["by job"]})
    stats = job.items.stats()["totals"]["input_values"]
    prev = next(hs.get_job(started["key"]).jobq.finish(job))["prevstate"]
    try:
        job.metadata.expire(); dict(job.metadata); late = "may read"
    except Exception as error:
        late = str(error)
    runner.close()
    found = client.get_job(started["key"])
    return stats, prev, late, found.items.list(), found.metadata.get("close_reason"), found.metadata.get("tags"), found.metadata.get("auth")
    """
    stats, prev, late, items, reason, tags, token = python(code, project=empty)
    assert (stats, prev, items, reason, tags, token) == (1, "running", [{"n": 1}], "enough", ["by job"], None)
    assert late.startswith("401")


def test_states_by_the_queue(python: Python, empty: int) -> None:
    code = """
    jobq = hs.get_project(number).jobq
    keys = [jobq.push("w")["key"] for _ in range(3)]
    found = [list(jobq.start(job=keys[0], a=1)), list(jobq.update([keys[0], keys[1]], state="finished", close_reason="x")),
             list(jobq.delete({"key": keys[0]})), list(jobq.finish(f"{number}/9/9"))]
    of_spider = sorted(row["key"] for row in jobq.update(f"{number}/1", state="deleted"))
    job = hs.get_job(keys[1])
    job.purged()
    return keys, found, of_spider, job.metadata["state"], job.metadata["close_reason"]
    """
    keys, found, of_spider, state, reason = python(code, project=empty)
    prev = lambda n, state: {"key": keys[n], "prevstate": state}  # noqa: E731
    assert found == [
        [prev(0, "pending")],
        [prev(0, "running"), prev(1, "pending")],
        [prev(0, "finished")],
        [],
    ]
    assert of_spider == keys[1:] and (state, reason) == ("deleted", "x")


def test_lists_and_summaries(python: Python, empty: int) -> None:
    code = """
    p = hs.get_project(number)
    keys = [p.jobq.push("w", state="finished", n=n)["key"] for n in range(3)] + [p.jobq.push("v")["key"]]
    spider = p.ids.spider("w")
    return (keys, [row["key"] for row in p.jobq.list(stop=keys[0])], [row["key"] for row in p.jobq.list(key=keys[1:2])],
            list(p.jobq.jobsummary(keys[2:], ["key", "n", "state"])), p.jobq.summary("finished", spiderid=spider, count=1, start=1, jobmeta=["n"]),
            p.jobq.summary("pending"), p.jobsummary(), [row["key"] for row in p.spiders.lastjobsummary(spider)],
            p.ids.spider("nosuch"), p.ids.spider("new", create=1))
    """
    keys, stopped, chosen, rows, queue, pending, project, last, none, new = python(code, project=empty)
    assert (stopped, chosen, last) == ([keys[2], keys[1]], [keys[1]], [keys[2]])
    assert [(row["key"], row["state"], row.get("n")) for row in rows] == [
        (keys[2], "finished", 2),
        (keys[3], "pending", None),
    ]
    assert queue["count"] == 3 and [row["n"] for row in queue["summary"]] == [1]
    assert pending["count"] == 1 and (none, new) == (None, 3)
    wanted = {"project": empty, "pending": 1, "running": 0, "finished": 3, "has_capacity": True}
    assert {name: project[name] for name in wanted} == wanted


def test_summaries_of_projects(python: Python, empty: int) -> None:
    code = "hs.push_job(number, 'w')\nreturn hs.projects.jobsummaries(), hs.projects.jobsummaries(state='pending')"
    for rows in python(code, project=empty):
        assert [row["pending"] for row in rows if int(row["project"]) == empty] == [1]


def test_jobs_of_a_project(python: Python, empty: int) -> None:
    code = """
    import warnings
    warnings.simplefilter("ignore")
    p = hs.get_project(number)
    key = p.push_job("w", state="finished", tags=["t"]).key
    haselement = '["tags", "haselement", ["t"]]'
    return (key, [job.key for job in p.get_jobs()], [row["key"] for row in p.jobq.list(filter=[haselement])],
            p.get_job(key.split("/", 1)[1]).key, [meta["spider"] for meta in p.jobs.list()], [meta["_key"] for meta in p.jobs.list("1", meta="_key")])
    """
    key, jobs, filtered, one, metas, keys = python(code, project=empty)
    assert jobs == filtered == [one] == [key] == keys and metas == ["w"]


def test_a_pending_job_is_cancelled(python: Python, empty: int) -> None:
    code = """
    job = hs.push_job(number, "w")
    job.request_cancel(); job.metadata.expire()
    running = hs.push_job(number, "w", state="running")
    running.request_cancel()
    return job.metadata["state"], job.metadata["cancelled_by"], running.metadata["cancelled_by"]
    """
    assert python(code, project=empty) == ["finished", "admin", "admin"]


def test_metadata_as_a_dictionary(python: Python, empty: int) -> None:
    code = """
    job = hs.push_job(number, "w", a=1, b=2)
    job.metadata["a"] = {"ü": None}; del job.metadata["b"]; job.metadata.save()
    other = hs.get_job(job.key)
    other.update_metadata(c=3)
    return other.metadata["a"], other.metadata.get("b"), other.metadata.liveget("c"), len(other.metadata) > 5, other.metadata.liveget("nosuch")
    """
    assert python(code, project=empty) == [{"ü": None}, None, 3, True, None]
    assert python("return dict(hs.get_job(f'{number}/9/9').metadata)", project=empty) == {}


def test_records_of_projects_and_spiders(python: Python, empty: int) -> None:
    code = """
    p = hs.get_project(number)
    for n in range(2):
        job = p.push_job("w", state="finished")
        job.items.write({"n": n}); job.logs.info(f"m{n}"); job.samples.write([n]); job.close_writers()
    spider = job.key.split("/")[1]
    return ([item["n"] for item in p.items.list()], [item["n"] for item in p.items.list(spider)],
            [entry["message"] for entry in p.logs.list(spider, count=1)], list(p.samples.list()))
    """
    assert python(code, project=empty) == [[0, 1], [0, 1], ["m0"], [[0], [1]]]


def test_raw_reading(python: Python, crawl: str) -> None:
    code = """
    import json
    job = hs.get_job(key)
    lines = [json.loads(line) for line in job.items.iter_json(count=2)]
    plain = [item.get("title") for item in job.items.iter_values()]
    packed = sum(map(len, job.items.iter_msgpack())) if hs.use_msgpack else 1
    return [line["_key"] for line in lines], len(plain), packed > 0, hs.use_msgpack, job.items.get(0, count=1)["_type"]
    """
    keys, count, packed, msgpack, kind = python(code, key=crawl)
    assert (keys, count, packed, kind) == ([f"{crawl}/0", f"{crawl}/1"], 7, True, "dict")
    assert msgpack == ("client-plain" not in str(python.bin))


def test_settings_as_a_dictionary(python: Python, empty: int) -> None:
    code = """
    settings = hs.get_project(number).settings
    before = dict(settings)
    settings.update(created=1, botgroups=["b"]); settings.save(); settings.expire()
    del settings["created"]; settings.save(); settings.expire()
    return before, dict(settings), settings.liveget("botgroups")
    """
    assert python(code, project=empty) == [{}, {"botgroups": ["b"]}, ["b"]]


def test_activity(python: Python, empty: int) -> None:
    code = """
    activity = hs.get_project(number).activity
    activity.add(event="one"); activity.add({"event": "two"}); activity.post([{"event": "three"}, {"event": "four"}])
    return [event["event"] for event in activity.list()], list(activity.get(count=1))
    """
    assert python(code, project=empty) == [["four", "three", "two", "one"], [{"event": "four"}]]


def test_collections(python: Python, empty: int) -> None:
    code = """
    collections = hs.get_project(number).collections
    stores = [collections.new_store("c"), collections.new_cached_store("c"), collections.new_versioned_store("c"),
              collections.new_versioned_cached_store("c")]
    for n, store in enumerate(stores):
        store.set({"_key": "k1", "n": n}); store.set({"_key": "k2", "n": n})
    store = collections.new_collection("s", "c")
    writer = store.create_writer(); writer.write({"_key": "w", "n": 9}); writer.close()
    found = ([store.get("k1")["n"] for store in stores], [row["n"] for row in store.get(prefix="k")], store.count(),
             [row["_key"] for row in store.iter_values()], len(list(store.iter_json(prefix="w"))),
             len(b"".join(collections.iter_msgpack("s", "c", key="w"))))
    store.delete("k1")
    errors = []
    for call in (lambda: store.get("k1"), lambda: store.set({"n": 1})):
        try:
            call()
        except Exception as error:
            errors.append(type(error).__name__)
    store.truncate()
    return *found, errors, [list(store.get()) for store in stores]
    """
    assert python(code, project=empty) == [
        [0, 1, 2, 3], [0, 0], 3, ["k1", "k2", "w"], 1, 11, ["KeyError", "ValueError"], [[], [], [], []]]  # fmt: skip


def test_a_frontier(python: Python, empty: int) -> None:
    code = """
    frontier = hs.get_project(number).frontier
    frontier.add("f", "site.com", [{"fp": "/a"}, {"fp": "/b", "qdata": {"d": 1}}])
    frontier.flush()
    batches = list(frontier.read("f", "site.com")), list(frontier.read("f", "site.com", mincount=1))
    frontier.delete("f", "site.com", [batch["id"] for batch in batches[0]])
    left = list(frontier.read("f", "site.com"))
    frontier.delete_slot("f", "site.com")
    frontier.close()
    return frontier.newcount, batches[0] == batches[1], batches[0][0]["requests"], left
    """
    assert python(code, project=empty) == [2, True, [["/a", None], ["/b", {"d": 1}]], []]


def test_no_key(python: Python, empty: int) -> None:
    code = """
    from scrapinghub import HubstorageClient
    stranger = HubstorageClient(endpoint=URL)
    p = stranger.get_project(number)
    found = [stranger.server_timestamp() > 0]
    for call in (lambda: stranger.push_job(number, "w"), lambda: list(p.jobq.list()), lambda: list(p.items.list()), lambda: dict(p.settings),
                 lambda: list(p.activity.list()), lambda: list(p.collections.new_store("c").get()), lambda: list(p.frontier.read("f", "s"))):
        try:
            call()
        except Exception as error:
            found.append(error.response.status_code)
    return found
    """
    assert python(code, project=empty) == [True, *[401] * 7]


def test_a_job_of_a_project_it_is_not_of(python: Python, empty: int) -> None:
    said = python.error("hs.get_project(number).get_job('9/1/1')", project=empty)
    assert said.startswith("ValueError: Invalid jobkey 9/1/1")
