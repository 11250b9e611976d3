"""python-scrapinghub's first client, of the 2014 Jobs API (Connection)."""

import pytest

from tests.compat.clients import Python
from tests.platform import Platform


def test_projects(python: Python, project: int) -> None:
    code = """
    import warnings
    warnings.simplefilter("ignore")
    return connection.project_ids(), connection.project_names(), connection[project_id].id
    """
    ids, names, mine = python(code, project_id=project)
    assert {123, project} <= set(ids) and names == ids and mine == project


def test_spiders(python: Python, project: int) -> None:
    code = "p = connection[project_id]\nreturn [s['id'] for s in p.spiders()], p.spiders(spider='echo')"
    every, one = python(code, project_id=project)
    assert {"three", "echo", "slow"} <= set(every)
    assert one == [{"id": "echo", "tags": [], "type": "manual", "version": "compat"}]


def test_a_job_from_schedule_to_deletion(python: Python, platform: Platform, project: int) -> None:
    key = python(
        "return connection[pid].schedule('echo', a='ü', add_tag=['x', 'y'], priority=3)", pid=project
    )
    assert platform.wait(key)["close_reason"] == "finished"
    code = """
    job = connection[pid].job(key)
    updated = job.update(add_tag=["new"], remove_tag=["x"])
    info = connection[pid].job(key).info
    items, log = list(job.items()), list(job.log(level="INFO"))
    return job.id, info, items, log, updated, job.delete(), [job.id for job in connection[pid].jobs(job=key)]
    """
    same, info, (item,), log, updated, deleted, after = python(code, pid=project, key=key)
    assert same == key and (updated, deleted, after) == (1, 1, [])
    assert (info["spider"], info["priority"], info["tags"], info["spider_args"]) == (
        "echo",
        3,
        ["y", "new"],
        {"a": "ü"},
    )
    assert item["args"] == {"a": "ü"}
    assert {"logLevel", "message", "time"} <= set(log[0]) and any(
        "Spider closed" in entry["message"] for entry in log
    )


def test_items_in_pages(python: Python, crawl: str) -> None:
    code = """
    job = connection[123].job(key)
    every = list(job.items())
    return every, list(job.items(offset=2, count=3)), list(job.items(count=1, meta="_key"))
    """
    every, page, (keyed,) = python(code, key=crawl)
    assert len(every) == 7 and page == every[2:5] and keyed["_key"] == f"{crawl}/0"


def test_sets_of_jobs(python: Python, project: int) -> None:
    code = """
    p = connection[pid]
    client.get_project(pid)
    keys = [client.get_project(pid).jobs.run("three", job_args={"n": f"{tag}{n}"}, add_tag=tag, meta={"state": "finished"}).key for n in range(4)]
    jobs = p.jobs(has_tag=tag)
    found = [jobs.count(), [job.id for job in p.jobs(has_tag=tag)], [job.id for job in p.jobs(has_tag=tag, count=2, offset=1)],
             p.jobs(has_tag=tag, spider="echo").count(), p.jobs(has_tag=tag).update(add_tag="more"), p.jobs(has_tag="more", lacks_tag="x").count()]
    p.jobs(has_tag=tag).delete()
    return keys, found, p.jobs(has_tag=tag).count()
    """
    keys, found, left = python(code, pid=project, tag=f"set {python.bin.parent.name}")
    assert found[:1] == [4] and sorted(found[1]) == keys and found[2] == found[1][1:3]
    assert found[3:5] == [0, 4] and found[5] >= 4 and left == 0


def test_jobs_are_stopped(python: Python, platform: Platform, project: int) -> None:
    code = """
    p = connection[pid]
    keys = [p.schedule("slow", n=n, add_tag="stopme") for n in range(3)]
    p.jobs(job=keys[0]).stop()
    return keys, p.job(keys[1]).stop(), p.jobs(job=keys[2]).stop()
    """
    keys, stopped, _ = python(code, pid=project)
    assert stopped is True
    assert [platform.wait(key)["close_reason"] for key in keys] == ["cancelled"] * 3


def test_a_report(python: Python, crawl: str) -> None:
    python("connection[123].job(key).add_report('k', 'all is well', content_type='text/plain')", key=crawl)


def test_visual_spiders_are_refused_in_words(python: Python, project: int) -> None:
    code = """
    import io
    kept = io.BytesIO()
    connection[pid].autoscraping_project_slybot(spiders=["three"], outputfile=kept)
    return kept.getvalue().decode()
    """
    assert "not supported" in python(code, pid=project)
    for more in ("", ", start_urls=['http://a/']"):
        said = python.error(f"connection[pid].autoscraping_spider_properties('three'{more})", pid=project)
        assert said.startswith("APIError: visual spiders")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("schedule('nosuch')", "Spider not found: nosuch"), ("schedule('three', priority=9)", "invalid value for priority"),
        ("jobs(state='x').count()", "invalid value for state"), ("jobs().update()", "No "),
    ],
)  # fmt: skip
def test_errors(python: Python, project: int, call: str, error: str) -> None:
    assert python.error(f"connection[pid].{call}", pid=project).startswith(f"APIError: {error}")


def test_a_key_that_is_wrong(python: Python, project: int) -> None:
    code = """
    from scrapinghub import APIError, Connection
    found = []
    for key in ("f" * 32, "x"):
        try:
            Connection(key, url=f"{URL}/api/").project_ids()
        except APIError as error:
            found.append([str(error), error._type])
    return found
    """
    assert python(code) == [["Authentication failed", "err_auth_error"]] * 2
