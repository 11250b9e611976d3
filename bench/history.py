"""A database that has seen much: many projects, jobs that wait, and the rows of a million that ran."""

import time

from app.models import Kind
from app.services.records import MAX_RECORDS
from bench.postgres import Server

PROJECTS, SPIDERS = 200, 5  # spiders of each project
# Records of each finished job: 100 that count. Those of one kind fill a chunk of up to MAX_RECORDS (and
# 1 MiB), so what counts is the jobs, not the records: a job has a row for each kind, and rarely a second.
RECORDS = {Kind.ITEMS: 40, Kind.REQUESTS: 30, Kind.LOGS: 30}
SAMPLES = 4
CHUNKS = sum(-(-count // MAX_RECORDS) for count in (*RECORDS.values(), SAMPLES))  # rows of a job

_TREE = f"""
INSERT INTO project (name, spiders, created_time)
     SELECT 'project ' || n, {SPIDERS}, 1 FROM generate_series(1, {PROJECTS}) AS n;
INSERT INTO spider (project_id, number, name, type, deployed, declared, jobs)
     SELECT project.id, n, 'spider' || n, 'manual', true, false, 1000000
       FROM project, generate_series(1, {SPIDERS}) AS n ORDER BY project.id, n
"""
# Neighbours in time belong to different spiders, and have any priority.
_JOBS = f"""
INSERT INTO job (
    project_id, spider_id, number, state, priority, units, duplicate_key, version, spider_args, scrapystats,
    state_time, updated_time, touched_time, pending_time, running_time, finished_time, scheduled_by,
    started_by, completed_by, close_reason, task_id, worker, pushed, compacted, purged,
    items, pages, logs, errors
)
SELECT spider.project_id, spider.id, {{first}} + n / {PROJECTS * SPIDERS}, '{{state}}',
       mod(hashint4(n::int) & 1048575, 5), 1, md5('job' || n), 'v1',
       json_build_object('start_url', 'https://shop.example.com/list?page=' || n), {{stats}},
       began + n, began + n, began + n, began + n, {{ran}}, {{ran}}, 'admin',
       'jobrunner', 'jobrunner', {{reason}}, 'c4b0e4a8-53b5-4d0f-9d9c-7d1d8f0a3d5e', 'worker@machine', false,
       {{ended}}, false, {{items}}, {{pages}}, {{logs}}, 0
  FROM (SELECT n, (extract(epoch FROM now()) * 1000)::bigint - 86400000 AS began
          FROM generate_series(0, {{count}} - 1) AS n) AS numbered
  JOIN spider ON spider.id = 1 + mod(n, {PROJECTS * SPIDERS})
 ORDER BY n
"""
_STATS = "'{" + ", ".join(f'"downloader/some_count_of_{n}": {n * 7919}' for n in range(25)) + "}'"
_CHUNKS = """
INSERT INTO chunk (job_id, kind, first, count, first_time, last_time, size, counts, input_bytes, data)
SELECT job.id, kind, 0, many, state_time, state_time, many * 300, '{"url": 40, "title": 40}', many * 250,
       'tiny'
  FROM job, (VALUES %s) AS kinds (kind, many) WHERE job.state = 'finished'
"""
_ACTIVITY = """
INSERT INTO activity (project_id, time, event)
SELECT job.project_id, state_time, '{"event":"job:' || kind || '","job":"' || job.project_id || '/'
       || spider.number || '/' || job.number || '","user":"jobrunner"}'
  FROM job JOIN spider ON spider.id = job.spider_id,
       unnest(ARRAY['scheduled', 'started', 'completed']) AS kind
 WHERE job.state = 'finished'
"""
# Without looking whether each row's project is there, and with the indexes made afterwards.
_LATER = """
CREATE TEMPORARY TABLE later AS
SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('job', 'activity') AND indexname LIKE 'ix_%%'
"""
_DROP = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT indexname FROM later LOOP EXECUTE format('DROP INDEX %%I', name); END LOOP;
END $$
"""
_INDEXES = """
DO $$ DECLARE made text; BEGIN FOR made IN SELECT indexdef FROM later LOOP EXECUTE made; END LOOP; END $$
"""
_QUICKLY = (
    "SET synchronous_commit = off",
    "SET session_replication_role = replica",
    "SET maintenance_work_mem = '256MB'",
    _LATER,
    _DROP,
)


def fill(server: Server, name: str, waiting: int, finished: int) -> float:
    """Jobs that wait, after jobs that have finished, with their events and chunks; seconds that it took."""
    began = time.monotonic()
    kinds = ", ".join(f"('{kind}', {count})" for kind, count in {**RECORDS, Kind.SAMPLES: SAMPLES}.items())
    ran = {
        "count": finished, "first": 1, "state": "finished", "stats": _STATS, "ran": "began + n",
        "reason": "'finished'", "ended": "true", "items": 40, "pages": 30, "logs": 30,
    }  # fmt: skip
    waits = {
        "count": waiting, "first": 1 + finished, "state": "pending", "stats": "NULL", "ran": "NULL",
        "reason": "NULL", "ended": "false", "items": 0, "pages": 0, "logs": 0,
    }  # fmt: skip
    server.execute(
        *_QUICKLY, *_TREE.split(";"), _JOBS.format(**ran), _CHUNKS % kinds, _ACTIVITY, _JOBS.format(**waits),
        _INDEXES, "VACUUM ANALYZE", "CHECKPOINT", name=name,
    )  # fmt: skip
    return time.monotonic() - began
