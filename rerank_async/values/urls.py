"""Addresses of services: normalised, and refused where a token would travel in the clear."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.secret import Secret, kind_of


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """The host of a normalised URL, in lower case, without brackets and port."""
    return urlsplit(url).hostname or ""


def normal_url(url: object, argument: str) -> str:
    """An http(s) URL without a slash at its end, query or fragment.

    Raises:
        InvalidArgumentError: No scheme, another scheme, no host, a bad port, or a user name inside.
        InvalidTypeError: Not a str.
    """
    url = Secret.of(url)  # so that this frame shows no key that was given inside of it
    if not isinstance(url, Secret):
        raise InvalidTypeError(f"{argument} must be a str, not {kind_of(url)}", argument=argument)
    if "@" in url.reveal().partition("?")[0]:
        raise InvalidArgumentError(
            f"{argument} holds a user name or password; leave it out and use api_key= or token=", argument=argument
        )
    if not _is_plain(url.reveal().strip()):
        raise InvalidArgumentError(f"{argument} holds characters that an address cannot have", argument=argument)
    if not _may_be_address(url.reveal()):  # perhaps a key in the wrong place: not shown
        raise InvalidArgumentError(
            f"{argument} has no scheme and is not an address such as https://us-south.ml.cloud.ibm.com",
            argument=argument,
        )
    text = url.reveal().strip().partition("#")[0].partition("?")[0]
    if "://" not in text:
        raise InvalidArgumentError(
            f"{argument} {text!r} has no scheme; did you mean 'https://{text}'?", argument=argument
        )
    parts = _split(text, argument)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidArgumentError(
            f"{argument} {text!r} is not an address such as https://us-south.ml.cloud.ibm.com", argument=argument
        )
    return parts.geturl().rstrip("/")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _may_be_address(text: str) -> bool:
    return "://" in text or "." in text or "localhost" in text


def _split(text: str, argument: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as exc:
        raise InvalidArgumentError(f"{argument} {text!r} is not an address: {exc}", argument=argument) from exc
    return parts


def check_scheme(url: str, argument: str, allow_http_hosts: Collection[str]) -> None:
    """Refuses plain http, except to loopback and to the hosts that the caller named.

    Raises:
        InvalidArgumentError: The address is plain http to another host.
    """
    host = host_of(url)
    if url.startswith("https://") or is_loopback(host) or host in allow_http_hosts:
        return
    raise InvalidArgumentError(
        f"{argument} {url!r} is plain http, so the token would travel in the clear. Use https://, "
        f"or allow_http_hosts=({host!r},) where the network in between is your own",
        argument=argument,
    )
