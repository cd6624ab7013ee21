"""What a client did in a situation, read from its answer and from what the server saw. Not judged: reported."""

from collections import Counter

QUESTIONS = {
    "refused once": "a 429 with Retry-After: 1 on the first request",
    "unsorted": "an answer whose results are not sorted",
    "too many": "1,001 inputs, one more than a request may carry",
    "unknown authority": "https with a certificate of an authority that it was not told of",
}
"""What the situation is, by its name."""


def habits_of(answers, servers):
    """Say in a few words what the client did in each situation.

    Args:
        answers: By situation: ``{"results": pairs}`` or ``{"error": words}``.
        servers: By situation.

    Returns:
        Words by situation.
    """
    return {
        "refused once": _refused(answers["refused once"], servers["refused once"]),
        "unsorted": _unsorted(answers["unsorted"]),
        "too many": _too_many(answers["too many"], servers["too many"]),
        "unknown authority": _unknown(servers["unknown authority"]),
    }


def _refused(answer, server):
    again = server.counts.rerank - 1
    tried = f"asked again {again}x" if again else "not asked again"
    return f"{tried}, {_outcome(answer)}"


def _unsorted(answer):
    if "error" in answer:
        return _outcome(answer)
    scores = [score for _, score in answer["results"]]
    return "sorted" if scores == sorted(scores, reverse=True) else "handed on unsorted"


def _too_many(answer, server):
    statuses = Counter(arrival.status for arrival in server.requests)
    requests = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return f"{requests}: {_outcome(answer)}"


def _unknown(server):
    if server.counts.token_requests:
        return "went on unchecked, sent the key" + (" and the texts" if server.counts.rerank else "")
    return "refused, sent nothing"


def _outcome(answer):
    return answer["error"].partition(":")[0] if "error" in answer else "answered"
