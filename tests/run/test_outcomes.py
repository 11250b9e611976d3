"""How jobs end, each in words, with what their processes said in the log; and the next job runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.platform import Platform
from tests.run.spiders import EARLY_EGG, EGG


def run(platform: Platform, project: int, code: str, **params: Any) -> tuple[str, str]:
    """Run code in a spider; returns how the job ended, and its log."""
    key = platform.run_json(project, "code", code=code, **params)
    return ended(platform, key)


def ended(platform: Platform, key: str) -> tuple[str, str]:
    job = platform.wait(key)
    assert platform.left_of(key) == []
    return job["close_reason"], platform.log_of(key)


def entries(platform: Platform, key: str) -> list[tuple[str, str]]:
    lines = platform.get("log.json", project=key.split("/", maxsplit=1)[0], job=key).json()
    return [(line["logLevel"], line["message"]) for line in lines]


def test_an_error_at_import(platform: Platform, project: int) -> None:
    reason, log = ended(platform, platform.run_json(project, "three", environment={"AT_IMPORT": "raise"}))
    assert reason == "failed"
    assert "ImportError: no import today" in log
    assert "the spider's process exited with status 1" in log


def test_an_error_in_init(platform: Platform, project: int) -> None:
    reason, log = ended(platform, platform.schedule(project, "init"))
    assert reason == "failed" and "ValueError: no init today" in log


def test_a_non_zero_exit(platform: Platform, project: int) -> None:
    reason, log = run(platform, project, "os._exit(3)")
    assert reason == "failed" and "the spider's process exited with status 3" in log


def test_an_exit_without_a_word(platform: Platform, project: int) -> None:
    assert run(platform, project, "os._exit(0)")[0] == "no_reason"


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV")])
def test_a_signal_kills_the_spider(platform: Platform, project: int, number: int, name: str) -> None:
    reason, log = run(platform, project, f"os.kill(os.getpid(), {number})")
    assert reason == f"killed by signal {number} ({name})"
    assert f"the spider's process was killed by signal {number} ({name})" in log


def test_a_sigterm_from_elsewhere(platform: Platform, project: int) -> None:
    reason, log = run(platform, project, "os.kill(os.getpid(), 15)")
    assert reason == "shutdown" and "Received SIGTERM" in log


def test_a_spider_closes_itself_with_a_reason(platform: Platform, project: int) -> None:
    reasons = ("enough", "genug für heute 🎉", "x" * 300)
    keys = [platform.schedule(project, "closes", reason=reason) for reason in reasons]
    assert [platform.wait(key)["close_reason"] for key in keys] == [reason[:255] for reason in reasons]


def test_a_reason_with_nul(platform: Platform, project: int) -> None:
    code = "raise scrapy.exceptions.CloseSpider('a' + chr(0) + 'b')"
    assert run(platform, project, code)[0] == "a\ufffdb"


def test_an_exception_in_a_callback_is_in_the_log_and_the_job_finishes(
    platform: Platform, project: int
) -> None:
    reason, log = run(platform, project, "1 / 0")
    assert reason == "finished" and "ZeroDivisionError" in log


def test_a_line_of_10_mb_in_the_pipe(platform: Platform, project: int) -> None:
    reason, log = run(platform, project, "open(PIPE, 'wb').write(b'ITM ' + b'x' * (10 << 20) + b'\\n')")
    assert reason == "finished"
    assert "[pipe] a message of 10485764 bytes was dropped" in log


def test_an_item_of_10_mb(platform: Platform, project: int) -> None:
    code = "from sh_scrapy.writer import pipe_writer as w; w.write_item({'big': 'x' * (10 << 20)})"
    key = platform.run_json(project, "code", code=code)
    reason, log = ended(platform, key)
    assert reason == "finished" and re.search(r"\[pipe\] a message of \d+ bytes was dropped", log)
    assert len(platform.items(key)) == 1  # the one that the spider yields afterwards


def test_rubbish_in_the_pipe(platform: Platform, project: int) -> None:
    code = """if True:
        pipe = open(PIPE, "wb", buffering=0)
        pipe.write(b"\\n" + os.urandom(50000) + bytes(range(256)) * 100 + b"\\n")
        for line in ("ITM [1]", "ITM {", "ITM " + "[" * 5000, "XXX {}", "LOG {}", "STA {}", "FIN {}", "REQ 1",
                     "STA " + '{"stats": {"a": ' + "[" * 500 + "]" * 500 + "}}", '{"bare": NaN}'):
            pipe.write(line.encode() + b"\\n")"""
    key = platform.run_json(project, "code", code=code)
    reason, log = ended(platform, key)
    assert reason == "finished"
    assert "[pipe] not a message: " in log and "[pipe] not a JSON object: ITM [1]" in log
    assert platform.items(key)[0] == {"bare": None} and len(platform.items(key)) == 2


def test_an_unfinished_line_at_the_end(platform: Platform, project: int) -> None:
    reason, log = run(platform, project, "open(PIPE, 'wb').write(b'ITM {'); os._exit(0)")
    assert reason == "no_reason" and "[pipe] not JSON: {" in log


def test_what_a_process_writes_to_its_real_output(platform: Platform, early: int) -> None:
    key = platform.run_json(early, "early", environment={"AT_START": "1"})
    assert ended(platform, key)[0] == "finished"
    found = entries(platform, key)
    assert found[0] in {("INFO", "started early"), ("ERROR", "Traceback, or so:\n  a line of it")}
    for entry in (
        ("INFO", "started early"),
        ("ERROR", "Traceback, or so:\n  a line of it"),
        ("INFO", "native out"),
        ("ERROR", "native err\n  continued"),
        ("INFO", "[stdout] printed"),
    ):
        assert entry in found


def test_much_output_at_once_is_all_there(platform: Platform, project: int) -> None:
    code = "for n in range(20000): os.write(1, b'line %d\\n' % n)\nos._exit(0)"
    reason, log = run(platform, project, code)
    assert reason == "no_reason"
    assert re.findall(r"line (\d+)$", log, re.MULTILINE) == [str(n) for n in range(20000)]


def test_a_process_that_ends_before_it_opens_the_pipe(platform: Platform, early: int) -> None:
    reason, log = ended(platform, platform.run_json(early, "three", environment={"AT_START": "exit"}))
    assert reason == "failed"
    assert "started early" in log and "the spider's process exited with status 7" in log


def test_helpers_with_a_session_of_their_own_end_with_the_job(platform: Platform, project: int) -> None:
    job = platform.run(project, "setsid")
    assert job["close_reason"] == "finished"
    (item,) = platform.items(job["id"])
    assert len(item["helpers"]) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in item["helpers"])


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with narrow limits and one slot: each job after a bad one runs in the same slot."""
    limits = {"JOB_MEMORY_MB": "200", "JOB_STARTUP_SECONDS": "10", "JOB_RUNTIME_SECONDS": "20", "SLOTS": "1"}
    env = {f"CRAWLDOCK_{name}": value for name, value in limits.items()}
    with Platform(tmp_path_factory.mktemp("tight"), **env, CRAWLDOCK_JOB_SILENCE_SECONDS="11") as platform:
        platform.deploy(EGG, project_id=123, version="2")
        platform.create_project(124)
        platform.deploy(EARLY_EGG, project_id=124)
        yield platform


def test_out_of_memory(tight: Platform) -> None:
    for params in ({}, {"own": "1"}):  # a helper that was left to itself counts too
        reason, log = ended(tight, tight.schedule(123, "hog", mb="300", **params))
        assert reason == "killed by oom", log
        assert re.search(r"killed: the job uses \d+ MB of memory, 200 are allowed", log)
    assert tight.run(123, "three")["close_reason"] == "finished"


def test_more_units_are_more_memory(tight: Platform) -> None:
    reason, log = ended(tight, tight.run_json(123, "hog", mb="300", seconds="3", units=3))
    assert reason == "finished", log


def test_a_process_that_never_opens_the_pipe(tight: Platform) -> None:
    reason, log = ended(tight, tight.run_json(124, "three", environment={"AT_START": "sleep"}))
    assert reason == "failed"
    assert "started early" in log
    assert log.count("the spider's process said nothing within 10 s: killed") == 1
    assert tight.run(123, "three")["close_reason"] == "finished"


def test_a_spider_that_runs_too_long(tight: Platform) -> None:
    reason, log = ended(tight, tight.schedule(123, "slow"))
    assert reason == "cancelled (time limit)"
    assert "Received SIGTERM" in log and "Spider closed (shutdown)" in log
    assert tight.run(123, "three")["close_reason"] == "finished"


def test_a_spider_that_says_nothing(tight: Platform) -> None:
    reason, log = ended(tight, tight.schedule(123, "silent"))
    assert reason == "cancelled (stalled)" and "stopping the spider: cancelled (stalled)" in log
    assert tight.run(123, "three")["close_reason"] == "finished"
