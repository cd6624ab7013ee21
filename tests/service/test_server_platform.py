"""The routes that IBM's Python client asks for a project or a space before it ranks."""

import re

import aiohttp
import pytest
from support.bodies import wire

from rerank_async.server import serve

PLACES = [("/v2/projects/", "local-project"), ("/v2/spaces/", "local-space")]


def shape(value):
    """A body with its values left out: the fields, and the kind of each value."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


async def get(server, path, token=None):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.get(server.url + path, headers=headers) as answer:
        return answer, await answer.json()


@pytest.mark.parametrize(("path", "place"), PLACES)
async def test_the_place_that_the_server_takes_is_described_as_the_platform_does(path, place):
    async with serve() as server:
        answer, value = await get(server, path + place, server.issue_token())
    documented = wire("platform_project" if "projects" in path else "platform_space")
    assert answer.status == documented["status"]
    assert shape(value) == shape(documented["body"])
    assert value["metadata"]["guid" if "projects" in path else "id"] == place
    assert value["metadata"]["url"] == path + place
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value["metadata"]["created_at"])
    # What ibm-watsonx-ai 1.8.1 reads of it: the kind of storage, and the first instance with its guid.
    assert value["entity"]["storage"]["type"] == "bmcos_object_storage"
    assert value["entity"]["compute"][0]["type"] == "machine_learning"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value["entity"]["compute"][0]["guid"])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-global-transaction-id"])
    assert (server.counts.platform, server.counts.rerank) == (1, 0)


@pytest.mark.parametrize(("path", "place"), PLACES)
async def test_another_place_is_not_there_unless_the_server_takes_any(path, place):
    async with serve() as server:
        answer, value = await get(server, path + "other", server.issue_token())
    assert (answer.status, value["status_code"], value["errors"][0]["code"]) == (404, 404, "not_found")
    assert "'other'" in value["errors"][0]["message"]
    async with serve(project_id=None, space_id=None) as server:
        answer, value = await get(server, path + "other", server.issue_token())
    assert (answer.status, value["metadata"]["url"]) == (200, path + "other")


@pytest.mark.parametrize(("path", "place"), PLACES)
async def test_a_token_is_asked_for(path, place):
    async with serve() as server:
        for token, code in [
            (None, "authentication_token_not_valid"),
            ("a.b.c", "authentication_token_not_valid"),
            (server.issue_token(lifetime=0), "authentication_token_expired"),
        ]:
            answer, value = await get(server, path + place, token)
            assert (answer.status, value["errors"][0]["code"]) == (401, code)
            assert answer.headers["x-global-transaction-id"] == value["trace"]


async def test_faults_of_the_rerank_route_are_not_met_there():
    async with serve(faults={"unavailable": 1.0}) as server:
        answer, _ = await get(server, "/v2/projects/local-project", server.issue_token())
    assert answer.status == 200
    assert server.counts.faults.total() == 0
