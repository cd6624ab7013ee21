"""Drives ways in without a network: `drive` hands each request an answer, and keeps the requests."""

import json
from base64 import urlsafe_b64encode

from support.bodies import as_bytes, exchange_of

from rerank_async.auth.grant import TokenAnswer
from rerank_async.values.secret import Secret

NOON = 1_800_000_000.0  # this machine's clock in these tests, in Unix time


def answer(status, headers, body, at=NOON):
    """An answer as the runtime hands it in; ``body`` is bytes, text, or JSON."""
    data = body if isinstance(body, bytes) else as_bytes(body)
    return TokenAnswer(status, headers, Secret(data.decode("latin-1")), at)


def recorded(name, at=NOON):
    """The answer of a file of ``tests/wire``."""
    return answer(*exchange_of(name), at)


def drive(flow, *answers):
    """The requests of one exchange and its grant. An answer that is an exception is one that did not come."""
    steps = flow.exchange()
    requests = [next(steps)]
    for given in answers:
        try:
            request = steps.throw(given) if isinstance(given, Exception) else steps.send(given)
        except StopIteration as ended:
            return requests, ended.value
        requests.append(request)
    raise AssertionError(f"it asks for more: {requests[-1]}")


def jwt(**claims):
    """A token in the form of a JWT, signed by nobody."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "made-up"])
