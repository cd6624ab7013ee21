"""What a test's server went through, in words, for the author of a test that failed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from rerank_async.testing.recording import RecordedRequest
from rerank_async.testing.scores import ScoreError

_MOST = 40  # requests listed; the last ones, as those lead up to the failure


def report(
    url: str,
    requests: Sequence[RecordedRequest],
    token_requests: int,
    waiting: Sequence[str],
    errors: Sequence[ScoreError],
) -> str:
    """Lists requests with their answers, faults that nobody met, and errors of the score function.

    Texts and queries are not shown, tokens are not known.
    """
    lines = [f"{_several(len(requests), 'rerank request')}, {_several(token_requests, 'token request')} at {url}"]
    skipped = max(0, len(requests) - _MOST)
    if skipped:
        lines.append(f"  ... {skipped} earlier ones are not listed")
    lines += [f"  {number}: {_of(each)}" for number, each in enumerate(requests[skipped:], skipped + 1)]
    if not requests:
        lines.append("  nothing was asked for: does the service use the url and the key of this server?")
    if waiting:
        lines += ["faults that no request met:", *(f"  {each}" for each in waiting)]
    if errors:
        lines.append(f"{_several(len(errors), 'error')} of the score function:")
        for error in errors[:_MOST]:
            lines.append(f"  {error}")
            if error.__cause__ is not None:
                words = "".join(traceback.format_exception(error.__cause__))
                lines += [f"    {line}" for line in words.splitlines()]
    return "\n".join(lines)


def _of(request: RecordedRequest) -> str:
    answered = "no answer" if request.status is None else str(request.status)
    fault = f" by the fault {request.fault}" if request.fault is not None else ""
    asked = f"{request.model_id}, {_several(len(request.texts), 'text')}"
    return f"{answered}{fault} ({asked}{f', {dict(request.parameters)}' if request.parameters else ''})"


def _several(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
