"""items: records by number, and what a reader excludes (contract 5.4, 5.7)."""

from starlette.testclient import TestClient

from tests.api.storage.test_records import numbers, ten


def test_conditions_hold_for_numbered_records_too(client: TestClient) -> None:
    path = f"/items/{ten().key}"
    assert numbers(client, path, index=[1, 7], filter='["n",">",[5]]') == [7]
    assert numbers(client, path, index=[1, 3], startts=1_000_002) == []
    assert numbers(client, f"{path}/1", filter='["n",">",[5]]') == []
    for params in ({"index": 0}, {"start": "random"}):
        assert client.get("/items/1/1", params=params).status_code == 400
    assert client.get(path, params={"index": list(range(1001))}).status_code == 400


def test_nobody_is_given_what_they_exclude(client: TestClient) -> None:
    path = f"/items/{ten().key}"
    answer = client.get(path, headers={"accept-encoding": "gzip;q=0", "accept": "application/json;q=0"})
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
