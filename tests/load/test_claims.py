"""Many slots on one database: each job is begun once and ended once, and the best one first."""

from pathlib import Path

import pytest

from bench import crowd, proof
from bench.crowd import Claim, Crowd
from tests.factories import make_job, make_project

WAITING = 100


@pytest.mark.usefixtures("sent")
def test_a_crowd_loses_no_job_doubles_none_and_takes_the_best(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(Path(crowd.__file__).parent.parent)  # where its processes find their code
    for project in range(2, 6):
        make_project(project, ["one", "two"])
    for n in range(WAITING):
        make_job("one" if n % 2 else "two", project=2 + n % 4, priority=n * 7 % 5)
    since = proof.newest_event()
    told, _ = crowd.let_work(Crowd(database, slots=16, processes=2, threads=2, seconds=100))
    assert len(told.claims) == WAITING
    assert proof.faults(told) == {}
    assert proof.faults_of_rows(told, since) == {}


def test_a_fault_is_found() -> None:
    good, bad = Claim(1, 4, began=2, ended=3), Claim(2, 3, began=0, ended=1)
    assert proof.out_of_order([good, bad]) == [(bad, good)]
    assert proof.out_of_order([good, Claim(2, 3, began=0, ended=2.5)]) == []  # it may have passed over it
    assert proof.faults(crowd.Told(claims=[good, good], finished=[1])) == {"claimed twice": 1}
