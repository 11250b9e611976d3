"""python-scrapinghub on what a project keeps: collections, frontiers, activity, settings (ScrapinghubClient)."""

import pytest

from tests.compat.clients import Python

KINDS = ["get_store", "get_cached_store", "get_versioned_store", "get_versioned_cached_store"]


# Collections


@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_of_each_kind(python: Python, empty: int, kind: str) -> None:
    code = """
    store = getattr(project.collections, kind)("books")
    store.set({"_key": "a", "title": "Bücher 世界", "n": 1.5, "none": None})
    store.set([{"_key": "b", "n": 2}, {"_key": "c/ä", "n": 3}])
    store.set({"_key": "b", "n": 4})
    got = store.get("a"), store.count(), store.list()
    store.delete("a"); store.delete(["b", "nosuch"])
    left = list(store.iter())
    store.truncate()
    return *got, left, store.list(), store.count()
    """
    one, count, every, left, none, zero = python(code, project=empty, kind=kind)
    assert one == {"title": "Bücher 世界", "n": 1.5, "none": None}
    assert (count, zero) == (3, 0)
    assert every == [{**one, "_key": "a"}, {"n": 4, "_key": "b"}, {"n": 3, "_key": "c/ä"}]
    assert (left, none) == ([{"n": 3, "_key": "c/ä"}], [])


def test_collections_are_listed(python: Python, empty: int) -> None:
    code = """
    for kind in ("vs", "s"):
        project.collections.get(kind, "one").set({"_key": "a"})
    project.collections.get_store("two").set({"_key": "a"})
    return project.collections.list(), list(project.collections.iter())
    """
    listed, iterated = python(code, project=empty)
    assert listed == iterated
    assert listed == [
        {"type": "s", "name": "one"},
        {"type": "vs", "name": "one"},
        {"type": "s", "name": "two"},
    ]


def test_what_a_scan_selects(python: Python, empty: int) -> None:
    code = """
    store = project.collections.get_store("scan")
    for n in range(12):
        store.set({"_key": f"{'ab'[n % 2]}{n}", "n": n})
    keys = lambda **how: [row["_key"] for row in store.list(**how)]
    last = store.list(meta=["_ts"])
    return [keys(), keys(key="a0"), keys(key=["b1", "a0", "nosuch"]), keys(prefix="b"), keys(prefix=["a", "b"], prefixcount=2),
            keys(count=3), keys(start="b1"), keys(startafter="b1", count=1), keys(startts=0), keys(endts=1),
            keys(filter=[("n", ">", [9])])], last[0]["_ts"] > 0, store.list(count=1, nodata=1), store.count(prefix="a")
    """
    found, stamped, bare, count = python(code, project=empty)
    a, b = ["a0", "a10", "a2", "a4", "a6", "a8"], ["b1", "b11", "b3", "b5", "b7", "b9"]
    assert found == [[*a, *b], ["a0"], ["a0", "b1"], b, ["a0", "a10", "b1", "b11"], a[:3], b, b[1:2], [*a, *b], [],
                     ["a10", "b11"]]  # fmt: skip
    assert stamped and bare == [{"_key": "a0"}] and count == 6


def test_a_writer_of_a_collection(python: Python, empty: int) -> None:
    code = """
    store = project.collections.get_store("written")
    for encoding in ("identity", "gzip"):
        writer = store.create_writer(content_encoding=encoding, size=100)
        for n in range(250):
            writer.write({"_key": f"{encoding}{n:03}", "n": n})
        writer.flush(); writer.close()
    return store.count(), [row["n"] for row in store.iter(prefix="gzip")]
    """
    assert python(code, project=empty) == [500, list(range(250))]


def test_errors_of_collections(python: Python, empty: int) -> None:
    code = """
    store = project.collections.get_store("errors")
    store.set({"_key": "a"})
    found = []
    for call in (lambda: store.get("nosuch"), lambda: store.get(None), lambda: store.set({"n": 1}), lambda: store.set({"_key": []}),
                 lambda: store.set({"_key": "big", "x": "x" * (1 << 20)}), lambda: store.delete(5),
                 lambda: project.collections.get_store("no-name"), lambda: project.collections.get("x", "name")):
        try:
            found.append(call())
        except Exception as error:
            found.append([type(error).__name__, str(error)])
    return found, store.count()
    """
    (missing, none, keyless, listed, large, *ours), count = python(code, project=empty)
    assert missing[0] == "NotFound" and none[0] == "ValueError" and count == 1
    assert keyless == listed == ["BadRequest", "Error parsing data, missing value for _key field\n"]
    assert large == ["ValueTooLarge", "Error parsing data, Serialized value too large - max 1048576 bytes\n"]
    assert [name for name, _ in ours] == ["ValueError"] * 3


def test_a_collection_that_was_never_there(python: Python, empty: int) -> None:
    code = "store = project.collections.get_store('never')\nreturn store.list(), store.count(), project.collections.list()"
    assert python(code, project=empty) == [[], 0, []]


# Frontiers


def test_a_frontier(python: Python, empty: int) -> None:
    code = """
    slot = project.frontiers.get("f").get("site.com")
    slot.q.add([{"fp": "/low", "p": 1}, {"fp": "/a", "qdata": {"depth": 1}, "fdata": {"x": 1}}, {"fp": "/b"}])
    slot.flush()
    seen = slot.newcount, project.frontiers.get("f").newcount, project.frontiers.newcount
    slot.q.add([{"fp": "/a"}, {"fp": "/c"}])
    project.frontiers.flush()
    batches = slot.q.list()
    slot.q.delete([batch["id"] for batch in batches if ["/b", None] in batch["requests"]])
    left = [request for batch in slot.q.iter() for request in batch["requests"]]
    return seen, slot.newcount, batches, left, slot.f.list(), list(slot.fingerprints.iter())
    """
    seen, new, batches, left, listed, iterated = python(code, project=empty)
    assert (seen, new) == ([3, 3, 3], 4)
    requests = [request for batch in batches for request in batch["requests"]]
    assert requests == [["/a", {"depth": 1}], ["/b", None], ["/c", None], ["/low", None]]
    assert ["/b", None] not in left and ["/low", None] in left
    assert listed == iterated == ["/a", "/b", "/c", "/low"]


def test_batches_of_a_frontier(python: Python, empty: int) -> None:
    code = """
    slot = project.frontiers.get("f").get("s")
    slot.q.add([{"fp": str(n)} for n in range(150)])
    slot.flush()
    sizes = lambda batches: [len(batch["requests"]) for batch in batches]
    first = slot.q.list(mincount=100)
    slot.q.delete(first[0]["id"])
    return sizes(first), sizes(slot.q.list(mincount=101)), sizes(slot.queue.iter())
    """
    assert python(code, project=empty) == [[100], [50], [50]]


def test_fingerprints_alone(python: Python, empty: int) -> None:
    code = """
    slot = project.frontiers.get("f").get("s")
    slot.f.add(["b", "ä", "a"]); slot.f.add(["a"])
    project.frontiers.get("f").flush()
    return slot.newcount, slot.f.list(), slot.q.list()[0]["requests"]
    """
    new, listed, requests = python(code, project=empty)
    assert (new, listed) == (3, ["a", "b", "ä"])
    assert [fp for fp, _ in requests] == ["b", "ä", "a"]


def test_frontiers_and_slots_are_listed(python: Python, empty: int) -> None:
    code = """
    frontiers = project.frontiers
    for name, slot in (("one", "b"), ("one", "a c"), ("two", "~x")):
        frontiers.get(name).get(slot).q.add([{"fp": "1"}])
    frontiers.close()
    before = frontiers.list(), list(frontiers.iter()), frontiers.get("one").list(), list(frontiers.get("two").iter())
    frontiers.get("one").get("b").delete(); frontiers.get("two").get("~x").delete(); frontiers.get("never").get("x").delete()
    slot = frontiers.get("one").get("b")
    return *before, frontiers.list(), frontiers.get("one").list(), slot.f.list(), slot.q.list()
    """
    names, iterated, slots, other, *after = python(code, project=empty)
    assert (names, iterated, slots, other) == (["one", "two"], ["one", "two"], ["a c", "b"], ["~x"])
    assert after == [["one"], ["a c"], [], []]


# Activity


def test_events_of_ones_own(python: Python, empty: int) -> None:
    code = """
    project.activity.add([{"event": "a", "job": f"{number}/1/1", "user": "me"}, {"event": "b", "more": [1]}])
    activity = project.activity
    return (activity.list(), list(activity.iter(count=1)), activity.list(filter=[("event", "=", ["a"])]),
            activity.list(meta="_ts", count=1)[0]["_ts"] > 0)
    """
    every, last, filtered, stamped = python(code, project=empty)
    assert [event["event"] for event in every] == ["b", "a"] and last == every[:1] and stamped
    assert filtered == [{"event": "a", "job": f"{empty}/1/1", "user": "me"}]


def test_events_of_the_platform(python: Python, empty: int) -> None:
    code = """
    one = client.get_job(hs.push_job(number, "w").key)
    one.start(); one.finish(); one.finish(); one.delete()
    two = client.get_job(hs.push_job(number, "w").key)
    two.cancel()
    return [[event["event"], event["job"][-1], event["user"]] for event in project.activity.iter()][::-1]
    """
    assert python(code, project=empty) == [
        [event, job, "admin"]
        for event, job in [("job:scheduled", "1"), ("job:started", "1"), ("job:completed", "1"), ("job:deleted", "1"),
                           ("job:scheduled", "2"), ("job:cancelled", "2")]
    ]  # fmt: skip


def test_an_event_of_another_project(python: Python, empty: int) -> None:
    assert python.error("project.activity.add([{'job': '9/1/1'}])", project=empty).startswith(
        "ValueError: Please use same project id"
    )


# Settings


def test_settings(python: Python, empty: int) -> None:
    code = """
    settings = project.settings
    before = settings.list()
    settings.set("job_runtime_limit", 20); settings.update({"default_job_units": 2, "mine": {"ü": [None]}})
    got = settings.get("default_job_units"), settings.get("nosuch"), sorted(settings.iter())
    settings.delete("mine"); settings.delete("nosuch")
    return before, got, sorted(settings.list())
    """
    before, got, after = python(code, project=empty)
    two = [["default_job_units", 2], ["job_runtime_limit", 20]]
    assert before == [] and got == [2, None, [*two, ["mine", {"ü": [None]}]]] and after == two
