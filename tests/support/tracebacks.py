"""What a debugger or an error reporter would see of an exception."""

import traceback
from collections.abc import Iterator


def with_locals(exc: BaseException) -> str:
    """The messages, and the locals of the package's own frames (the test's frame holds the secret by itself)."""
    return "\n".join(line for link in _chain(exc) for line in (str(link), *_locals(link)))


def python_s_own(exc: BaseException) -> str:
    """The same by the standard library, which stops at an object whose repr raises (Python 3.11 and 3.12)."""
    return "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _locals(exc: BaseException) -> Iterator[str]:
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        name = frame.f_code.co_filename
        if "/rerank_async/" in name or "attrs generated" in name:
            yield from (f"{key} = {_shown(value)}" for key, value in frame.f_locals.items())


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001 - whatever a repr may raise
        return f"<{type(exc).__name__} in repr>"
