"""Schedules of a project's yml: read with clear errors, and made true by name."""

from typing import Any

import pytest
import yaml

from app import db
from app.errors import DeployFailed
from app.services import declared, periodic, plans
from tests.factories import at_once, change_periodic, make_periodic, make_project

pytestmark = pytest.mark.usefixtures("database", "sent")
NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "spiders": ["quotes"]}


def read(*entries: Any) -> declared.Named:
    found = declared.read(yaml.safe_dump({"periodic_jobs": list(entries)}).encode(), ["quotes"])
    assert found is not None
    return found


def apply(*entries: Any, project: int = 1) -> list[str]:
    with db.transaction() as session:
        return declared.apply(session, project, read(*entries), "deployer")


def schedules() -> dict[str | None, Any]:
    with db.reading() as session:
        return {row.declared: row for row in periodic.listing(session, 1)}


def test_an_entry_is_what_the_api_takes() -> None:
    text = b"""
projects: {default: 1}
defaults: &defaults {timezone: Europe/Berlin, jitter: 60}
periodic_jobs:
  - <<: *defaults
    name: nightly
    cron: "*/5 3 * * *"
    spiders: [{name: quotes, args: {pages: 5}, addtags: [a]}]
    job_settings: {LOG_LEVEL: INFO}
  - {name: hourly, hour: "*", spiders: quotes, enabled: false}
"""
    nightly, hourly = declared.read(text, ["quotes"]) or ()
    spiders = [{"name": "quotes", "args": {"pages": "5"}, "tags": ["a"]}]
    wanted = plans.Plan(
        "*/5 3 * * *", spiders, "nightly", "Europe/Berlin", 60, job_settings={"LOG_LEVEL": "INFO"}
    )
    assert nightly == ("nightly", wanted)
    assert (hourly[0], hourly[1].cron, hourly[1].enabled) == ("hourly", "0 * * * *", False)


@pytest.mark.parametrize("text", [b"", b"projects: {default: 1}", b"just text", b"[1, 2]", b"# nothing"])
def test_a_yml_without_a_list_says_nothing(text: bytes) -> None:
    assert declared.read(text, ["quotes"]) is None
    assert declared.read(b"periodic_jobs:", []) == declared.read(b"periodic_jobs: []", []) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("periodic_jobs: {a: 1}", "periodic_jobs is not a list"),
        ("periodic_jobs: [text]", "entry 1 has no name"),
        ("periodic_jobs: [{name: a, cron: 0 3 * * *, spiders: quotes}, {name: 5}]", "entry 2 has no name"),
        ("periodic_jobs: [{name: a, cron: 0 25 * * *, spiders: quotes}]", "a: invalid value for cron: bad hour"),
        ("periodic_jobs: [{name: a, spiders: quotes}]", "a: missing 'cron' argument"),
        ("periodic_jobs: [{name: a, cron: 0 3 * * *}]", "a: missing 'spiders' argument"),
        ("periodic_jobs: [{name: a, cron: 0 3 * * *, spiders: nobody}]", "a: .*Spider not found: nobody"),
        ("periodic_jobs: [{name: a, cron: 0 3 * * *, spiders: quotes, when: x}]", "a: unknown argument when"),
        ("periodic_jobs: [{name: a, cron: 0 3 * * *, spiders: quotes, description: 2026-01-01}]", None),
        ("periodic_jobs: [{name: a, cron: 0 3 * * *, spiders: quotes, on: 1}]", "a: unknown argument True"),
        ("periodic_jobs: [{name: a, cron: */5 * * * *, spiders: quotes}]", "needs quotes"),
        ("a: 2026-99-99", "cannot be read"),
        ("a: !!python/object:os.system {}", "cannot be read"),
        ("a: \x00", "cannot be read"),
        ("a: " + "[" * 5000, "cannot be read"),
        ("a: &a [*a]", "more than 20000 values"),
        ("a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
         "more than 20000 values"),
        ("#" * 300_000, "larger than 256 KiB"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(text: str, words: str | None) -> None:
    if words is None:
        assert declared.read(text.encode(), ["quotes"])
        return
    with pytest.raises(DeployFailed, match=f"(?s)scrapinghub.yml.*{words}") as error:
        declared.read(text.encode(), ["quotes"])
    assert len(str(error.value)) < 2000


def test_two_of_the_same_name_are_refused() -> None:
    with pytest.raises(DeployFailed, match="two entries are named 'nightly'"):
        read(NIGHTLY, NIGHTLY)


def test_entries_are_added_updated_left_and_removed_by_name() -> None:
    other = {**NIGHTLY, "name": "other"}
    assert apply(NIGHTLY, other) == ["periodic job nightly: added", "periodic job other: added"]
    first = schedules()["nightly"]
    assert (first.created_by, first.description) == ("deployer", "nightly")
    assert apply(other, {**NIGHTLY, "hour": 4, "cron": None}) == [
        "periodic job other: unchanged", "periodic job nightly: updated",
    ]  # fmt: skip
    assert (schedules()["nightly"].id, schedules()["nightly"].cron) == (first.id, "0 4 * * *")
    assert apply(other) == ["periodic job nightly: removed", "periodic job other: unchanged"]
    assert apply() == ["periodic job other: removed"]
    assert schedules() == {}


def test_what_was_made_by_hand_and_other_projects_stay() -> None:
    make_project(2)
    by_hand = make_periodic(description="nightly")
    assert apply(NIGHTLY, project=2) == ["periodic job nightly: added"]
    apply(NIGHTLY), apply()
    assert [row.id for row in schedules().values()] == [by_hand]
    assert apply(NIGHTLY, project=2) == ["periodic job nightly: unchanged"]


def test_an_unchanged_one_keeps_its_next_time() -> None:
    apply(NIGHTLY)
    change_periodic(schedules()["nightly"].id, next_time=1, due_time=2)
    apply(NIGHTLY)
    assert (schedules()["nightly"].next_time, schedules()["nightly"].due_time) == (1, 2)


def test_one_that_was_paused_by_hand_stays_paused() -> None:
    apply(NIGHTLY)
    schedule = schedules()["nightly"].id
    with db.transaction() as session:
        periodic.pause(session, 1, schedule, "alice")
    assert apply(NIGHTLY) == ["periodic job nightly: unchanged, still paused by alice"]
    assert apply({**NIGHTLY, "priority": 4}) == ["periodic job nightly: updated, still paused by alice"]
    assert (schedules()["nightly"].enabled, schedules()["nightly"].priority) == (False, 4)
    with db.transaction() as session:
        periodic.pause(session, 1, schedule, "alice", paused=False)
    assert apply(NIGHTLY) == ["periodic job nightly: updated"]
    assert schedules()["nightly"].enabled


def test_one_that_the_yml_pauses_goes_on_when_it_says_so() -> None:
    apply({**NIGHTLY, "enabled": False})
    assert (schedules()["nightly"].enabled, schedules()["nightly"].paused_by) == (False, None)
    assert apply(NIGHTLY) == ["periodic job nightly: updated"]
    assert schedules()["nightly"].enabled and schedules()["nightly"].next_time


def test_many_deploys_at_once_make_one_of_each() -> None:
    apply(NIGHTLY)
    results = at_once(4, lambda n: apply({**NIGHTLY, "priority": n}))
    assert all(each[0].startswith("periodic job nightly: u") for each in results), results
    assert list(schedules()) == ["nightly"]
