"""Projects and the numbers of their spiders."""

import pytest

from app import db
from app.errors import BadParameter, NameTaken, NotFound, TooLarge
from app.services import activity, projects
from tests.factories import at_once, make_project, make_version

pytestmark = pytest.mark.usefixtures("database", "sent")


def create(name: str = "new", project_id: int | None = None) -> int:
    with db.transaction() as session:
        return projects.create(session, name, project_id)


def test_the_next_free_number_or_the_one_asked_for() -> None:
    assert [create(), create(project_id=10), create()] == [2, 10, 11]
    with db.reading() as session:
        assert [bool(projects.name(session, number)) for number in (1, 10, 12)] == [True, True, False]


def test_a_number_is_given_once() -> None:
    with pytest.raises(NameTaken, match="project 1 exists"):
        create(project_id=1)


@pytest.mark.parametrize(("name", "project_id"), [("", 5), ("x" * 101, 5), ("x", 0), ("x", -1), ("x", 2**31)])
def test_what_no_project_can_be(name: str, project_id: int) -> None:
    with pytest.raises(BadParameter):
        create(name, project_id)


def test_the_list_names_the_current_version() -> None:
    make_version("7")
    make_project(3)
    with db.reading() as session:
        assert [tuple(found) for found in projects.listing(session)] == [
            (1, "one", "7"),
            (3, "project 3", None),
        ]


def test_spiders_by_name() -> None:
    make_project(2, ["b", "a", "c"])
    with db.reading() as session:
        assert [(found.name, found.number) for found in projects.spiders(session, 2, ["c", "b", "x"])] == [
            ("b", 2),
            ("c", 3),
        ]


def test_a_spider_that_jobs_named_is_none_of_the_project_until_it_is_declared() -> None:
    with db.transaction() as session:
        assert [projects.add_spider(session, 1, name) for name in ("x", "quotes", "x", "y")] == [2, 1, 2, 3]
        assert [found.name for found in projects.spiders(session, 1)] == ["quotes"]
        assert projects.declare(session, 1, "x") == 2
        assert [(found.name, found.version) for found in projects.spiders(session, 1)] == [
            ("quotes", None),
            ("x", None),
        ]
        assert [projects.spider_number(session, 1, name) for name in ("y", "z")] == [3, None]


def test_a_deploy_adopts_a_spider_and_gives_it_up() -> None:
    with db.transaction() as session:
        projects.add_spider(session, 1, "x")
        projects.set_deployed(session, 1, ["x", "z"])
        assert [(found.name, found.number) for found in projects.spiders(session, 1)] == [("x", 2), ("z", 3)]
        projects.set_deployed(session, 1, [])
        assert projects.spiders(session, 1) == []


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0"])
def test_names_that_no_spider_can_have(name: str) -> None:
    with db.transaction() as session, pytest.raises(BadParameter, match="spider"):
        projects.add_spider(session, 1, name)


def test_spiders_of_no_project() -> None:
    with db.transaction() as session, pytest.raises(NotFound, match="unknown project: 9"):
        projects.add_spider(session, 9, "x")


def test_deploys_and_declarations_at_once_share_no_number() -> None:
    names = [f"s{n}" for n in range(6)]

    def work(n: int) -> None:
        for name in names[n:] + names[:n]:
            with db.transaction() as session:
                if n % 2:
                    projects.declare(session, 1, name)
                else:
                    projects.set_deployed(session, 1, [name])

    assert at_once(6, work) == [None] * 6
    with db.reading() as session:
        numbers = [projects.spider_number(session, 1, name) for name in names]
    assert len(set(numbers)) == 6


def test_settings() -> None:
    with db.transaction() as session:
        projects.set_settings(session, 1, {"a": 1, "b": None}, "joe")
        projects.set_settings(session, 1, {"a": {"c": "ü\0"}}, "joe")
        projects.set_settings(session, 1, {}, "joe")
        assert projects.settings(session, 1) == {"a": {"c": "ü\0"}, "b": None}
        assert [projects.setting(session, 1, name) for name in ("a", "b", "x")] == [{"c": "ü\0"}, None, None]
        projects.remove_setting(session, 1, "a", "joe")
        projects.remove_setting(session, 1, "x", "joe")
        assert projects.settings(session, 1) == {"b": None}


def test_settings_that_cannot_be() -> None:
    for name in ("", "x" * 256, "a\0"):
        with db.transaction() as session, pytest.raises(BadParameter, match="name of a setting"):
            projects.set_settings(session, 1, {"ok": 1, name: 1}, "joe")
    with db.transaction() as session, pytest.raises(TooLarge, match="1048576"):
        projects.set_settings(session, 1, {"ok": 1, "a": "x" * (1 << 20)}, "joe")
    with db.reading() as session:
        assert projects.settings(session, 1) == {}


def test_a_project_is_renamed() -> None:
    for _ in range(2):
        with db.transaction() as session:
            projects.rename(session, 1, "Täglich", "joe")
    with db.reading() as session:
        assert projects.name(session, 1) == "Täglich"
        assert [row.event for row in activity.part(session, 1, 9).events] == [
            '{"event":"project:renamed","user":"joe","name":"Täglich"}'
        ]
    for bad in ("", "x" * 101, "a\nb", "a\0", " a"):
        with db.transaction() as session, pytest.raises(BadParameter, match="a project's name"):
            projects.rename(session, 1, bad, "joe")
