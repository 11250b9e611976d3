"""How the databases carry out what the services really ask them: statements are noted, and explained."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from app import db, prepared
from app.models import metadata
from tests.many import LARGE

MOST = 2500  # rows of a large table that a query may touch: the longest page, or all that have a tag of some
STEPS = 12  # of SQLite's machine, for each of these rows
FEW = 200  # rows that PostgreSQL may sort: it knows that they are few, and that an index would cost more
TAGS = "ORDER BY job_tag."

# Two scans of SQLite's are no faults by themselves, since its steps tell when they are long: of an index that is
# only of what waits, runs or is to be tidied, and of the first rows of a table.
PARTIAL = {
    index.name
    for table in metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
}
FIRST = re.compile(r"FROM (\w+) ORDER BY \1\.id\s+LIMIT")


@contextmanager
def captured() -> Iterator[list[tuple[str, Any]]]:
    """What is asked of the database meanwhile: statements and parameters."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if re.match(r"(SELECT|UPDATE|DELETE|WITH)\b|INSERT INTO \S+ \(.*\) SELECT", statement) and not many:
            found.append((statement, parameters))

    def send(connection: Connection, text: str, bound: Any = ()) -> list[Any]:
        note(connection, None, text, bound, None, many=False)
        return plain_send(connection, text, bound)

    plain_send = prepared.send
    event.listen(db.engine(), "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepared, "send", send)  # which no event tells of
            yield found
    finally:
        event.remove(db.engine(), "before_cursor_execute", note)


def faults(statement: str, parameters: Any, most: int, sorts: bool) -> list[str]:
    """What is wrong with how the database carries a statement out; it is, and rolled back."""
    with db.engine().execution_options(writes=True).connect() as connection:
        if connection.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found = [
                step for *_, step in plan if _scans(step, statement) or ("ORDER BY" in step and not sorts)
            ]
            steps = _steps(connection, statement, parameters)
            return [*found, *([f"{steps} steps"] if steps > most * STEPS else [])]
        explain = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, FORMAT JSON)"
        (plan,) = connection.exec_driver_sql(f"{explain} {statement}", parameters).scalars()
    return list(_walk((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"], most, sorts))


def _scans(step: str, statement: str) -> bool:
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
    if found is None or found[1] not in LARGE or found[2] in PARTIAL:
        return False
    return FIRST.search(statement) is None


def _steps(connection: Connection, statement: str, parameters: Any) -> int:
    """Of SQLite's machine: its plan does not say how many rows it goes through, nor how many it sorts."""
    hundreds = 0

    def count() -> int:
        nonlocal hundreds
        hundreds += 1
        return 0

    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(count, 100)
    try:
        connection.exec_driver_sql(statement, parameters).close()
    finally:
        driver.set_progress_handler(None, 0)
    return 100 * hundreds


def _walk(node: dict[str, Any], most: int, sorts: bool, limited: bool = False) -> Iterator[str]:
    """The faults of PostgreSQL's plan; below a LIMIT a table may be read from its beginning, if not for long."""
    table, kind, children = node.get("Relation Name"), node["Node Type"], node.get("Plans", ())
    if kind == "Sort" and not sorts and children[0]["Actual Rows"] > FEW:
        yield f"Sort of {children[0]['Actual Rows']:.0f} rows"
    if table in LARGE and kind != "ModifyTable":
        gone = sum(node.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
        touched = (node["Actual Rows"] + gone) * node["Actual Loops"]
        if touched > most or (kind == "Seq Scan" and not limited):
            yield f"{kind} of {table} by {node.get('Index Name')}: {touched:.0f} rows"
    for child in children:
        yield from _walk(child, most, sorts, limited or kind == "Limit")


def check(ask: Callable[[], Any], most: int = MOST, least: int = 1, *, sorts: bool = True) -> None:
    """Nothing that is asked reads a whole table, or goes through more than ``most`` rows.

    Args:
        least: so many statements there are.
        sorts: may rows be sorted? Those of a large result are too many steps of SQLite's in any case. False:
            all but the tags of jobs come out of an index in their order.

    """
    with captured() as asked:
        ask()
    assert len(asked) >= least
    found = [
        (faults(statement, parameters, most, sorts or TAGS in statement), statement)
        for statement, parameters in asked
    ]
    wrong = [f"{each}: {statement}" for each, statement in found if each]
    assert not wrong, "\n".join(wrong)


def rolled_back(ask: Callable[[Session], Any]) -> Callable[[], Any]:
    """To ask in a transaction that writes nothing in the end."""

    def run() -> None:
        with Session(db.engine().execution_options(writes=True)) as session:
            ask(session)

    return run
