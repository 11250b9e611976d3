"""Command line and environment of a spider process: the entrypoint's contract (contract 10.1-10.4)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from app.services.jobs import Claimed
from app.settings import settings

# Linux refuses one variable of 128 KiB or more; the entrypoint then takes the path of a file.
VARIABLE_BYTES = 100_000

# Both listen on a port and execute code for whoever connects. A job that wants them says so in its
# own settings, which are stronger.
SAFE_SETTINGS = {"TELNETCONSOLE_ENABLED": False, "REMOTE_CONTROL_ENABLED": False}

COMMAND = "start-crawl"


def base(venv: Path, path: Sequence[Path], home: Path) -> dict[str, str]:
    """An environment built from nothing, in which the project's code can be imported."""
    return {
        "PATH": os.pathsep.join([str(venv / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
        "VIRTUAL_ENV": str(venv),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
    }


def job_data(job: Claimed) -> dict[str, Any]:
    """The job as the entrypoint reads it (contract 10.3)."""
    data: dict[str, Any] = {
        "key": str(job.key),
        "auth": job.token,
        "project": job.key.project,
        "spider": job.spider,
        "spider_type": "manual",
        "spider_args": job.args,
        "tags": job.tags,
        "priority": job.priority,
        "units": job.units,
        "api_url": f"{settings().url}/api/",
    }
    if job.job_cmd is not None:
        data |= {"job_cmd": job.job_cmd, "job_env": variables(job.environment)}
    return data


def variables(environment: dict[str, Any]) -> dict[str, str]:
    """The user's variables as text; a number or a truth value as JSON writes it."""
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in environment.items()
    }


def spider(
    job: Claimed, *, venv: Path, path: Sequence[Path], settings_module: str, scratch: Path, fifo: Path
) -> dict[str, str]:
    """The environment of the spider process. The user's variables come first: they replace none of ours."""
    layers = {"project_settings": SAFE_SETTINGS, "job_settings": job.job_settings}
    return {
        **variables(job.environment),
        **base(venv, path, scratch),
        "SCRAPY_SETTINGS_MODULE": settings_module,
        "SHUB_JOBKEY": str(job.key),
        "SHUB_JOB_DATA": _value(orjson.dumps(job_data(job)), scratch / "job.json"),
        "SHUB_SETTINGS": _value(orjson.dumps(layers), scratch / "settings.json"),
        "SHUB_FIFO_PATH": str(fifo),
        "SHUB_STORAGE": settings().url,
        "SHUB_APIURL": f"{settings().url}/api/",
        "SHUB_JOB_MEMORY_LIMIT": str(memory_mb(job)),
        "SHUB_SPIDER": job.spider,
    }


def _value(json: bytes, file: Path) -> str:
    if len(json) < VARIABLE_BYTES:
        return json.decode()
    file.write_bytes(json)
    return str(file)


def memory_mb(job: Claimed) -> int:
    """The job's memory limit in MB."""
    return settings().job_memory_mb * job.units
