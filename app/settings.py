"""Every environment variable the platform reads, in one typed class. Nothing else reads os.environ."""

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.errors import BadSettings

Seconds = Annotated[int, Field(ge=1, le=7 * 24 * 3600)]


def database_url(url: str) -> str:
    """The SQLAlchemy URL of a database as people write it.

    Raises:
        ValueError: it is none that the platform can use; the message does not repeat it.

    """
    for plain in ("postgres://", "postgresql://"):
        if url.startswith(plain):
            url = "postgresql+psycopg://" + url.removeprefix(plain)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if url.startswith("sqlite:///") and url.removeprefix("sqlite:///") in ("", ":memory:"):
        raise ValueError("must name a file: several processes share the database")
    try:
        make_url(url)
    except (ArgumentError, ValueError):  # their words may hold the password
        raise ValueError("is not the URL of a database") from None
    return url


class Settings(BaseSettings):
    """The settings of one process. Units are in the names or in the descriptions; README has the table."""

    model_config = SettingsConfigDict(env_prefix="CRAWLDOCK_", env_ignore_empty=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port the API listens on")
    data_dir: Path = Field(
        Path("data"), description="database, keys, virtualenvs, code and scratch directories"
    )
    slots: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1000,
        description="jobs that one worker runs at once; default: the number of cores",
    )
    api_key: str | None = Field(
        None,
        min_length=16,
        max_length=128,
        pattern=r"^[A-Za-z0-9_\-]+$",
        description="the first admin key; generated, printed and kept when unset",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="address at which spiders and users reach the API; default: http://HOST:PORT",
    )
    database_url: str | None = Field(
        None,
        validation_alias=AliasChoices("DATABASE_URL", "CRAWLDOCK_DATABASE_URL"),
        description="sqlite:///… or postgresql://…; default: crawldock.db in the data directory",
    )
    redis_url: str | None = Field(
        None,
        validation_alias=AliasChoices("REDIS_URL", "CRAWLDOCK_REDIS_URL"),
        description="broker; `crawldock up` starts a private Valkey when unset",
    )
    stop_grace_seconds: Seconds = Field(
        60, description="time a stopped spider has to close before its process group is killed"
    )
    drain_seconds: int = Field(
        0, ge=0, le=7 * 24 * 3600, description="time running spiders may go on when a worker shuts down"
    )
    job_memory_mb: int = Field(950, ge=64, description="memory of a job, per unit, in MB")
    job_runtime_seconds: int = Field(0, ge=0, description="longest run of a job; 0: no limit")
    job_silence_seconds: int = Field(
        3600, ge=0, description="a job that says nothing for so long is stalled; 0: no limit"
    )
    job_startup_seconds: Seconds = Field(
        120, description="time a spider process has to open its pipe and say something"
    )
    warm_start: bool = Field(
        True, description="fork spiders from a process that has Scrapy imported; 0: start each afresh"
    )
    build_seconds: Seconds = Field(280, description="time limit of a deploy's virtualenv")
    list_seconds: Seconds = Field(60, description="time limit of listing a project's spiders")
    upload_mb: int = Field(64, ge=1, le=1024, description="largest upload; a field of a form may have 4 MB")
    storage_mb: int = Field(
        1024, ge=1, description="largest upload of records, as sent and decompressed, in MB"
    )
    retention_days: int = Field(
        0, ge=0, description="finished jobs older than this are deleted; 0: kept for ever"
    )
    webhook_hosts: str = Field(
        "",
        max_length=10_000,
        description="hosts that webhooks may call, separated by commas, * stands for anything; default: any",
    )
    chunk_store: str | None = Field(
        None,
        max_length=200,
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*|file://(/[^/?#%]+)+)/?$",
        description="where the records of jobs are kept: s3://BUCKET/PREFIX or file:///FOLDER; "
        "default: in the database",
    )
    aws_access_key_id: str | None = Field(
        None, validation_alias="AWS_ACCESS_KEY_ID", description="of the S3-compatible server"
    )
    aws_secret_access_key: str | None = Field(
        None, validation_alias="AWS_SECRET_ACCESS_KEY", repr=False, description="of the S3-compatible server"
    )
    aws_session_token: str | None = Field(
        None, validation_alias="AWS_SESSION_TOKEN", repr=False, description="with temporary keys"
    )
    aws_region: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="of the bucket",
    )
    aws_endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        pattern=r"^https?://[^\s@]+$",
        description="address of an S3-compatible server; default: AWS",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="of the platform's own log"
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str | None) -> str | None:
        return None if url is None else database_url(url)

    @field_validator("redis_url")
    @classmethod
    def _known_broker(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "redis+socket://")):
            raise ValueError("must begin with redis://, rediss:// or redis+socket://")
        try:
            _ = urlsplit(url or "").port
        except ValueError:
            raise ValueError("is not the URL of a broker") from None
        return url

    @field_validator("chunk_store")
    @classmethod
    def _usable_store(cls, url: str | None) -> str | None:
        if url is not None and url.startswith("s3://") and find_spec("obstore") is None:
            raise ValueError("s3:// needs a library that is not installed: pip install 'crawldock[s3]'")
        return None if url is None else url.rstrip("/")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'crawldock.db'}"

    def folder(self, name: str = "") -> Path:
        """A folder of the data directory, or that itself, made unless it is there.

        Nobody else on the machine may enter what the platform has made.
        """
        self.data_dir.mkdir(0o700, parents=True, exist_ok=True)
        folder = self.data_dir.absolute() / name
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def webhook_host_patterns(self) -> list[str]:
        """What a webhook's host must match one of; empty: any host will do."""
        return [part.strip().lower() for part in self.webhook_hosts.split(",") if part.strip()]

    @property
    def url(self) -> str:
        """Where the API is reached, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def variable(name: str) -> str:
    """The environment variable that sets the field ``name``."""
    shared = name in ("database_url", "redis_url") or name.startswith("aws_")
    return name.upper() if shared else f"CRAWLDOCK_{name.upper()}"


@lru_cache
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        BadSettings: a variable has a bad value; the message names each in one line.

    """
    try:
        return Settings()
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else "settings"
            # A URL may hold a password: its value is never repeated.
            value = "" if name.lower().endswith(("_url", "_key", "_store")) else f" ({problem['input']!r})"
            problems.append(
                f"{variable(name.lower())}{value}: {problem['msg'].removeprefix('Value error, ')}"
            )
        raise BadSettings("; ".join(problems)) from None
