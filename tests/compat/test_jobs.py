"""python-scrapinghub on projects, spiders and jobs (ScrapinghubClient)."""

import re

import pytest

from tests.compat.clients import Python
from tests.platform import Platform, until

# Projects


def test_projects(python: Python, project: int, empty: int) -> None:
    listed, iterated, key, settings = python(
        """
        projects = client.projects
        return projects.list(), list(projects.iter()), projects.get(project_id).key, projects.get(str(project_id)).settings.list()
        """,
        project_id=empty,
    )
    assert {123, project, empty} <= set(listed) and iterated == listed
    assert (key, settings) == (str(empty), [])


def test_the_summary_of_projects(python: Python, empty: int) -> None:
    every, pending = python(
        """
        hs.push_job(number, "a"); hs.push_job(number, "a"); hs.push_job(number, "a", state="running")
        return client.projects.summary(), client.projects.summary(state="pending")
        """,
        project=empty,
    )
    mine = next(row for row in every if int(row["project"]) == empty)
    assert (mine["pending"], mine["running"], mine["finished"], mine["has_capacity"]) == (2, 1, 0, True)
    assert next(row for row in pending if int(row["project"]) == empty)["pending"] == 2


# Spiders


def test_spiders(python: Python, project: int) -> None:
    listed, iterated, key, name = python(
        """
        spider = project.spiders.get("echo")
        return project.spiders.list(), list(project.spiders.iter()), spider.key, spider.name
        """,
        project=project,
    )
    assert {"id": "three", "tags": [], "type": "manual", "version": "compat"} in listed and iterated == listed
    assert key.startswith(f"{project}/") and name == "echo"


def test_an_unknown_spider(python: Python, project: int) -> None:
    said = python.error("project.spiders.get('nosuch')", project=project)
    assert said == "NotFound: Spider nosuch doesn't exist."


def test_a_spider_is_declared(python: Python, empty: int) -> None:
    keys, listed = python(
        """
        keys = [project.spiders.get(name, create=True).key for name in ("a", "b", "a")]
        return keys, [spider["id"] for spider in project.spiders.list()]
        """,
        project=empty,
    )
    assert keys == [f"{empty}/1", f"{empty}/2", f"{empty}/1"] and listed == ["a", "b"]


def test_tags_of_a_spider(python: Python, empty: int) -> None:
    code = """
    spider = project.spiders.get("tagged", create=True)
    found = [spider.list_tags()]
    spider.update_tags(add=["b", "ä", "b"]); found.append(spider.list_tags())
    spider.update_tags(add=["c"], remove=["b", "nosuch"]); found.append(spider.list_tags())
    return found, project.spiders.list()[0]["tags"]
    """
    found, listed = python(code, project=empty)
    assert found == [[], ["b", "ä"], ["ä", "c"]] and listed == ["ä", "c"]
    said = python.error("project.spiders.get('tagged').update_tags()", project=empty)
    assert said.startswith("BadRequest: ")


# Running


def test_a_job_runs(python: Python, platform: Platform, project: int) -> None:
    key, state = python(
        """
        job = project.spiders.get("echo").jobs.run(job_args={"a": "ü", "n": "1"}, priority=4, add_tag=["x", "y"],
            units=2, job_settings={"MARK": "by job"}, meta={"mine": {"n": [1]}}, environment={"MY": "env"})
        return job.key, job.metadata.get("state")
        """,
        project=project,
    )
    assert state in {"pending", "running", "finished"}
    assert platform.wait(key)["close_reason"] == "finished"
    (item,), meta = python(
        "job = client.get_job(key)\nreturn job.items.list(), dict(job.metadata.list())", key=key
    )
    assert (item["args"], item["setting"], item["env"]["MY"]) == ({"a": "ü", "n": "1"}, "by job", "env")
    wanted = {
        "project": project, "spider": "echo", "spider_args": {"a": "ü", "n": "1"}, "state": "finished", "priority": 4,
        "units": 2, "tags": ["x", "y"], "close_reason": "finished", "version": "compat", "mine": {"n": [1]},
        "job_settings": {"MARK": "by job"}, "environment": {"MY": "env"}, "spider_type": "manual",
        "api_url": f"{platform.url}/api/", "started_by": "jobrunner", "completed_by": "jobrunner",
    }  # fmt: skip
    assert {name: meta.get(name) for name in wanted} == wanted
    assert 0 < meta["pending_time"] <= meta["running_time"] <= meta["finished_time"]
    assert meta["scrapystats"]["item_scraped_count"] == 1 and "auth" not in meta


def test_the_same_job_again_is_refused(python: Python, platform: Platform, project: int) -> None:
    code = "return project.jobs.run('slow', job_args={'again': who}).key"
    who = python.bin.parent.name
    key = python(code, project=project, who=who)
    said = python.error(code, project=project, who=who)
    python("client.get_job(key).cancel()", key=key)
    assert said == "DuplicateJobError: slow already scheduled"
    assert platform.wait(key)["close_reason"] == "cancelled"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("run('nosuch')", "BadRequest: .*nosuch"), ("run()", "ValueError: Please provide `spider` name"),
        ("run('three', priority=7)", "BadRequest: .*priority"), ("run('three', job_args=[1])", "ValueError"),
        ("get('9/1/1')", "ValueError: Please use same project id"), ("update_tags(add=['a'])", "ValueError: Please provide spider"),
        ("cancel()", "ValueError: keys or count should be defined"), ("cancel(keys=['9/1/1'])", "ValueError: all keys should belong"),
    ],
)  # fmt: skip
def test_wrong_calls(python: Python, project: int, call: str, error: str) -> None:
    assert re.match(error, python.error(f"project.jobs.{call}", project=project))


def test_a_key_that_is_wrong(python: Python, project: int) -> None:
    code = """
    from scrapinghub import ScrapinghubClient
    stranger = ScrapinghubClient("f" * 32, dash_endpoint=f"{URL}/api/", endpoint=URL)
    found = []
    for call in (stranger.projects.list, lambda: stranger.get_project(number).jobs.run("three"),
                 lambda: stranger.get_job(f"{number}/1/1").metadata.get("state"), stranger.projects.summary,
                 lambda: stranger.get_project(number).jobs.count(), lambda: stranger.get_project(number).jobs.list()):
        try:
            call()
        except Exception as error:
            found.append(type(error).__name__)
    return found
    """
    assert python(code, project=project) == ["Unauthorized"] * 6


# Lists

FIVE = """
keys = [project.jobs.run("w", job_args={"n": str(n)}, add_tag=["all", f"t{n % 2}"], meta={"state": "finished"}).key for n in range(4)]
keys.append(project.jobs.run("w", job_args={"n": "p"}, add_tag=["all"], meta={"state": "running"}).key)
"""


@pytest.fixture
def jobs(python: Python, empty: int) -> tuple[int, list[str]]:
    """A project, and the keys of its jobs: four finished ones, and one that was declared to be running."""
    keys = python(f"project.spiders.get('w', create=True)\n{FIVE}\nreturn keys", project=empty)
    return empty, keys


def test_counts_of_jobs(python: Python, jobs: tuple[int, list[str]]) -> None:
    counts = python(
        """
        jobs, spider = project.jobs, project.spiders.get("w")
        return [jobs.count(), jobs.count(state="running"), jobs.count(state=["running", "finished"]), jobs.count(spider="w"),
                spider.jobs.count(), jobs.count(spider="nosuch"), jobs.count(has_tag="t1"), jobs.count(has_tag=["t0", "t1"]),
                jobs.count(lacks_tag="t1"), jobs.count(startts=0), jobs.count(endts=1), jobs.count(startts=2**42)]
        """,
        project=jobs[0],
    )
    assert counts == [4, 1, 5, 4, 4, 0, 2, 4, 2, 4, 0, 0]


def test_a_list_of_jobs(python: Python, jobs: tuple[int, list[str]]) -> None:
    number, keys = jobs
    every, running, spider, tagged, page = python(
        """
        jobs = project.jobs
        return (jobs.list(), list(jobs.iter(state="running")), project.spiders.get("w").jobs.list(count=1),
                jobs.list(has_tag=["t1"], lacks_tag=["t0"]), jobs.list(start=1, count=2))
        """,
        project=number,
    )
    assert [row["key"] for row in every] == keys[3::-1]  # the newest first
    assert every[0]["state"] == "finished" and every[0]["spider"] == "w" and every[0]["tags"] == ["all", "t1"]
    assert every[0]["ts"] == every[0]["finished_time"] and every[0]["elapsed"] > 0
    assert [row["key"] for row in running] == keys[4:] and running[0]["running_time"] > 0
    assert [row["key"] for row in spider] == keys[3:4] and [row["key"] for row in tagged] == [
        keys[3],
        keys[1],
    ]
    assert page == [dict(row, elapsed=found["elapsed"]) for row, found in zip(every[1:3], page, strict=True)]


def test_chosen_fields_of_jobs(python: Python, jobs: tuple[int, list[str]]) -> None:
    rows = python(
        "return project.jobs.list(meta=['spider', 'spider_args', 'nosuch'], state='running')", project=jobs[0]
    )
    assert [set(row) for row in rows] == [{"key", "ts", "elapsed", "state", "spider", "spider_args"}]
    assert rows[0]["spider_args"] == {"n": "p"}


def test_summaries_of_jobs(python: Python, jobs: tuple[int, list[str]]) -> None:
    number, keys = jobs
    every, finished, spider, none = python(
        """
        return (project.jobs.summary(), project.jobs.summary("finished", count=2), project.spiders.get("w").jobs.summary("running"),
                project.jobs.summary("pending", spider="w"))
        """,
        project=number,
    )
    assert [(queue["name"], queue["count"], len(queue["summary"])) for queue in every] == [
        ("pending", 0, 0), ("running", 1, 1), ("finished", 4, 4)]  # fmt: skip
    assert finished["count"] == 4 and [row["key"] for row in finished["summary"]] == keys[3:1:-1]
    assert [row["key"] for row in spider["summary"]] == keys[4:]
    assert none == {"name": "pending", "count": 0, "summary": []}


def test_last_jobs(python: Python, jobs: tuple[int, list[str]]) -> None:
    number, keys = jobs
    every, spider, named = python(
        """
        project.spiders.get("never", create=True)
        return (list(project.jobs.iter_last()), list(project.spiders.get("w").jobs.iter_last()),
                list(project.jobs.iter_last(spider="w", count=1)))
        """,
        project=number,
    )
    assert [row["key"] for row in every] == [row["key"] for row in spider] == [keys[3]]
    assert named[0]["key"] == keys[3] and every[0]["elapsed"] > 0 and every[0]["finished_time"] > 0
    assert python("return list(project.jobs.iter_last(spider='never'))", project=number) == []


def test_tags_of_all_jobs_of_a_spider(python: Python, jobs: tuple[int, list[str]]) -> None:
    code = """
    spider = project.spiders.get("w")
    changed = spider.jobs.update_tags(add=["new"], remove=["all"]), project.jobs.update_tags(add=["more"], spider="w")
    return changed, project.jobs.count(has_tag="new"), project.jobs.count(has_tag="all"), client.get_job(key).metadata.get("tags")
    """
    changed, new, old, tags = python(code, project=jobs[0], key=jobs[1][0])
    assert changed in ([5, 5], [4, 4]) and (new, old) == (4, 0) and tags == ["t0", "new", "more"]


def test_jobs_are_cancelled(python: Python, empty: int) -> None:
    cancelled, states, none = python(
        """
        project.spiders.get("w", create=True)
        keys = [hs.push_job(number, "w").key for _ in range(3)]
        cancelled = project.jobs.cancel(keys=keys[:2])
        states = [[client.get_job(key).metadata.get(field) for field in ("state", "cancelled_by")] for key in keys]
        return cancelled, states, project.jobs.cancel(keys=[keys[0], f"{number}/99/1"])
        """,
        project=empty,
    )
    assert (cancelled, none) == ({"count": 2}, {"count": 0})
    assert states == [["finished", "admin"], ["finished", "admin"], ["pending", None]]


def test_jobs_are_cancelled_by_number(python: Python, empty: int) -> None:
    python("for _ in range(3): hs.push_job(number, 'w')\nlist(project.jobs.cancel(count=2))", project=empty)
    code = "return project.jobs.count(state='pending'), project.jobs.count()"
    until(lambda: python(code, project=empty) == [1, 2])


# One job


def test_the_life_of_a_job(python: Python, empty: int) -> None:
    states, meta = python(
        """
        job = client.get_job(hs.push_job(number, "w").key)
        states = [job.start(botgroup=None, hello="x"), job.finish(close_reason="done"), job.finish(), job.delete(why="old")]
        return states, dict(job.metadata.iter())
        """,
        project=empty,
    )
    assert states == ["pending", "running", "finished", "finished"]
    assert (meta["state"], meta["close_reason"], meta["hello"], meta["why"]) == (
        "deleted",
        "done",
        "x",
        "old",
    )
    assert (meta["scheduled_by"], meta["started_by"], meta["completed_by"], meta["deleted_by"]) == (
        "admin",
    ) * 4


def test_a_state_by_name(python: Python, empty: int) -> None:
    code = """
    job = project.jobs.get(hs.push_job(number, "w").key)
    return job.update("running", a=1), job.update(state="finished"), job.metadata.get("state"), job.metadata.get("a")
    """
    assert python(code, project=empty) == ["pending", "running", "finished", 1]
    said = python.error("client.get_job(f'{number}/9/9').finish()", project=empty)
    assert said == f"NotFound: Job {empty}/9/9 doesn't exist"


def test_a_running_job_is_cancelled(python: Python, platform: Platform, project: int) -> None:
    key = python("return project.jobs.run('slow', job_args={'cancel': 'me'}).key", project=project)
    until(lambda: platform.items(key))
    python("client.get_job(key).cancel()", key=key)
    assert platform.wait(key)["close_reason"] == "cancelled"
    assert python("return client.get_job(key).metadata.get('cancelled_by')", key=key) == "admin"


def test_tags_of_a_job(python: Python, empty: int) -> None:
    code = """
    job = client.get_job(hs.push_job(number, "w", tags=["a"]).key)
    job.update_tags(add=["b", "c"]); job.update_tags(remove=["a"], add=["d"])
    return job.metadata.get("tags")
    """
    assert python(code, project=empty) == ["b", "c", "d"]


def test_metadata(python: Python, empty: int) -> None:
    values = {
        "text": "ü",
        "list": [1, [2]],
        "map": {"a": None},
        "no": False,
        "float": 0.5,
        "none": None,
        "empty": [],
    }
    code = """
    job = client.get_job(hs.push_job(number, "w").key)
    job.metadata.set("one", values["map"]); job.metadata.update(values); job.metadata.set("tags", ["t"])
    got = {name: job.metadata.get(name) for name in values}
    job.metadata.delete("text"); job.metadata.delete("nosuch")
    return got, dict(job.metadata.iter()), job.metadata.get("text"), job.metadata.get("state")
    """
    got, every, deleted, state = python(code, project=empty, values=values)
    assert got == values and deleted is None and state == "pending"
    assert {name: every[name] for name in values if name != "text"} == {
        n: v for n, v in values.items() if n != "text"
    }
    assert every["one"] == {"a": None} and every["tags"] == ["t"] and "text" not in every


def test_metadata_cannot_change_the_state(python: Python, empty: int) -> None:
    code = """
    job = client.get_job(hs.push_job(number, "w").key)
    job.metadata.update({"state": "finished", "auth": "x", "_key": "1/2/3"}); job.metadata.set("state", "running")
    return job.metadata.get("state"), job.metadata.get("auth")
    """
    assert python(code, project=empty) == ["pending", None]


def test_metadata_of_a_job_that_was_never_there(python: Python, empty: int) -> None:
    code = "job = client.get_job(f'{number}/9/9')\nreturn job.metadata.get('state'), job.metadata.list()"
    assert python(code, project=empty) == [None, []]
