"""What a spider is given: arguments, settings, environment, tags, units; and what it is not."""

import json
import re
from pathlib import Path
from typing import Any

from tests.platform import KEY, Platform


def echo(platform: Platform, project: int, **params: Any) -> tuple[str, dict[str, Any]]:
    """Run the spider that yields all it was given; returns key and item."""
    key = platform.run_json(project, "echo", **params)
    assert platform.wait(key)["close_reason"] == "finished", platform.log_of(key)
    (item,) = platform.items(key)
    return key, item


def test_arguments_reach_the_spider(platform: Platform, project: int) -> None:
    args = {
        "ascii": "a=b",
        "späti": "Grüße, 世界 🎉",
        "": "no name",
        "empty": "",
        "lines": "a\nb\t'\"\\ $HOME",
    }
    key, item = echo(platform, project, **args)
    assert item["args"] == args
    assert platform.job(key)["spider_args"] == args


def test_long_arguments_reach_the_spider(platform: Platform, project: int) -> None:
    _, item = echo(platform, project, long="ü" * 100_000)
    assert item["args"] == {"long": "ü" * 100_000}


def test_key_tags_units_and_environment_reach_the_spider(platform: Platform, project: int) -> None:
    key, item = echo(
        platform, project, add_tag=["a", "b"], units=2, environment={"MINE": "ü ö", "N": 5, "PATH": "/evil"}
    )
    env = item["env"]
    assert (env["SHUB_JOBKEY"], env["SCRAPY_JOB"]) == (key, key)
    assert (env["SHUB_JOB_TAGS"], env["SHUB_JOB_MEMORY_LIMIT"]) == ("a,b", "1900")
    assert (env["MINE"], env["N"]) == ("ü ö", "5") and "/evil" not in env["PATH"]
    assert json.loads(env["SHUB_JOB_DATA"])["units"] == 2


def test_settings_of_the_job_are_stronger_than_the_projects(platform: Platform, project: int) -> None:
    assert echo(platform, project)[1]["setting"] == "project"
    assert echo(platform, project, job_settings={"MARK": "job"})[1]["setting"] == "job"


def test_no_secret_of_the_platform_reaches_the_spider(platform: Platform, project: int) -> None:
    _, item = echo(platform, project)
    names = {name for name in item["env"] if name.startswith(("CRAWLDOCK", "DATABASE", "REDIS", "CELERY"))}
    assert not names and KEY not in str(item)
    values = " ".join(item["env"].values())
    assert not [word for word in ("sqlite", "valkey", "postgres", "redis", "crawldock.db") if word in values]
    # Of our own variables, a spider sees the path that programs are found by, and no other.
    allowed = {"PATH", "LANG", "HOME", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONUNBUFFERED", "LC_CTYPE"}
    assert not {n for n in item["env"] if not n.startswith(("SHUB_", "SCRAPY_"))} - allowed


def test_a_spider_has_a_home_session_and_signals_of_its_own(platform: Platform, project: int) -> None:
    code = """if True:
        open("here", "w").close()
        raise Exception(os.getpid() == os.getsid(0) == os.getpgid(0), os.getcwd() == os.environ["HOME"],
            {n: signal.getsignal(getattr(signal, n)) is signal.SIG_DFL for n in ("SIGHUP", "SIGUSR1", "SIGURG")},
            "SIGINT ignored:", signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"""
    job = platform.run(project, "code", code=code)
    assert "(True, True, {'SIGHUP': True, 'SIGUSR1': True, 'SIGURG': True}, 'SIGINT ignored:', False)" in (
        platform.log_of(job["id"])
    )


def test_a_spider_is_forked_unless_that_is_turned_off(platform: Platform, project: int) -> None:
    code = "print('started by', open(f'/proc/{os.getppid()}/cmdline').read().split(chr(0))[1])"
    starters = [platform.log_of(platform.run(project, "code", code=code)["id"]) for _ in range(3)]
    forked = ["template.py" in log for log in starters]
    # A machine that is busy may take too long to make the template for the first of them.
    assert forked[-1] if platform.env["CRAWLDOCK_WARM_START"] == "1" else not any(forked), starters


def test_a_forked_spider_finds_what_one_started_afresh_finds(platform: Platform, project: int) -> None:
    shown = {}
    for way, more in ("forked", {}), ("afresh", {"PYTHONNOTHING": "1"}):  # a variable that Python may read
        key = platform.run_json(
            project, "three", environment={"AT_IMPORT": "show", "TZ": "Asia/Tokyo", **more}
        )
        assert platform.wait(key)["close_reason"] == "finished", platform.log_of(key)
        text = platform.log_of(key)
        found = text.partition("shown: ")[2].partition("\n")[0].replace(key, "KEY")
        shown[way] = json.loads(re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"/runs/[^/\"]*", "/runs/JOB", found)))
    assert shown["afresh"]["environment"].pop("PYTHONNOTHING") == "1"
    for secret in ("SHUB_JOBAUTH", "SHUB_JOB_DATA"):
        assert all(each["environment"].pop(secret) for each in shown.values())
    for name in shown["afresh"]:
        assert shown["forked"][name] == shown["afresh"][name], name


def test_nothing_of_a_job_is_left(platform: Platform, project: int) -> None:
    key, item = echo(platform, project)
    assert Path(item["env"]["HOME"]).parent == platform.folder / "data" / "runs"
    assert not Path(item["env"]["HOME"]).exists() and not Path(f"/proc/{item['pid']}").exists()
    assert platform.left_of(key) == []


def test_nothing_of_the_platform_can_be_imported(platform: Platform, project: int) -> None:
    job = platform.run(
        project, "code", code="import importlib.util as u\nraise Exception(u.find_spec('app'))"
    )
    assert "Exception: None" in platform.log_of(job["id"])


def test_a_script_gets_its_command_line(platform: Platform, project: int) -> None:
    key = platform.run_json(project, "py:script.py", cmd_args="0 'a b' --flag=ü", environment={"MARK": "x"})
    assert platform.wait(key)["close_reason"] == "no_reason", platform.log_of(key)
    assert "script ['script.py', '0', 'a b', '--flag=ü'] x __main__" in platform.log_of(key)


def test_a_script_that_fails(platform: Platform, project: int) -> None:
    job = platform.wait(platform.run_json(project, "py:script.py", cmd_args="3"))
    assert job["close_reason"] == "failed"
    assert "script ['script.py', '3']" in platform.log_of(job["id"])
    assert "the spider's process exited with status 3" in platform.log_of(job["id"])
