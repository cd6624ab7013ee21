"""Answers: the REST body out of the object, reading by key, and the models that are printed."""

import ast
import pickle
from contextlib import suppress

import attrs
import pytest
from support.bodies import exchange_of, wire, wire_files

from rerank_async import RerankModels
from rerank_async.policy.merging import merge_envelopes, rank
from rerank_async.policy.wire import decode_answer
from rerank_async.values.response import NO_EXTRA, RerankResponse, RerankResult, ResponseStats, ServiceWarning


def response_of(name):
    """What the client makes of a recorded answer."""
    body = wire(name)["body"]
    cut = name == "answer_sorted_echo"
    result = decode_answer(
        *exchange_of(name), url="u", count=3 if cut else len(body["results"]), top_n=2 if cut else None, echo=True
    )
    said = merge_envelopes([result.envelope])._asdict()
    said |= {"model_id": said["model_id"] or "asked-for", "extra": said["extra"] or NO_EXTRA}
    return RerankResponse(results=rank([(range(3), result)], None, top_n=None, texts=None), **said)


def ranked(body):
    """The recorded body as the client writes it: sorted, echoes in the documented form."""
    results = [dict(each) for each in body["results"]]
    for each in results:
        if isinstance(each.get("input"), str):
            each["input"] = {"text": each["input"]}
    return (
        {"model_id": "asked-for"}
        | body
        | {"results": sorted(results, key=lambda each: (-each["score"], each["index"]))}
    )


@pytest.mark.parametrize("name", wire_files("answer"))
def test_to_dict_is_the_body_of_the_rest_answer(name):
    assert response_of(name).to_dict() == ranked(wire(name)["body"])


def test_what_was_not_said_is_left_out_and_an_empty_ranking_is_not():
    assert RerankResponse(model_id="m", results=()).to_dict() == {"model_id": "m", "results": []}
    assert RerankResponse(model_id="m", results=(), input_token_count=0).to_dict()["input_token_count"] == 0
    assert RerankResult(0, 1.0).to_dict() == {"index": 0, "score": 1.0}
    assert RerankResult(0, 1.0, "").to_dict() == {"index": 0, "score": 1.0, "input": {"text": ""}}


def test_a_warning_has_only_what_was_said():
    response = RerankResponse(
        model_id="m",
        results=(),
        warnings=(ServiceWarning("w"), ServiceWarning("v", id="i", additional_properties={"a": None})),
    )
    assert response.to_dict()["system"] == {
        "warnings": [{"message": "w"}, {"message": "v", "id": "i", "additional_properties": {"a": None}}]
    }


def test_statistics_and_failures_are_no_part_of_the_body():
    response = RerankResponse(model_id="m", results=(), stats=ResponseStats(requests=3))
    assert set(response.to_dict()) == {"model_id", "results"}


def test_the_body_is_a_copy():
    response = RerankResponse(model_id="m", results=(RerankResult(0, 1.0),))
    response.to_dict()["results"].append("x")
    response.to_dict()["results"][0]["score"] = 9.0
    assert response.to_dict() == {"model_id": "m", "results": [{"index": 0, "score": 1.0}]}


def test_reading_by_key_as_from_the_dict_of_ibm_s_sdk():
    response = response_of("answer_sorted_echo")
    assert response["results"][0]["score"] == 4.687500286102295
    assert response["results"][0]["input"]["text"].startswith("Gazpacho")
    assert response["query"] == "Which soup needs no cooking?"
    assert response.results[0]["index"] == 1
    assert "query" in response
    assert "nonsense" not in response
    assert response.get("model_version") is None
    assert response.get("nonsense", 5) == 5
    assert list(response) == list(response.keys()) == list(response.to_dict())
    assert dict(response) == response.to_dict()
    assert dict(response.results[0]) == response.results[0].to_dict()
    assert {**response.results[1]} == response.results[1].to_dict()


@pytest.mark.parametrize(
    "value", [RerankResponse(model_id="m", results=()), RerankResult(0, 1.0)], ids=lambda value: type(value).__name__
)
def test_a_key_that_is_not_there_is_a_key_error(value):
    with pytest.raises(KeyError, match="nonsense"):
        value["nonsense"]
    with pytest.raises(KeyError):
        value["stats"]


def test_answers_are_frozen_equal_by_value_and_pickle():
    one, two = response_of("answer_unknown_fields"), response_of("answer_unknown_fields")
    assert one == two
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.model_id = "x"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.results[0].score = 2.0


def test_two_answers_do_not_share_what_was_not_said():
    first, second = RerankResult(0, 1.0), RerankResult(1, 2.0)
    with suppress(TypeError):  # an extra that cannot be written to is as good
        first.extra["x"] = 1
    leaked = dict(second.extra), dict(RerankResponse(model_id="m", results=()).extra)
    with suppress(TypeError, KeyError):
        del first.extra["x"]  # so that no other test sees it
    assert leaked == ({}, {})


# Models


def test_show_prints_the_dict_of_name_to_id(capsys):
    assert RerankModels.show() is None
    printed = capsys.readouterr()
    assert ast.literal_eval(printed.out) == {model.name: model.value for model in RerankModels}
    assert printed.err == ""


def test_a_model_is_its_id_and_its_name_is_the_last_part_of_it():
    assert RerankModels.MS_MARCO_MINILM_L_12_V2 == "cross-encoder/ms-marco-minilm-l-12-v2"
    assert f"{RerankModels.ALL_MINILM_L6_V2}" == "sentence-transformers/all-minilm-l6-v2"
    for model in RerankModels:
        assert model.name == model.value.rpartition("/")[2].upper().replace("-", "_")
