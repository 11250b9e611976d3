"""The command line: `crawldock …`. Every command reads the same settings."""

import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from app.errors import BadSettings, CrawldockError

BY = "command line"  # whose name the activity log has

cli = typer.Typer(
    name="crawldock",
    help="Run Scrapy spiders behind the Scrapinghub HTTP API. Settings are environment variables (README).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
projects_cli = typer.Typer(help="Create and list projects.", no_args_is_help=True)
keys_cli = typer.Typer(help="Create, list and revoke API keys; set passwords.", no_args_is_help=True)
workers_cli = typer.Typer(help="List workers; let one drain before its machine goes.", no_args_is_help=True)
cli.add_typer(projects_cli, name="projects")
cli.add_typer(keys_cli, name="keys")
cli.add_typer(workers_cli, name="workers")


@cli.command()
def up() -> None:
    """Run the whole platform on this machine until Ctrl-C: database, broker, API, worker, scheduler."""
    from app import embedded, logs

    logs.configure("up")
    embedded.up({"api": api, "worker": worker, "scheduler": scheduler}, guarded)


@cli.command()
def migrate() -> None:
    """Bring the database to the present tables; make CRAWLDOCK_API_KEY, if set, a valid admin key."""
    from app import logs, migrations

    logs.configure("migrate")
    migrations.migrate()
    migrations.admin_key(make=False)


@cli.command()
def api() -> None:
    """Serve the HTTP API."""
    from app import logs, server
    from app.settings import settings

    logs.configure("api")
    if settings().redis_url is None:
        raise BadSettings("REDIS_URL: must be set for `crawldock api`")
    server.run()


def _celery(process: str) -> None:
    from importlib import import_module

    from app.settings import settings

    if settings().redis_url is None:
        raise BadSettings(f"REDIS_URL: must be set for `crawldock {process}`")
    import_module("worker.service").run(process)  # by name, as tasks are sent: the app knows no worker


@cli.command()
def worker() -> None:
    """Run jobs, CRAWLDOCK_SLOTS at once. Any number of workers may run, on any number of machines."""
    _celery("worker")


@cli.command()
def scheduler() -> None:
    """Build deployed versions and repair what failures leave behind. Two of them do no harm."""
    _celery("scheduler")


@cli.command()
def deploy_example() -> None:
    """Deploy the example project as project 123 to the running platform."""
    from app import example, migrations
    from app.settings import settings

    key = migrations.known_admin_key()
    if key is None:
        raise BadSettings("CRAWLDOCK_API_KEY: must be set, no key is kept in the data directory")
    _create_project(example.NAME, example.PROJECT, quiet=True)
    known = example.deployed(settings().url, key)
    if not known:
        example.deploy(settings().url, key)
    typer.echo(f"project {example.PROJECT} {'is deployed already' if known else 'deployed'}")


def _check_platform() -> None:
    """Look before reading: SQLite would make an empty file wherever the command is run."""
    from app.settings import settings

    file = settings().data_dir.absolute() / "crawldock.db"
    if settings().database_url is None and not file.exists():
        raise BadSettings(
            f"there is no platform here: {file} does not exist. "
            "Run this where `make up` was run, or set CRAWLDOCK_DATA_DIR or DATABASE_URL"
        )


def _create_project(name: str, project_id: int | None, quiet: bool = False) -> None:
    from app.db import transaction
    from app.errors import NameTaken
    from app.services import projects

    _check_platform()
    try:
        with transaction() as session:
            created = projects.create(session, name, project_id)
    except NameTaken:
        if not quiet:
            raise
    else:
        typer.echo(f"project {created} created")


@cli.command()
def copy_database(source: Annotated[str, typer.Argument(help="URL of the database to copy from.")]) -> None:
    """Copy all data from another database into the empty one of DATABASE_URL: from SQLite to PostgreSQL."""
    from app import copying

    for table, rows in copying.copy_from(source).items():
        typer.echo(f"{table}\t{rows} rows")


@cli.command()
def move_chunks() -> None:
    """Move the records of all jobs to where CRAWLDOCK_CHUNK_STORE says; the platform may run meanwhile."""
    from collections import Counter

    from app import moving

    _check_platform()
    counts: Counter[str] = Counter()
    for counts in moving.move_all():
        typer.echo(f"{counts.total()} chunks looked at, {counts[moving.MOVED]} moved", err=True)
    for words in (moving.MOVED, moving.THERE, moving.SMALL, moving.CHANGED, moving.LOST):
        typer.echo(f"{words}\t{counts[words]} chunks")
    if counts[moving.CHANGED]:
        typer.echo("run it again for those that changed", err=True)


@projects_cli.command("create")
def create_project(
    name: str,
    project_id: Annotated[
        int | None, typer.Option("--id", help="Its number; the next free one if not given.")
    ] = None,
) -> None:
    """Create a project."""
    _create_project(name, project_id)


@projects_cli.command("list")
def list_projects() -> None:
    """List projects: number, name, current version."""
    _check_platform()
    from app.db import reading
    from app.services import projects

    with reading() as session:
        for row in projects.listing(session):
            typer.echo(f"{row.id}\t{row.name}\t{row.version or '-'}")


@keys_cli.command("create")
def create_key(
    name: str,
    project: Annotated[
        list[int] | None, typer.Option(help="A project it may touch; repeat for more.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may touch every project.")] = False,
    key: Annotated[str | None, typer.Option(help="The key itself; a random one if not given.")] = None,
) -> None:
    """Create an API key and print it, this once."""
    _check_platform()
    from app.db import transaction
    from app.services import apikeys

    with transaction() as session:
        value = apikeys.create(session, name, projects=project or (), admin=admin, value=key, by=BY)
    typer.echo(value)
    if not project and not admin:
        typer.echo("it may touch nothing: give --project or --admin", err=True)


@keys_cli.command("list")
def list_keys() -> None:
    """List keys: name, what they may touch, whether they were revoked."""
    _check_platform()
    from app.db import reading
    from app.services import apikeys

    with reading() as session:
        for key, ids in apikeys.listing(session):
            rights = "admin" if key.admin else f"projects {', '.join(map(str, ids)) or 'none'}"
            typer.echo(f"{key.name}\t{rights}\t{'revoked' if key.revoked_time else 'valid'}")


@keys_cli.command("revoke")
def revoke_key(name: str) -> None:
    """Make a key invalid from now on."""
    _check_platform()
    from app.db import transaction
    from app.services import apikeys

    with transaction() as session:
        apikeys.revoke(session, name, BY)
    typer.echo(f"key {name} revoked")


@keys_cli.command("password")
def set_password(
    name: str,
    remove: Annotated[bool, typer.Option("--remove", help="None any more: only the key signs in.")] = False,
) -> None:
    """Set the password with which a key's user signs in; it is asked for, or read from stdin."""
    _check_platform()
    from app.db import transaction
    from app.services import passwords

    hashed = None if remove else passwords.hashed(_secret())
    with transaction() as session:
        passwords.store(session, name, hashed, BY)
    typer.echo(f"the password of {name} is {'removed' if remove else 'set'}")


def _secret() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


@workers_cli.command("list")
def list_workers() -> None:
    """List workers: name, jobs that run and slots, whether they drain, seconds since they were heard of."""
    _check_platform()
    from app.db import reading
    from app.services import workers

    with reading() as session:
        for each in workers.listing(session):
            if each.kind == workers.WORKER:
                state = "silent" if not each.alive else "drains" if each.drain_time else "takes jobs"
                typer.echo(f"{each.name}\t{len(each.running)}/{each.slots}\t{state}\t{each.age // 1000} s")


@workers_cli.command("drain")
def drain_worker(name: str) -> None:
    """Let a worker finish what it runs and take no new job."""
    _drain(name, True)


@workers_cli.command("undrain")
def undrain_worker(name: str) -> None:
    """Let a worker that drains take jobs again."""
    _drain(name, False)


def _drain(name: str, on: bool) -> None:
    _check_platform()
    from app.db import transaction
    from app.services import workers

    with transaction() as session:
        workers.drain(session, name, on)
    typer.echo(f"worker {name} {'takes no new job' if on else 'takes jobs'}")


def main() -> None:
    """The entry point."""
    guarded(cli)


def guarded(run: Callable[[], object]) -> None:
    """Run it: what the user can mend is one line, not a traceback."""
    try:
        run()
    except CrawldockError as error:
        _fail(str(error))
    except Exception as error:
        from sqlalchemy.exc import OperationalError, ProgrammingError

        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"CRAWLDOCK_DATA_DIR: {error.filename}: {error.strerror}")
        if not isinstance(error, OperationalError | ProgrammingError):
            raise
        # The driver's own words: the statement, and the URL with its password, stand elsewhere.
        words = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        _fail(f"DATABASE_URL: {words[0]} (`crawldock migrate` makes the tables)")


def _fail(line: str) -> NoReturn:
    typer.echo(f"crawldock: {line}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
