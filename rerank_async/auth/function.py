"""A function of the caller's that returns a token."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

import attrs

from rerank_async.auth.grant import TokenGrant
from rerank_async.auth.lifetimes import Moment, life_of
from rerank_async.errors import AuthenticationError, InvalidArgumentError
from rerank_async.values.secret import Secret

_LEAST_UNIX_TIME = 1e9  # 2001; a smaller number is a length of time
_EXPIRY = "a datetime, a timedelta from now, or a Unix time"


class NotAToken:
    """Stands for what a function returned in place of a token. It is not kept: the error needs only its type."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"NotAToken({self.kind!r})"


@attrs.frozen(eq=False)
class GivenFunction:
    """The function, and how it is called.

    Attributes:
        argument: The field of the credentials that holds it.
        function: Returns a token, or an awaitable of one.
        in_thread: Whether it may block, and so is called in a thread.
    """

    name: ClassVar[str] = "function"
    url: ClassVar[str] = ""
    advice: ClassVar[str | None] = None

    argument: str
    function: Callable[..., Any] = attrs.field(repr=False)
    in_thread: bool

    def arguments(self) -> tuple[None, ...]:
        """What it is called with: None where it wants the client that IBM's SDK hands in, for there is none here.

        Raises:
            InvalidArgumentError: It wants more.
        """
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):  # of some built-in functions
            return ()
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        wanted = [each for each in parameters if each.default is each.empty and each.kind in positional]
        named = [each.name for each in parameters if each.default is each.empty and each.kind is each.KEYWORD_ONLY]
        if len(wanted) > 1 or named:
            raise InvalidArgumentError(
                f"credentials.{self.argument} must be callable with no argument or one, but wants "
                f"{', '.join([each.name for each in wanted] + named)}",
                argument=self.argument,
            )
        return (None,) * len(wanted)

    def failed(self, exc: BaseException) -> AuthenticationError:
        """The error for one that it raised. Its words are left out: they may hold a secret."""
        hint = " (it was called with None: there is no client to hand in here)" if self.arguments() else ""
        return AuthenticationError(f"no token: credentials.{self.argument} raised {type(exc).__name__}{hint}")

    def parse(self, result: object, at: float) -> TokenGrant:
        """The token in what it returned.

        Args:
            result: By `sealed_result`.
            at: Now, in Unix time.

        Raises:
            AuthenticationError: It is not a token, or one that has already expired.
        """
        token, expiry = result if isinstance(result, tuple) else (result, None)
        bare = Secret(token.reveal().strip().removeprefix("Bearer").strip()) if isinstance(token, Secret) else None
        if not bare:
            kind = token.kind if isinstance(token, NotAToken) else "an empty str"
            raise self._refused(f"returned {kind}, not a token: a str, or a pair of a str and its expiry")
        if not bare.reveal().isascii() or not bare.reveal().isprintable() or " " in bare.reveal():
            raise self._refused("returned a token that no header can carry")
        seconds = expiry.total_seconds() if isinstance(expiry, timedelta) else None
        moment = Moment(at, "this machine's clock")
        life = life_of(bare, moment, expires_in=seconds, expires_at=self._unix_time(expiry))
        if life.problem is not None:
            raise self._refused(f"returned a token that {life.problem}")
        return TokenGrant(Secret("Bearer " + bare.reveal()), life.seconds, self.name)

    def _unix_time(self, expiry: object) -> float | None:
        if expiry is None or isinstance(expiry, timedelta):
            return None
        if isinstance(expiry, datetime):
            try:
                return expiry.timestamp()  # one without a zone is in local time, as in IBM's SDK
            except (ValueError, OverflowError, OSError):
                raise self._refused("returned an expiry that is too far away") from None
        if isinstance(expiry, bool) or not isinstance(expiry, int | float):
            kind = "str" if isinstance(expiry, Secret) else type(expiry).__name__
            raise self._refused(f"returned an expiry of type {kind}: give {_EXPIRY}")
        if not expiry >= _LEAST_UNIX_TIME:
            raise self._refused(f"returned an expiry that is a number and no Unix time: give {_EXPIRY}")
        return float(expiry)

    def _refused(self, words: str) -> AuthenticationError:
        return AuthenticationError(f"no token: credentials.{self.argument} {words}")


def sealed_result(result: object) -> object:
    """What a function returned, with the token wrapped: a Secret, a pair of one and its expiry, or `NotAToken`.

    Objects with ``token`` and ``expiration_datetime``, as IBM's SDK has them, count as pairs.
    """
    if isinstance(result, str):
        return Secret(result)
    if isinstance(result, tuple | list) and len(result) == 2:
        return (Secret(result[0]) if isinstance(result[0], str) else NotAToken(type(result[0]).__name__)), Secret.of(
            result[1]
        )
    token = getattr(result, "token", None)
    if isinstance(token, str):
        return Secret(token), Secret.of(getattr(result, "expiration_datetime", None))
    return NotAToken(type(result).__name__)
