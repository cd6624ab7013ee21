"""Bounds that the service shows: read from a refusal, remembered for the model, and kept to."""

import pytest
from support.bodies import as_bytes, exchange_of

from rerank_async.policy.bounds import LearnedBounds
from rerank_async.policy.planning import batches, load
from rerank_async.policy.wire import encode_body, request_head
from rerank_async.policy.wire_errors import error_of
from rerank_async.values.options import BatchOptions
from rerank_async.values.parameters import RerankParameters

MODEL = "cross-encoder/ms-marco-minilm-l-12-v2"
HEAD = request_head(
    model_id=MODEL,
    query="q",
    project_id="00000000-0000-0000-0000-000000000000",
    space_id=None,
    parameters=RerankParameters(),
    crypto=None,
    extra_body=None,
)


def recorded(name):
    return error_of(*exchange_of(name), "https://us-south.ml.cloud.ibm.com/ml/v1/text/rerank")


def refusal(message, status=400):
    body = {"errors": [{"code": "invalid_input_argument", "message": message}], "trace": "4096"}
    return error_of(status, {}, as_bytes(body), "https://h.example:900/v1/600")


def of(count, **options):
    return load([f"t{i}" for i in range(count)], BatchOptions(**options), HEAD, dedupe=True)


def test_a_stated_bound_holds_for_later_loads_of_this_model_alone():
    bounds = LearnedBounds()
    assert bounds.narrowed(MODEL, of(1200), HEAD) is not None
    bounds.refused(MODEL, recorded("error_400_too_many_inputs"), inputs=1000, body_bytes=9000)
    assert list(batches(bounds.narrowed(MODEL, of(1200), HEAD))) == [(0, 500), (500, 1000), (1000, 1200)]
    assert bounds.narrowed("another/model", of(1200), HEAD).max_inputs == 1000


def test_without_a_number_half_is_taken_and_a_bound_never_rises():
    bounds = LearnedBounds()
    for inputs, most in ((1000, 500), (500, 250), (1000, 250), (3, 1), (1, 1)):
        bounds.refused(MODEL, refusal("too many inputs"), inputs=inputs, body_bytes=9000)
        assert bounds.narrowed(MODEL, of(1000), HEAD).max_inputs == most


def test_a_load_that_is_within_the_bounds_is_the_same_object():
    bounds = LearnedBounds()
    small = of(10, max_inputs=20)
    assert bounds.narrowed(MODEL, small, HEAD) is small
    bounds.refused(MODEL, refusal("too many inputs"), inputs=100, body_bytes=9000)
    bounds.refused(MODEL, recorded("error_413_too_large"), inputs=1000, body_bytes=100_000)
    assert bounds.narrowed(MODEL, small, HEAD) is small
    bound_by_bytes = load(["x" * 400] * 10, BatchOptions(max_bytes=2000, max_inputs=20), HEAD, dedupe=False)
    assert bound_by_bytes.sizes is not None
    assert bounds.narrowed(MODEL, bound_by_bytes, HEAD) is bound_by_bytes


def test_after_a_413_later_bodies_have_half_of_the_bytes_at_most():
    bounds = LearnedBounds()
    texts = [f"{i:0200d}" for i in range(100)]
    body = encode_body(HEAD, texts, None)
    bounds.refused(MODEL, recorded("error_413_too_large"), inputs=100, body_bytes=len(body))
    narrowed = bounds.narrowed(MODEL, load(texts, BatchOptions(), HEAD, dedupe=True), HEAD)
    cut = list(batches(narrowed))
    assert len(cut) == 3  # two halves less what the heads need
    assert all(len(encode_body(HEAD, texts[start:stop], None)) <= len(body) // 2 for start, stop in cut)
    assert narrowed.max_inputs == 1000


def test_a_bound_of_bytes_never_rises():
    bounds = LearnedBounds()
    texts = [f"{i:0200d}" for i in range(100)]
    for body_bytes in (4000, 20_000):
        bounds.refused(MODEL, recorded("error_413_too_large"), inputs=100, body_bytes=body_bytes)
        made = bounds.narrowed(MODEL, load(texts, BatchOptions(), HEAD, dedupe=True), HEAD)
        assert all(len(encode_body(HEAD, texts[start:stop], None)) <= 2000 for start, stop in batches(made))


def test_a_text_over_a_learned_bound_still_goes_alone():
    bounds = LearnedBounds()
    bounds.refused(MODEL, recorded("error_413_too_large"), inputs=2, body_bytes=100)
    made = bounds.narrowed(MODEL, load(["a" * 300, "b", "c" * 300], BatchOptions(), HEAD, dedupe=True), HEAD)
    assert list(batches(made)) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("status", [400, 413])
def test_a_text_that_is_refused_alone_shows_no_bound(status):
    bounds = LearnedBounds()
    bounds.refused(MODEL, refusal("too many inputs", status=status), inputs=1, body_bytes=100)
    assert not bounds.learned


@pytest.mark.parametrize("status", [400, 413])
def test_one_text_at_fault_leaves_the_bound_at_what_was_accepted(status):
    """The halves without it are scored, before or after the other half is refused."""
    for first in (True, False):
        bounds, size = LearnedBounds(), 1000
        bounds.refused(MODEL, refusal("too many inputs", status=status), inputs=size, body_bytes=1000 * size)
        while size > 1:
            size //= 2
            if first:
                bounds.accepted(MODEL, inputs=size, body_bytes=1000 * size)
            bounds.refused(MODEL, refusal("too many inputs", status=status), inputs=size, body_bytes=1000 * size)
            if not first:
                bounds.accepted(MODEL, inputs=size, body_bytes=1000 * size)
        texts = [f"{i:0900d}" for i in range(1000)]
        narrowed = bounds.narrowed(MODEL, load(texts, BatchOptions(max_inputs=1000), HEAD, dedupe=True), HEAD)
        assert len(list(batches(narrowed))) <= 3


def test_a_copy_knows_the_same_and_learns_apart():
    bounds = LearnedBounds()
    bounds.refused(MODEL, refusal("too many inputs"), inputs=1000, body_bytes=9000)
    bounds.accepted(MODEL, inputs=400, body_bytes=4000)
    copy = bounds.copy()
    assert (copy.learned, copy.inputs(MODEL)) == (True, 500)
    copy.refused(MODEL, refusal("too many inputs"), inputs=500, body_bytes=4500)
    assert (copy.inputs(MODEL), bounds.inputs(MODEL)) == (400, 500)
