"""Statements of the calls that come in thousands: put together once, then handed to the driver."""

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler


def send(connection: Connection, text: str, bound: Any = ()) -> list[Any]:
    """Have the driver execute a text; the rows as it has them.

    Raises:
        DBAPIError: in the driver's place, which the callers do not know.

    """
    failure: type[Exception] = connection.dialect.loaded_dbapi.Error
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, bound)
        return list(cursor.fetchall()) if cursor.description else []
    except failure as error:
        raise DBAPIError.instance(
            text, None, error, failure, hide_parameters=True, dialect=connection.dialect
        ) from error
    finally:
        cursor.close()


class Prepared:
    """A statement on plain tables, with a ``bindparam`` wherever its values differ.

    SQLAlchemy writes its text, and says how each type travels. What it does beside that whenever a
    statement is executed (40 to 80 µs) is ten times SQLite's own work, so that is left out here.
    """

    def __init__(self, statement: Executable, row: Any = None) -> None:
        """``row``: the named tuple that rows are; None: one with the names of their columns."""
        self._statement, self._row = statement, row
        self._forms: dict[str, _Form] = {}  # by the name of the dialect

    def __call__(self, session: Session, values: Mapping[str, Any]) -> list[Any]:
        """Execute it in the transaction of ``session``; its rows, whose columns have their names.

        Args:
            values: of an INSERT or UPDATE also those of further columns; each time of the same ones.

        Raises:
            DBAPIError: as ``session.execute``.

        """
        connection = session.connection()
        form = self.form(connection.dialect, values)
        return form.rows(send(connection, form.text, form.bound(values)))

    def first(self, session: Session, values: Mapping[str, Any]) -> Any:
        """The first row of it; None: there is none."""
        return next(iter(self(session, values)), None)

    def form(self, dialect: Dialect, values: Mapping[str, Any]) -> "_Form":
        """What the database of ``dialect`` is sent."""
        form = self._forms.get(dialect.name)
        if form is None:
            form = self._forms[dialect.name] = _Form(self._statement, dialect, list(values), self._row)
        return form


class _Form:
    """A statement as one of the two databases takes it."""

    def __init__(self, statement: Any, dialect: Dialect, names: list[str], row: Any) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=names)
        assert isinstance(compiled, SQLCompiler)
        self.text = compiled.string
        self._order = compiled.positiontup
        binds = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect)
            for name, bind in compiled.binds.items()
        }
        defaults = {column.key: column.default.arg for column in compiled.prefetch}
        constants = {name: value for name, value in compiled.params.items() if name not in names} | defaults
        self._constants = {
            name: value if (convert := binds.get(name)) is None else convert(value)
            for name, value in constants.items()
        }
        self._binds = [(name, convert) for name in names if (convert := binds.get(name)) is not None]
        self._names = set(names)
        columns = statement.exported_columns
        self._row: Any = row or namedtuple("Row", columns.keys())
        results = [each.type.dialect_impl(dialect).result_processor(dialect, None) for each in columns]
        self._results = [(place, convert) for place, convert in enumerate(results) if convert is not None]

    def bound(self, values: Mapping[str, Any]) -> Any:
        """The values in the order, or by the names, of the text."""
        assert values.keys() == self._names, "not the columns it was made for"
        bound = {**self._constants, **values}
        for name, convert in self._binds:
            bound[name] = convert(bound[name])
        return bound if self._order is None else tuple([bound[name] for name in self._order])

    def rows(self, found: list[Any]) -> list[Any]:
        """The driver's rows, with names."""
        if not self._results:
            return list(map(self._row._make, found))
        rows = []
        for each in found:
            values = list(each)
            for place, convert in self._results:
                values[place] = convert(values[place])
            rows.append(self._row._make(values))
        return rows
