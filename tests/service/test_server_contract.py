"""The server's three routes, over HTTP: what they answer and in which shape."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from rerank_async.server import LexicalScorer, MiniLMScorer, Scored, minilm, serve
from rerank_async.server.settings import BODY_LIMIT

WIRE = Path(__file__).parents[1] / "wire"
RERANK = "/ml/v1/text/rerank"
SPECS = "/ml/v1/foundation_model_specs"
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
TEXTS = ["blue sky", "the red apple", "red", "the red apple"]


def body(**changes):
    value = {"model_id": "lexical", "query": "red apples", "inputs": [{"text": text} for text in TEXTS]}
    return value | {"project_id": "local-project"} | changes


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def rerank(http, server, value=None, *, token=None, version="2024-10-18", **options):
    token = server.issue_token() if token is None else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    params = {} if version is None else {"version": version}
    options.setdefault("json", body() if value is None else value)
    async with http.post(server.url + RERANK, params=params, headers=headers, **options) as answer:
        return answer, await answer.json()


def is_documented_error(answer, value, status, code):
    assert (answer.status, value["status_code"], value["errors"][0]["code"]) == (status, status, code)
    assert re.fullmatch("[0-9a-f]{32}", value["trace"])
    assert answer.headers["x-global-transaction-id"] == value["trace"]
    assert answer.content_type == "application/json"
    return value["errors"][0]


async def test_the_ranking_over_http_is_the_scorers_own(http):
    async with serve() as server:
        answer, value = await rerank(http, server)
    scored = LexicalScorer().score_now("red apples", TEXTS)
    ranked = sorted(enumerate(scored.scores), key=lambda pair: (-pair[1], pair[0]))
    assert answer.status == 200
    assert [(result["index"], result["score"]) for result in value["results"]] == ranked
    assert value["input_token_count"] == scored.input_token_count
    assert set(value) == {"model_id", "model_version", "created_at", "results", "input_token_count"}
    assert "x-requests-limit-rate" not in answer.headers


async def test_options_reach_the_answer(http):
    options = {"top_n": 2, "inputs": True, "query": True}
    async with serve() as server:
        _, value = await rerank(http, server, body(parameters={"truncate_input_tokens": 1, "return_options": options}))
    # Cut to one word each, only "red" is left of what was asked for: 3 of 9 letters.
    assert value["results"][0] == {"index": 2, "score": 3 / 9, "input": {"text": "red"}}
    assert len(value["results"]) == 2
    assert value["query"] == "red apples"


@pytest.mark.parametrize("path", sorted(WIRE.glob("request_*.json")), ids=lambda path: path.stem)
async def test_the_documented_requests_are_answered(http, path):
    value = json.loads(path.read_text())["body"]
    async with serve(scorers={value["model_id"]: LexicalScorer()}, project_id=None, space_id=None) as server:
        answer, answered = await rerank(http, server, value)
    top_n = value.get("parameters", {}).get("return_options", {}).get("top_n", len(value["inputs"]))
    assert answer.status == 200
    assert len(answered["results"]) == top_n


@pytest.mark.parametrize(
    ("change", "status", "code", "target"),
    [
        ({"model_id": "lexcial"}, 404, "model_not_supported", "model_id"),
        ({"project_id": "other"}, 403, "user_authorization_failed", "project_id"),
        ({"project_id": None, "space_id": "other"}, 403, "user_authorization_failed", "space_id"),
        ({"project_id": None}, 400, "json_validation_error", "project_id"),
        ({"inputs": ["plain"]}, 400, "json_type_error", "inputs[0]"),
        ({"inputs": [{"text": "a"}] * 1001}, 400, "invalid_input_argument", "inputs"),
    ],
    ids=str,
)
async def test_a_wrong_body_gets_a_documented_error(http, change, status, code, target):
    async with serve() as server:
        answer, value = await rerank(http, server, body(**change))
    error = is_documented_error(answer, value, status, code)
    assert error["target"] == {"type": "field", "name": target}


async def test_the_space_is_taken_instead_of_a_project_and_a_project_goes_before_a_space(http):
    async with serve() as server:
        by_space, _ = await rerank(http, server, body(project_id=None, space_id="local-space"))
        both, _ = await rerank(http, server, body(space_id="other"))
    assert (by_space.status, both.status) == (200, 200)


async def test_an_over_long_text_is_refused_in_the_services_words(http):
    async with serve(scorers={"lexical": LexicalScorer(max_sequence_length=3)}) as server:
        answer, value = await rerank(http, server, body(inputs=[{"text": "a"}, {"text": "a b c d"}]))
        cut, _ = await rerank(http, server, body(inputs=[{"text": "a b c d"}], parameters={"truncate_input_tokens": 3}))
    error = is_documented_error(answer, value, 400, "invalid_input_argument")
    assert error["message"] == (
        "Invalid input argument for Model 'lexical': Token sequence length is longer than the specified maximum "
        "sequence length for this model (4 > 3)."
    )
    assert cut.status == 200


@pytest.mark.parametrize("version", [None, "yesterday", "2024-13-01"])
async def test_a_version_that_is_missing_or_no_date_is_a_400(http, version):
    async with serve() as server:
        answer, value = await rerank(http, server, version=version)
    error = is_documented_error(answer, value, 400, "invalid_input_argument")
    assert error["target"] == {"type": "parameter", "name": "version"}


async def test_a_body_that_is_not_json_is_a_400(http):
    async with serve() as server:
        answer, value = await rerank(http, server, json=None, data=b"{")
    is_documented_error(answer, value, 400, "invalid_request_entity")


async def test_tokens_are_checked(http):
    async with serve() as server:
        good = server.issue_token()
        is_documented_error(*await rerank(http, server, token=""), 401, "authentication_token_not_valid")
        is_documented_error(*await rerank(http, server, token="a.b.c"), 401, "authentication_token_not_valid")
        expired = await rerank(http, server, token=server.issue_token(lifetime=0))
        is_documented_error(*expired, 401, "authentication_token_expired")
        assert (await rerank(http, server, token=good))[0].status == 200
        server.revoke_tokens()
        is_documented_error(*await rerank(http, server, token=good), 401, "authentication_token_expired")
        assert (await rerank(http, server))[0].status == 200


async def test_a_scheme_other_than_bearer_is_not_valid(http):
    async with serve() as server:
        headers = {"Authorization": f"Basic {server.issue_token()}"}
        async with http.post(server.url + RERANK, headers=headers, json=body()) as answer:
            is_documented_error(answer, await answer.json(), 401, "authentication_token_not_valid")


async def test_an_api_key_is_exchanged_for_a_token_that_is_good(http):
    documented = json.loads((WIRE / "token_answer.json").read_text())["body"]
    async with serve(api_key="made-up+api/key=", token_lifetime=1800) as server:
        form = dict(json.loads((WIRE / "token_request_apikey.json").read_text())["body"])
        async with http.post(server.token_url, data=form) as answer:
            value = await answer.json()
        assert answer.status == 200
        assert set(value) == set(documented)
        assert {name: type(found) for name, found in value.items()} == {
            name: type(found) for name, found in documented.items()
        }
        assert value["expires_in"] == 1800
        assert (await rerank(http, server, token=value["access_token"]))[0].status == 200


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"grant_type": GRANT, "apikey": "wrong"}, "BXNIM0415E"),
        ({"grant_type": GRANT}, "BXNIM0415E"),
        ({"grant_type": "password", "apikey": "local-api-key"}, "BXNIM0109E"),
        ({}, "BXNIM0109E"),
    ],
)
async def test_a_wrong_key_or_grant_is_iams_own_400(http, form, code):
    documented = json.loads((WIRE / "token_error_unknown_key.json").read_text())["body"]
    async with serve() as server, http.post(server.token_url, data=form) as answer:
        value = await answer.json()
    assert (answer.status, value["errorCode"]) == (400, code)
    assert set(value) == set(documented)
    assert set(value["context"]) == set(documented["context"])


async def test_the_specs_need_no_token_and_list_the_models_served(http):
    async with serve() as server:
        params = {"version": "2024-10-18", "filters": "function_rerank,!lifecycle_withdrawn:and", "limit": "1"}
        async with http.get(server.url + SPECS, params=params) as answer:
            first = await answer.json()
        async with http.get(first["next"]["href"]) as answer:
            second = await answer.json()
        wrong = await http.get(server.url + SPECS, params=params | {"limit": "0"})
        is_documented_error(wrong, await wrong.json(), 400, "invalid_input_argument")
        unversioned = await http.get(server.url + SPECS)
        is_documented_error(unversioned, await unversioned.json(), 400, "invalid_input_argument")
    models = first["resources"] + second["resources"]
    assert [model["model_id"] for model in models] == ["lexical", "sentence-transformers/all-minilm-l6-v2"]
    assert [model["model_limits"] for model in models] == [{"max_sequence_length": 512}, {"max_sequence_length": 256}]
    assert urlsplit(first["first"]["href"]).netloc == urlsplit(server.url).netloc
    assert (first["total_count"], "next" in second) == (2, False)


async def test_other_paths_and_methods_get_the_same_shape(http):
    async with serve() as server:
        nowhere = await http.get(server.url + "/nowhere")
        is_documented_error(nowhere, await nowhere.json(), 404, "not_found")
        wrong = await http.get(server.url + RERANK)
        is_documented_error(wrong, await wrong.json(), 405, "invalid_request_entity")
        assert wrong.headers["Allow"] == "POST"


async def test_a_body_of_more_than_64_mib_is_a_413(http):
    async with serve() as server:
        is_documented_error(
            *await rerank(http, server, json=None, data=iter_bytes(BODY_LIMIT + 1)), 413, "invalid_request_entity"
        )
        assert server.requests[-1].status == 413
        fits = b'"' + b"x" * (2 * 1024 * 1024) + b'"'  # above aiohttp's own default of 1 MiB
        is_documented_error(
            *await rerank(http, server, json=None, data=iter_bytes(len(fits), fits)), 400, "json_type_error"
        )


async def iter_bytes(length, content=b""):
    piece = content or b" " * 65536
    sent = 0
    while sent < length:
        yield piece[: length - sent]
        sent += len(piece)


async def test_a_model_whose_extra_is_missing_says_what_to_install(http, monkeypatch):
    monkeypatch.setattr(
        minilm, "MODEL_FILE", minilm.WheelFile(distribution="no-such", version="1", path="x", sha256="")
    )
    async with serve() as server:
        answer, value = await rerank(http, server, body(model_id=MiniLMScorer.model_id))
    error = is_documented_error(answer, value, 404, "model_not_supported")
    assert "pip install '.[local]'" in error["message"]


class Broken:
    model_id = "broken"
    max_sequence_length = None

    async def score(self, query, texts, truncate):
        words = f"could not score {texts[0]}"
        raise LookupError(words)

    async def close(self):
        raise AssertionError("a scorer that was given is not closed")


async def test_a_scorer_that_fails_is_a_500_without_its_words(http, caplog):
    async with serve(scorers={"broken": Broken()}) as server:
        answer, value = await rerank(http, server, body(model_id="broken"))
    error = is_documented_error(answer, value, 500, "internal_server_error")
    assert error["message"] == "The server failed with LookupError"
    assert [record.levelname for record in caplog.records if record.name == "rerank_async.server"] == ["ERROR"]
    assert "LookupError" in caplog.text
    assert "raise LookupError(words)" in caplog.text  # where it failed
    assert "blue sky" not in caplog.text


async def test_a_scorer_of_ones_own_is_served_under_its_id(http):
    class Length:
        model_id = "length"
        max_sequence_length = None

        async def score(self, query, texts, truncate):
            return Scored(tuple(float(len(text)) for text in texts), len(texts))

        async def close(self):
            raise AssertionError("a scorer that was given is not closed")

    async with serve(scorers={"length": Length()}) as server:
        _, value = await rerank(http, server, body(model_id="length"))
    assert [result["index"] for result in value["results"]] == [1, 3, 0, 2]


async def test_requests_and_counts_say_what_came_and_hold_no_secret(http):
    async with serve() as server:
        token = server.issue_token()
        await rerank(http, server, token=token)
        await rerank(http, server, body(inputs=[]), token=token)
        await rerank(http, server, token="a.b.c")
        seen = [(arrival.status, arrival.inputs, arrival.model_id, arrival.fault) for arrival in server.requests]
        assert seen == [(200, 4, "lexical", None), (400, None, None, None), (401, None, None, None)]
        assert (server.counts.rerank, server.counts.inputs, server.counts.in_flight) == (3, 4, 0)
        assert server.counts.statuses == {200: 1, 400: 1, 401: 1}
        assert token not in repr((server, list(server.requests), server.counts))


async def test_the_log_is_silent_by_default_and_never_holds_a_token_a_key_or_a_text(http, caplog, capfd):
    caplog.set_level("DEBUG")
    async with serve() as server:
        token = server.issue_token()
        await rerank(http, server, token=token)
        await http.post(server.token_url, data={"grant_type": GRANT, "apikey": server.api_key})
    assert any("POST /ml/v1/text/rerank 200" in record.getMessage() for record in caplog.records)
    for hidden in (token, server.api_key, "red apple"):
        assert hidden not in caplog.text
    assert capfd.readouterr() == ("", "")
