"""The arguments of `AsyncAPIClient`: checked, and turned into what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from multidict import CIMultiDict

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.limiter import Limiter
from rerank_async.policy.limiting import LearningLimiter
from rerank_async.values.checks import header_fields
from rerank_async.values.contract import API_VERSION
from rerank_async.values.credentials import Credentials
from rerank_async.values.options import LimitOptions
from rerank_async.values.version import USER_AGENT

_T = TypeVar("_T")

BASE_HEADERS: Mapping[str, str] = {"Accept": "application/json", "User-Agent": USER_AGENT}


def as_credentials(credentials: Credentials | Mapping[str, Any] | None) -> Credentials:
    """The credentials; None: from the environment.

    Raises:
        InvalidArgumentError: They lack something.
    """
    if isinstance(credentials, Credentials):
        return credentials
    return Credentials.from_env() if credentials is None else Credentials.from_dict(credentials)


def trusted(trust_env: object, session: object) -> bool:
    """Whether proxies are read from the environment; None: yes, unless a session is given."""
    if trust_env is None:
        return session is None
    if not isinstance(trust_env, bool):
        raise InvalidTypeError(f"trust_env must be True or False, not {type(trust_env).__name__}", argument="trust_env")
    return trust_env


def headers_with(extra_headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """The headers of every request to the service."""
    return merged_headers(BASE_HEADERS, {} if extra_headers is None else header_fields(extra_headers))


class RequestHeaders(CIMultiDict[str]):
    """Headers as aiohttp wants them, so that they are not converted for each request. Its repr shows the names alone."""

    def __repr__(self) -> str:
        return f"RequestHeaders({', '.join(self)})"


def merged_headers(headers: Mapping[str, str], others: Mapping[str, str]) -> Mapping[str, str]:
    """Both, the others winning whatever their case."""
    merged = RequestHeaders(headers)
    merged.update(others)
    return merged


def option(value: _T | None, kind: type[_T], argument: str) -> _T:
    """The options; those of the default for None.

    Raises:
        InvalidTypeError: They are something else.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InvalidTypeError(f"{argument} must be a {kind.__name__}, not {type(value).__name__}", argument=argument)
    return value


_LIMITER_NAMES = tuple(name for name in vars(Limiter) if not name.startswith("_")) + tuple(Limiter.__annotations__)


def limiter_of(limits: LimitOptions, limiter: Limiter | None) -> Limiter:
    """The limiter that was given, or one of our own.

    Raises:
        InvalidTypeError: It is no limiter; the message names what it lacks.
        InvalidArgumentError: ``limits`` sets what the given limiter decides.
    """
    if limiter is None:
        return LearningLimiter(limits.requests_per_second, limits.burst, limits.share)
    missing = sorted({name for name in _LIMITER_NAMES if not hasattr(limiter, name)})
    if missing:
        raise InvalidTypeError(
            f"limiter must have what the protocol Limiter lists; a {type(limiter).__name__} has no {missing[0]}",
            argument="limiter",
        )
    plain = LimitOptions()
    for name in ("requests_per_second", "burst", "share"):
        if getattr(limits, name) != getattr(plain, name):
            raise InvalidArgumentError(
                f"limiter decides what LimitOptions.{name} would set; give only one of them", argument="limiter"
            )
    return limiter


def origin_of(url: str, credentials: Credentials) -> str:
    """The field that an address which gets secrets comes from."""
    names = ("auth_url", "bedrock_url")
    found = (name for name in names if (given := getattr(credentials, name)) is not None and url.startswith(given))
    return f"credentials.{next(found, 'url')}"


def checked_store(tokens: object) -> Any:
    """The token store that was given.

    Raises:
        InvalidTypeError: It lacks a method.
    """
    if tokens is not None and not all(callable(getattr(tokens, name, None)) for name in ("get", "put", "drop")):
        raise InvalidTypeError(
            f"tokens must be a MemoryTokenStore, or have its get, put and drop, not {type(tokens).__name__}",
            argument="tokens",
        )
    return tokens


def checked_version(value: object) -> str:
    """The date of the REST API.

    Raises:
        InvalidArgumentError: It is not one.
    """
    if not isinstance(value, str) or len(value) != 10 or not value.replace("-", "").isdigit():
        raise InvalidArgumentError(
            f"api_version must be a date such as {API_VERSION!r}, not {value!r}", argument="api_version"
        )
    return value
