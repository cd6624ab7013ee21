"""Batches that are refused for what they hold: halved, isolated or truncated, and what their call says in the end."""

import asyncio

import pytest
from support.wire import Service, bad, good, too_long

from rerank_async.errors import (
    BadRequestError,
    InputTooLongError,
    PermissionDeniedError,
    RequestTooLargeError,
    ServiceError,
)


def strict(most, extra=None):
    """Refuses requests with a text of more than ``most`` characters."""

    def answer(seen):
        other = None if extra is None else extra(seen)
        if other is not None:
            return other
        cut = seen.body.get("parameters", {}).get("truncate_input_tokens")
        return too_long() if cut is None and max(map(len, seen.texts)) > most else good(seen)

    return answer


def texts_with(count, *long):
    """Of 1 to ``count`` characters, but those at ``long`` of 1,000 and more."""
    return ["x" * (1000 + at if at in long else at + 1) for at in range(count)]


OFF = {"max_inputs": 1000, "adaptive": False}


async def test_isolate_scores_all_but_the_text_that_is_too_long():
    service = Service(strict(500))
    response = await service.call(texts_with(100, 37), overlength="isolate", **OFF).run()
    assert sorted(result.index for result in response.results) == [at for at in range(100) if at != 37]
    (failure,) = response.failures
    assert (failure.indices, type(failure.error)) == ((37,), InputTooLongError)
    assert len(service.wire.seen) <= 9
    assert service.at_rest() == (0, 0, 0)


async def test_isolate_finds_several_in_several_batches_of_repeated_texts():
    service = Service(strict(500))
    texts = texts_with(60, 5, 20, 21, 59)
    texts = [*texts, texts[20], texts[0]]
    response = await service.call(texts, overlength="isolate", **OFF | {"max_inputs": 20}).run()
    assert sorted(result.index for result in response.results) == [
        at for at in range(62) if at not in {5, 20, 21, 59, 60}
    ]
    assert sorted(index for failure in response.failures for index in failure.indices) == [5, 20, 21, 59, 60]
    assert service.at_rest() == (0, 0, 0)


@pytest.mark.parametrize("partial", [False, True])
async def test_isolate_is_bounded_and_says_what_was_not_found(partial):
    # Texts of one length, of which every other is refused: nothing tells them apart but asking.
    def answer(seen):
        return too_long() if any(text.endswith("!") for text in seen.texts) else good(seen)

    texts = [f"{at:05}{'!' if at % 2 else '.'}" for at in range(256)]
    service = Service(answer)
    response = await service.call(texts, overlength="isolate", partial=partial, **OFF).run()
    scored = {result.index for result in response.results}
    failed = sorted(index for failure in response.failures for index in failure.indices)
    assert len(service.wire.seen) <= 41
    assert scored.isdisjoint(failed)
    assert sorted([*scored, *failed]) == list(range(256)), "nothing is lost, nothing is there twice"
    last = response.failures[-1].error
    assert type(last) is InputTooLongError
    assert "not scored" in str(last), "these are not known to be too long"


async def test_isolate_leaves_another_error_to_the_failure_policy():
    service = Service(strict(500, lambda seen: bad(500) if "x" in seen.texts else None))
    with pytest.raises(ServiceError):
        await service.call(texts_with(4, 3), overlength="isolate", **OFF | {"max_inputs": 2}).run()
    assert service.at_rest() == (0, 0, 0)
    response = await service.call(texts_with(4, 3), overlength="isolate", partial=True, **OFF | {"max_inputs": 2}).run()
    kinds = {failure.indices: type(failure.error) for failure in response.failures}
    assert kinds == {(0, 1): ServiceError, (3,): InputTooLongError}
    assert [result.index for result in response.results] == [2]


async def test_isolate_ends_with_what_every_call_would_fail_of():
    service = Service(strict(500, lambda seen: bad(403, "authorization_rejected") if len(seen.texts) < 50 else None))
    with pytest.raises(PermissionDeniedError):
        await service.call(texts_with(64, 9), overlength="isolate", partial=True, **OFF).run()
    assert len(service.wire.seen) == 2
    assert service.at_rest() == (0, 0, 0)


async def test_raise_is_one_request():
    service = Service(strict(500))
    with pytest.raises(InputTooLongError):
        await service.call(texts_with(100, 37), **OFF).run()
    assert len(service.wire.seen) == 1


async def test_raise_under_partial_loses_the_batch_and_no_other():
    service = Service(strict(500))
    response = await service.call(texts_with(10, 7), partial=True, **OFF | {"max_inputs": 5}).run()
    assert sorted(result.index for result in response.results) == [0, 1, 2, 3, 4]
    assert [failure.indices for failure in response.failures] == [(5, 6, 7, 8, 9)]


@pytest.mark.parametrize("overlength", ["raise", "isolate", "truncate"])
@pytest.mark.parametrize("code", ["invalid_input_argument", "invalid_request_entity"])
async def test_any_other_400_is_one_request(overlength, code):
    service = Service(lambda _: bad(400, code, "The parameter top_n is out of range"))
    with pytest.raises(BadRequestError):
        await service.call(texts_with(100), overlength=overlength, **OFF).run()
    assert len(service.wire.seen) == 1


# Truncated


def says_512(seen):
    if "parameters" in seen.body and "truncate_input_tokens" in seen.body["parameters"]:
        return good(seen)
    if max(map(len, seen.texts)) > 500:
        return bad(400, "invalid_input_argument", "Token sequence length is longer than ... this model (1336 > 512).")
    return good(seen)


async def test_truncate_sends_the_batch_once_more_and_says_so():
    service = Service(says_512)
    response = await service.call(texts_with(100, 37), overlength="truncate", **OFF).run()
    assert len(response.results) == 100
    assert [seen.body.get("parameters") for seen in service.wire.seen] == [None, {"truncate_input_tokens": 512}]
    (warning,) = response.warnings
    assert warning.additional_properties["indices"] == [37]
    assert response.failures == ()


async def test_truncate_that_does_not_help_raises_the_service_s_error():
    words = "Token sequence length is longer than ... this model (1336 > 512)."
    service = Service(lambda _: bad(400, "invalid_input_argument", words))
    with pytest.raises(InputTooLongError):
        await service.call(texts_with(10, 3), overlength="truncate", **OFF).run()
    assert len(service.wire.seen) == 2


async def test_truncate_where_no_length_is_known_raises_the_service_s_error():
    service = Service(strict(500))
    with pytest.raises(InputTooLongError):
        await service.call(texts_with(10, 3), overlength="truncate", **OFF).run()
    assert len(service.wire.seen) == 1


# Too much at once


def at_most(inputs):
    def answer(seen):
        if len(seen.texts) > inputs:
            return bad(400, "invalid_request_entity", f"number of inputs must be at most {inputs} items")
        return good(seen)

    return answer


async def test_a_413_halves_the_batch_and_later_calls_begin_smaller():
    service = Service(lambda seen: bad(413) if len(seen.texts) > 30 else good(seen))
    first = await service.call(texts_with(100), **OFF).run()
    assert len(first.results) == 100
    requests = len(service.wire.seen)
    job = service.job(texts_with(100), **OFF)
    narrowed = service.bounds.narrowed("asked-for", job.load, job.head)
    service.wire.answer = good
    second = await service.call_of(job._replace(load=narrowed)).run()
    assert len(second.results) == 100
    assert len(service.wire.seen) - requests > 1


async def test_a_bound_that_is_named_is_kept_at_once():
    service = Service(at_most(30))
    assert len((await service.call(texts_with(100), **OFF).run()).results) == 100
    job = service.job(texts_with(100), **OFF)
    assert service.bounds.narrowed("asked-for", job.load, job.head).max_inputs == 30


async def test_a_413_for_one_text_is_raised():
    service = Service(lambda _: bad(413))
    with pytest.raises(RequestTooLargeError):
        await service.call(texts_with(4), **OFF).run()
    assert service.at_rest() == (0, 0, 0)


async def test_parts_are_sent_within_the_rate_and_in_their_flow_s_place():
    service = Service(strict(500), rate=2.0)
    call = asyncio.create_task(service.call(texts_with(64, 9), overlength="isolate", **OFF).run())
    await service.clock.advance(60.0)
    assert len((await call).results) == 63
    moments = [seen.at for seen in service.wire.seen]
    assert all(later - earlier > 1.0 for earlier, later in zip(moments, moments[2:], strict=False))
