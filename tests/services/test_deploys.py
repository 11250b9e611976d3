"""What was deployed: the history, and one deploy in full."""

import pytest

from app import db
from app.errors import NotFound
from app.services import deploys, versions
from app.services.deploys import Deploy
from tests.factories import make_project, make_version, pending_version

pytestmark = pytest.mark.usefixtures("database", "sent")


def history(limit: int = 10, below: int | None = None) -> list[Deploy]:
    with db.reading() as session:
        return deploys.history(session, 1, limit, below)


def failed_version(name: str) -> int:
    version_id = pending_version(name)
    with db.transaction() as session:
        versions.claim_build(session, version_id)
        versions.log(session, version_id, "installing")
        versions.fail(session, version_id, "no such package")
    return version_id


def test_a_project_without_deploys() -> None:
    make_version("of another project", project=make_project(2))
    assert history() == []


def test_each_version_tells_what_it_changed_to_the_one_that_ran_before_it() -> None:
    make_version("1", ["a", "b"])
    failed_version("2")
    make_version("3", ["b", "c", "d"])
    pending_version("4")
    found = history()
    assert [(each.version.name, each.version.state, each.current) for each in found] == [
        ("4", "pending", False),
        ("3", "ready", True),
        ("2", "failed", False),
        ("1", "ready", False),
    ]
    assert [(each.before, each.added, each.removed) for each in found] == [
        (None, (), ()),
        ("1", ["c", "d"], ["a"]),
        (None, (), ()),
        (None, (), ()),
    ]


def test_the_last_row_of_a_page_is_compared_with_what_the_next_page_begins_with() -> None:
    ids = [make_version(str(n), [f"spider{n}"]) for n in range(5)]
    first = history(2)
    assert [each.version.id for each in first] == ids[:2:-1]
    assert (first[-1].before, first[-1].removed) == ("2", ["spider2"])
    assert [each.version.id for each in history(10, first[-1].version.id)] == ids[2::-1]


def test_one_deploy_in_full() -> None:
    make_version("1", ["a"])
    version_id = make_version("2", ["b"], requirements="requests")
    failed_id = failed_version("3")
    with db.reading() as session:
        detail = deploys.detail(session, 1, version_id)
        assert (detail.requirements, detail.deploy.added, detail.deploy.removed) == ("requests", ["b"], ["a"])
        assert [(egg.name, egg.size) for egg in detail.eggs] == [("__main__", len("code of 2"))]
        failed = deploys.detail(session, 1, failed_id)
    assert (failed.log, failed.deploy.version.error) == ("installing", "no such package")


def test_a_deploy_of_another_project_is_not_shown() -> None:
    other = make_version("1", project=make_project(2))
    for version_id in (other, 99):
        with db.reading() as session, pytest.raises(NotFound, match="no version with the id"):
            deploys.detail(session, 1, version_id)
