"""`RerankMany` over calls that are answered by hand: places, order, errors of all kinds, producers of all kinds."""

import asyncio
import weakref

import pytest
from support.clock import settle

from rerank_async import RerankOutcome, RerankRequest, RerankResponse
from rerank_async.errors import BadRequestError, ClientClosedError, ClientStateError, InvalidTypeError
from rerank_async.many import RerankMany


class Calls:
    """Calls that are answered when they are told to."""

    def __init__(self):
        self.open = {}
        self.started = []
        self.most = 0
        self.closed = False

    def check(self):
        if self.closed:
            raise ClientClosedError("closed")

    async def run(self, request):
        future = self.open[request.id] = asyncio.get_running_loop().create_future()
        self.started.append(request.id)
        self.most = max(self.most, len(self.open))
        try:
            return await future
        finally:
            del self.open[request.id]

    def answer(self, number):
        self.open[number].set_result(RerankResponse(model_id=f"answer {number}", results=()))

    def close(self, number):
        self.closed = True
        self.fail(number, ClientClosedError("closed"))

    def fail(self, number, error):
        self.open[number].set_exception(error)


class Producer:
    """So many requests; says how many were asked for and whether it was closed, and in which task."""

    def __init__(self, count=100, error=None, item=None):
        self.count, self.error, self.item = count, error, item
        self.asked = 0
        self.closed_in = None
        self.read_in = None

    def now(self):
        try:
            for number in range(self.count):
                self.asked += 1
                yield RerankRequest("q", ["a"], number)
            yield from self.end()
        finally:
            self.closed_in = asyncio.current_task()

    def end(self):
        if self.error is not None:
            raise self.error
        if self.item is not None:
            yield self.item

    async def later(self):
        for item in self.now():
            self.read_in = asyncio.current_task()
            await asyncio.sleep(0)
            yield item

    def of(self, kind):
        return self.now() if kind == "sync" else self.later()


def many(calls, requests, *, ordered=False, max_in_flight=3):
    return RerankMany(calls.run, requests, calls.check, ordered=ordered, max_in_flight=max_in_flight)


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def rest(outcomes):
    return [outcome async for outcome in outcomes]


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["completed", "ordered"])
def ordered(request):
    return request.param


# Places and order


async def test_as_completed_each_outcome_comes_when_it_is_there(calls, kind):
    async with many(calls, Producer(3).of(kind)) as outcomes:
        await settle()
        for number in (2, 0, 1):
            calls.answer(number)
            outcome = await anext(outcomes)
            assert isinstance(outcome, RerankOutcome)
            assert (outcome.request.id, outcome.response.model_id) == (number, f"answer {number}")
            assert outcome.error is None
        assert await rest(outcomes) == []


async def test_ordered_outcomes_wait_for_the_slow_head(calls, kind):
    producer = Producer(5)
    async with many(calls, producer.of(kind), ordered=True) as outcomes:
        reader = asyncio.create_task(rest(outcomes))
        await settle()
        calls.answer(2)
        calls.answer(1)
        await settle()
        assert not reader.done()
        assert (producer.asked, calls.started) == (3, [0, 1, 2]), "the head holds the others' places"
        calls.answer(0)
        await settle()
        assert calls.started == [0, 1, 2, 3, 4]
        calls.answer(4)
        calls.answer(3)
        assert [outcome.request.id for outcome in await reader] == [0, 1, 2, 3, 4]


async def test_a_place_is_held_until_its_outcome_is_taken(calls, kind, ordered):
    producer = Producer()
    async with many(calls, producer.of(kind), ordered=ordered) as outcomes:
        await settle()
        assert producer.asked == 3
        for number in range(3):
            calls.answer(number)
        await settle()
        assert producer.asked == 3, "nothing was taken, so nothing is asked for"
        for taken in range(1, 10):
            assert (await anext(outcomes)).request.id == taken - 1
            await settle()
            assert producer.asked == len(calls.started) == 3 + taken
            calls.answer(2 + taken)
    assert calls.most == 3


async def test_what_was_started_gets_a_turn_before_the_next_request_is_asked_for(kind):
    log = []

    async def run(request):
        log.append(f"start {request.id}")
        return RerankResponse(model_id="m", results=())

    def producer():
        for number in range(3):
            log.append(f"ask {number}")
            yield RerankRequest("q", [], number)

    async def later():
        for request in producer():
            yield request  # and never waits itself

    outcomes = RerankMany(run, producer() if kind == "sync" else later(), lambda: None, ordered=False, max_in_flight=10)
    async with outcomes:
        assert len(await rest(outcomes)) == 3
    assert log == ["ask 0", "start 0", "ask 1", "start 1", "ask 2", "start 2"]


@pytest.mark.parametrize("requests", [[], (), iter([])], ids=["list", "tuple", "iterator"])
async def test_no_requests_no_outcomes(calls, requests):
    async with many(calls, requests) as outcomes:
        assert await rest(outcomes) == []
    assert not others()


@pytest.mark.parametrize("bound", [1, 4])
async def test_five_thousand_requests_are_never_alive_at_once(kind, ordered, bound):
    alive, most = weakref.WeakSet(), 0

    class Text(str):
        __slots__ = ("__weakref__",)

    texts = weakref.WeakSet()

    def requests():
        for number in range(5000):
            text = Text("a" * 10)
            request = RerankRequest("q", [text], number)
            alive.add(request)
            texts.add(text)
            yield request
            del request, text

    async def later():
        for request in requests():
            yield request
            del request

    async def run(request):
        for _ in range(50 if request.id % 100 == 0 else request.id % 3):  # every hundredth is slow
            await asyncio.sleep(0)
        if request.id % 7 == 0:
            raise BadRequestError("no")
        return RerankResponse(model_id="m", results=())

    source = requests() if kind == "sync" else later()
    count = 0
    async with RerankMany(run, source, lambda: None, ordered=ordered, max_in_flight=bound) as outcomes:
        async for outcome in outcomes:
            count += 1
            del outcome
            most = max(most, len(alive), len(texts))
    assert count == 5000
    assert 1 <= most <= bound
    assert not alive


# Errors of a request


async def test_an_error_of_a_request_is_its_outcome_and_not_the_end(calls, ordered):
    error = BadRequestError("no")
    async with many(calls, Producer(4).now(), ordered=ordered) as outcomes:
        await settle()
        calls.fail(0, error)
        calls.answer(1)
        calls.fail(2, LookupError("the caller's own inputs raised"))
        got = [await anext(outcomes) for _ in range(3)]
        await settle()
        calls.answer(3)
        got += await rest(outcomes)
    assert [(each.request.id, type(each.error)) for each in got] == [
        (0, BadRequestError),
        (1, type(None)),
        (2, LookupError),
        (3, type(None)),
    ]
    assert got[0].error is error
    assert [each.response is None for each in got] == [True, False, True, False]


async def test_a_task_that_was_cancelled_from_outside_is_an_outcome_too(calls):
    async with many(calls, Producer(2).now()) as outcomes:
        await settle()
        next(task for task in others() if task.get_name() == "rerank_async request").cancel()
        outcome = await anext(outcomes)
        assert isinstance(outcome.error, ClientStateError)
        calls.answer(1 - outcome.request.id)
        assert len(await rest(outcomes)) == 1


# The end


async def test_a_producer_that_raises_ends_the_run_with_its_own_error_after_what_it_gave_before(calls, kind, ordered):
    error = OSError("the disk is gone")
    producer = Producer(2, error)
    async with many(calls, producer.of(kind), ordered=ordered) as outcomes:
        await settle()
        calls.answer(1)
        calls.answer(0)
        got = [await anext(outcomes), await anext(outcomes)]
        with pytest.raises(OSError, match="the disk is gone") as caught:
            await anext(outcomes)
        assert caught.value is error
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)
    assert sorted(outcome.request.id for outcome in got) == [0, 1]
    assert all(outcome.error is None for outcome in got)
    assert not others()


async def test_an_iterable_that_cannot_even_begin_raises_its_own_error(calls):
    class Broken:
        def __iter__(self):
            raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        async with many(calls, Broken()):
            pass
    assert not others()


@pytest.mark.parametrize(
    "item", ["text", {"query": "q"}, ("q", ["a"]), 5, RerankRequest], ids=["str", "dict", "tuple", "int", "class"]
)
async def test_garbage_ends_the_run_with_its_position_after_what_came_before(calls, kind, item):
    producer = Producer(2, item=item)
    async with many(calls, producer.of(kind)) as outcomes:
        await settle()
        calls.answer(0)
        calls.answer(1)
        assert len([await anext(outcomes), await anext(outcomes)]) == 2
        words = rf"requests\[2\] must be a RerankRequest, not {type(item).__name__}"
        with pytest.raises(InvalidTypeError, match=words) as caught:
            await anext(outcomes)
    assert (caught.value.argument, caught.value.index) == ("requests", 2)
    assert producer.closed_in is not None


async def test_a_client_that_was_closed_ends_the_run_and_not_each_of_a_million_requests(calls, kind, ordered):
    producer = Producer(10**6)
    async with many(calls, producer.of(kind), ordered=ordered) as outcomes:
        await settle()
        for number in range(3):
            calls.close(number)
        got = [await anext(outcomes) for _ in range(3)]
        assert {type(outcome.error) for outcome in got} == {ClientClosedError}
        with pytest.raises(ClientClosedError):
            await anext(outcomes)
    assert producer.asked == 3


async def test_an_error_of_another_client_in_a_request_is_its_outcome(calls, kind, ordered):
    async with many(calls, Producer(5).of(kind), ordered=ordered) as outcomes:
        await settle()
        for number in range(3):
            calls.fail(number, ClientStateError("of the client that gives the texts"))
        got = [await anext(outcomes) for _ in range(3)]
        await settle()
        calls.answer(3)
        calls.answer(4)
        got += await rest(outcomes)
    assert [type(outcome.error) for outcome in got] == [ClientStateError] * 3 + [type(None)] * 2


async def test_a_plain_producer_that_raises_stop_async_iteration_does_not_end_the_run_in_silence(calls, ordered):
    producer = Producer(2, StopAsyncIteration("the cursor was closed"))
    async with many(calls, producer.now(), ordered=ordered) as outcomes:
        await settle()
        calls.answer(0)
        calls.answer(1)
        assert len([await anext(outcomes), await anext(outcomes)]) == 2
        with pytest.raises(RuntimeError, match="the producer of requests raised StopAsyncIteration") as caught:
            await anext(outcomes)
    assert caught.value.__cause__ is producer.error


async def test_a_client_that_was_closed_does_not_wait_for_a_slow_producer(calls):
    async def slow():
        yield RerankRequest("q", ["a"], 0)
        await asyncio.Event().wait()

    async with many(calls, slow()) as outcomes:
        await settle()
        calls.close(0)
        assert (await anext(outcomes)).request.id == 0
        with pytest.raises(ClientClosedError):
            await anext(outcomes)


async def test_what_is_no_exception_ends_the_run_at_once(calls, ordered):
    class Abort(BaseException):
        pass

    async with many(calls, Producer().now(), ordered=ordered) as outcomes:
        await settle()
        calls.fail(1, Abort())
        with pytest.raises(Abort):
            await anext(outcomes)
    assert not others()


async def test_a_call_that_fails_while_it_is_ended_leaves_no_complaint():
    async def run(_):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError from None

    async with RerankMany(run, Producer(3).now(), lambda: None, ordered=False, max_in_flight=3):
        await settle()
    assert not others()


async def test_a_feeding_task_that_was_cancelled_from_outside_does_not_hang_the_reader(calls):
    async with many(calls, Producer().now()) as outcomes:
        await settle()
        next(task for task in others() if task.get_name() == "rerank_async requests").cancel()
        for number in range(3):
            calls.answer(number)
        for _ in range(3):
            await anext(outcomes)
        with pytest.raises(ClientStateError, match="was cancelled"):
            await anext(outcomes)


# Generators


async def test_a_generator_is_closed_in_the_task_that_read_it(calls, kind):
    producer = Producer()
    generator = producer.of(kind)
    async with many(calls, generator) as outcomes:
        await settle()
        feeder = next(task for task in others() if task.get_name() == "rerank_async requests")
        calls.answer(0)
        async for _ in outcomes:
            break
    assert producer.asked == 3
    if kind == "async":
        assert producer.read_in is feeder
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
    else:
        assert producer.closed_in is feeder
        assert next(generator, None) is None


async def test_an_iterator_that_is_no_generator_stays_the_callers(calls):
    iterator = iter([RerankRequest("q", ["a"], number) for number in range(10)])
    async with many(calls, iterator) as outcomes:
        await settle()
        calls.answer(0)
        await anext(outcomes)
        await outcomes.aclose()
        assert next(iterator).id == 3


async def test_what_a_producer_raises_while_it_is_ended_comes_out_of_closing(calls):
    async def producer():
        try:
            yield RerankRequest("q", ["a"], 0)
            await asyncio.Event().wait()
        finally:
            raise OSError("cannot be closed")

    outcomes = many(calls, producer())
    await outcomes.__aenter__()
    await settle()
    with pytest.raises(OSError, match="cannot be closed"):
        await outcomes.aclose()
    await outcomes.aclose()
    assert not others()


async def test_a_producer_that_ignores_its_cancellation_is_not_asked_again(calls):
    asked = 0

    async def producer():
        nonlocal asked
        while True:
            asked += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield RerankRequest("q", ["a"], asked)

    async with many(calls, producer()):
        await settle()
    assert asked == 1
    assert calls.started == []
    assert not others()


async def test_a_producer_may_close_the_run_that_reads_it(calls):
    async def producer():
        yield RerankRequest("q", ["a"], 0)
        await outcomes.aclose()
        yield RerankRequest("q", ["a"], 1)

    outcomes = many(calls, producer())
    async with outcomes:
        with pytest.raises(ClientStateError, match="was closed while it was iterated"):
            await anext(outcomes)
    assert calls.started == [0]
    assert not others()


# Arguments


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"requests": 5}, "requests must be an iterable or async iterable of RerankRequest, not int"),
        ({"requests": None}, "not NoneType"),
        ({"requests": RerankRequest("q", ["a"])}, "not RerankRequest"),
        ({"max_in_flight": 0}, "max_in_flight must be at least 1, not 0"),
        ({"max_in_flight": -1}, "max_in_flight must be at least 1"),
        ({"max_in_flight": 1.5}, "max_in_flight must be an int, not float"),
        ({"max_in_flight": True}, "max_in_flight must be an int, not bool"),
        ({"ordered": 1}, "ordered must be True or False, not int"),
    ],
    ids=["int", "none", "a request", "zero", "negative", "float", "bool", "ordered"],
)
def test_wrong_arguments_are_named_at_once(calls, change, words):
    (name,) = change
    with pytest.raises(ValueError, match=words) as caught:
        many(calls, **{"requests": [], **change})
    assert caught.value.argument == name


def test_a_request_shows_its_id_and_no_text():
    request = RerankRequest("the secret query", ["a secret passage"], id="row 7")
    outcome = RerankOutcome(request, None, ClientStateError("x"))
    assert "row 7" in repr(outcome)
    assert "secret" not in repr(outcome)
    assert (request.query, request.inputs, request.params) == ("the secret query", ["a secret passage"], None)
