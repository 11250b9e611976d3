"""No public method of python-scrapinghub is forgotten here, nor of its next version; by name."""

import re
from pathlib import Path

from tests.compat.clients import Python

# Called by others that are: what carries a request and reads its answer, and what is no part of the API.
INNER = {
    "HubstorageClient.request", "Connection.auth", "Project.name", "DownloadableResource.iter_values",
    "ResourceType.apidelete", "ResourceType.apiget", "ResourceType.apipost", "ResourceType.apirequest",
    "MappingResourceType.expire", "BatchUploader.interrupt", "BatchUploader.close",
    "ItemsResourceType.writer",
}  # fmt: skip

LIST = """
import importlib, inspect, pkgutil, scrapinghub
found = set()
for module in pkgutil.walk_packages(scrapinghub.__path__, "scrapinghub."):
    for name, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
        if kind.__module__.startswith("scrapinghub") and not issubclass(kind, Exception) and not name.startswith("_"):
            found |= {f"{name}.{method}" for method, value in vars(kind).items()
                      if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))}
return sorted(found)
"""


def test_every_public_method_is_called(python: Python) -> None:
    methods = set(python(LIST))
    assert len(methods) > 150 and methods >= INNER
    here = Path(__file__)
    tests = "".join(file.read_text() for file in here.parent.glob("*.py") if file != here)
    called = set(re.findall(r"[.\"](\w+)\b", tests))
    assert {name for name in methods - INNER if name.partition(".")[2] not in called} == set()
