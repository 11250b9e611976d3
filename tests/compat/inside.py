"""The egg of jobs that use the platform from inside, told neither a key nor an address."""

from tests.eggs import HEAD, SPIDERS, egg

MORE = '''
from scrapinghub import HubstorageClient, ScrapinghubClient

def use_all(client):
    """Read and write what a job may; returns what it saw."""
    key = os.environ["SHUB_JOBKEY"]
    job, project = client.get_job(key), client.get_project(key.split("/")[0])
    store = project.collections.get_store("inside")
    store.set({"_key": key, "text": "Grüße"})
    slot = project.frontiers.get("inside").get(key.replace("/", "-"))
    slot.q.add([{"fp": "a", "qdata": {"n": 1}}, {"fp": "b"}])
    slot.flush()
    batch = slot.q.list()[0]
    slot.q.delete(batch["id"])
    job.metadata.set("mine", {"n": [1]})
    deadline = time.monotonic() + 20
    while not (items := job.items.list(count=1)) and time.monotonic() < deadline:
        time.sleep(0.1)
    refused = []
    for call in (project.jobs.list, lambda: project.jobs.run("three"), lambda: client.get_job("123/1/1").metadata.list(),
                 lambda: client.get_project(123).collections.list(), lambda: job.finish()):
        try:
            call()
        except Exception as error:
            refused.append(type(error).__name__)
    return {
        "stored": [store.get(key), store.count(prefix=key)], "requests": batch["requests"], "left": slot.q.list(),
        "meta": [job.metadata.get(name) for name in ("spider", "state", "tags", "mine")], "items": items,
        "log": job.logs.list(count=1) != [], "refused": refused, "auth": os.environ["SHUB_JOBAUTH"],
    }

class Inside(Base):
    """Uses the platform as python-scrapinghub finds it."""
    name = "inside"
    def parse(self, response):
        yield {"first": True}
        yield scrapy.Request("data:,second", self.second)
    def second(self, response):
        client = ScrapinghubClient()
        yield use_all(client)
        client.close()

class Hsref(Base):
    """Uses the client that the entrypoint holds for add-ons."""
    name = "hsref"
    def parse(self, response):
        from sh_scrapy.hsref import hsref
        writer = hsref.client.batchuploader.create_writer(f"{hsref.project.collections.url}/cs/Pages", content_encoding="gzip")
        writer.write({"_key": "page", "body": response.text})
        writer.close()
        hsref.job.metadata.apipost("collection", jl="cs/Pages")
        yield {"job": hsref.job.key, "spider": hsref.job.metadata["spider"], "collection": hsref.job.metadata.liveget("collection"),
               "pages": [row["body"] for row in hsref.project.collections.new_cached_store("Pages").iter_values()]}
        hsref.close()
'''

SCRIPT = """
import json, sys
from proj.spiders import ScrapinghubClient, use_all
from scrapinghub import HubstorageClient
client = ScrapinghubClient()
job = client.get_job(__import__("os").environ["SHUB_JOBKEY"])
job.items.write({"by": "script"})
job.items.flush()
print("SAW " + json.dumps(use_all(client)))
client.close()
"""

# Schedules other jobs, and waits for them: with a key, which its environment has.
MANAGER = """
import os, sys, time
from scrapinghub import ScrapinghubClient
client = ScrapinghubClient()
project = client.get_project(os.environ["SHUB_JOBKEY"].split("/")[0])
jobs = [project.jobs.run("three", job_args={"by": os.environ["SHUB_JOBKEY"], "n": str(n)}, add_tag=["child"]) for n in range(2)]
deadline = time.monotonic() + 60
while any(job.metadata.get("state") != "finished" for job in jobs) and time.monotonic() < deadline:
    time.sleep(0.2)
rows = project.jobs.list(has_tag=["child"], meta=["close_reason", "spider_args", "scrapystats"])
print("MANAGED", sorted((row["close_reason"], row["spider_args"]["n"], row["scrapystats"]["item_scraped_count"]) for row in rows))
client.get_job(os.environ["SHUB_JOBKEY"]).update_tags(add=["managed"])
"""

EGG = egg(
    {
        "proj/__init__.py": "",
        "proj/settings.py": "SPIDER_MODULES = ['proj.spiders']\n",
        "proj/spiders.py": HEAD + SPIDERS + MORE,
        "EGG-INFO/scripts/script.py": SCRIPT,
        "EGG-INFO/scripts/manager.py": MANAGER,
    }
)
