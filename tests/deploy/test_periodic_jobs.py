"""`periodic_jobs:` of the yml inside an egg: applied by a deploy, which a bad list fails."""

import json
from typing import Any

from tests.eggs import HEAD, egg
from tests.platform import Platform, until

FILES = {
    "proj/__init__.py": "",
    "proj/settings.py": "SPIDER_MODULES = ['proj.spiders']\n",
    "proj/spiders.py": HEAD + "class Only(scrapy.Spider):\n    name = 'only'\n    start_urls = ['data:,x']\n",
}


def deploy(
    platform: Platform, project_id: int, version: str, yml: str, place: str
) -> tuple[str, dict[str, Any]]:
    """The build's log, and the answer."""
    answer = platform.http.post(
        "scrapyd/addversion.json",
        data={"project": project_id, "version": version},
        files={"egg": egg({**FILES, place: yml})},
    )
    return answer.text, json.loads(answer.text.splitlines()[-1])


def schedules(platform: Platform, project_id: int) -> dict[str, Any]:
    found = platform.get(f"v2/projects/{project_id}/periodicjobs").json()["results"]
    return {each["declared"]: each for each in found}


def test_a_deploy_makes_its_schedules_true_or_fails_and_changes_nothing(platform: Platform) -> None:
    project_id = platform.deploy(egg(FILES))
    good = "periodic_jobs: [{name: nightly, cron: 0 3 * * *, spiders: only}]"
    text, answer = deploy(platform, project_id, "2", good, "proj/scrapinghub.yml")
    assert "periodic job nightly: added\n" in text and answer["status"] == "ok"
    text, answer = deploy(platform, project_id, "3", good, "scrapinghub.yml")
    assert "periodic job nightly: unchanged\n" in text and answer["status"] == "ok"
    bad = good.replace("0 3", "0 33").replace("nightly", "weekly")
    _, answer = deploy(platform, project_id, "4", bad, "scrapinghub.yml")
    assert (answer["status"], answer["message"]) == (
        "error", "scrapinghub.yml: periodic_jobs: weekly: invalid value for cron: bad hour in '0 33 * * *'",
    )  # fmt: skip
    assert list(schedules(platform, project_id)) == ["nightly"]
    assert platform.get("spiders/list.json", project=project_id).json()["spiders"][0]["version"] == "3"
    text, answer = deploy(platform, project_id, "5", "stack: scrapy:2.19", "scrapinghub.yml")
    assert "periodic job" not in text and list(schedules(platform, project_id)) == ["nightly"]
    text, _ = deploy(platform, project_id, "6", "periodic_jobs: []", "scrapinghub.yml")
    assert "periodic job nightly: removed\n" in text and schedules(platform, project_id) == {}


def test_a_schedule_fires_by_itself(platform: Platform) -> None:
    """Within a few seconds of its time, and the spider runs."""
    project_id = platform.deploy(egg(FILES))
    every = "periodic_jobs: [{name: often, cron: '* * * * *', spiders: [{name: only, addtags: [x]}]}]"
    deploy(platform, project_id, "2", every, "scrapinghub.yml")
    url = f"v2/projects/{project_id}/periodicjobs/{schedules(platform, project_id)['often']['id']}"
    (run,) = until(lambda: platform.get(f"{url}/runs").json()["results"], 75)
    assert (run["state"], len(run["jobs"])) == ("started", 1)
    platform.http.patch(url, json={"enabled": False})
    job = platform.wait(run["jobs"][0])
    assert (job["tags"], job["close_reason"]) == (["x"], "finished")
    row = platform.row(run["jobs"][0])
    assert row["pending_time"] // 1000 % 60 < 15  # the machine may be busy
