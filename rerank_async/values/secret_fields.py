"""Validators of the fields of credentials: each names the field, and never shows a value that may be a secret."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.secret import Secret, kind_of

_QUOTES = ('"', "'")


def header_secret(value: object, name: str) -> Secret | None:
    """A key or token that a header can carry, without the white space around it: files often end with a newline.

    Raises:
        InvalidArgumentError: It is empty, or cannot be one.
        InvalidTypeError: Not a str.
    """
    secret = _secret(value, name)
    if secret is None:
        return None
    stripped = Secret(secret.reveal().strip())
    if not stripped or stripped.reveal() in _SCHEMES:
        raise InvalidArgumentError(f"credentials.{name} is empty", argument=name)
    if not stripped.reveal().isascii() or not stripped.reveal().isprintable():
        raise InvalidArgumentError(
            f"credentials.{name} holds characters that cannot be sent in a header", argument=name
        )
    words = _mistake(stripped, name)
    if words is not None:
        raise InvalidArgumentError(f"credentials.{name} {words}", argument=name)
    return stripped


_SCHEMES = ("Bearer", "Basic", "ZenApiKey")


def _mistake(secret: Secret, name: str) -> str | None:
    """What shows that a value is not what its field holds."""
    if secret.reveal().startswith(_QUOTES) and secret.reveal().endswith(_QUOTES):
        return "is wrapped in quotes; leave them out"
    if secret.reveal().startswith("{") and secret.reveal().endswith("}"):
        return "is JSON: perhaps the whole content of a key file or an answer; give the value inside"
    scheme, _, rest = map(Secret, secret.reveal().partition(" "))
    if name == "api_key" and scheme.reveal() in _SCHEMES and rest:
        return f"begins with {scheme.reveal()!r}, as a token does; give it as token="
    if name == "token" and " " in (rest.reveal().strip() if scheme.reveal() in _SCHEMES else secret.reveal()):
        return "holds a space, as no token does"
    return None


def password_secret(value: object, name: str) -> Secret | None:
    """A password: any text, without the newline of a file.

    Raises:
        InvalidArgumentError: It is empty, or not text that can be sent.
        InvalidTypeError: Not a str.
    """
    secret = _secret(value, name)
    if secret is None:
        return None
    secret = Secret(secret.reveal().rstrip("\r\n"))
    if not secret:
        raise InvalidArgumentError(f"credentials.{name} is empty", argument=name)
    if any(0xD800 <= ord(character) < 0xE000 for character in secret.reveal()):
        raise InvalidArgumentError(
            f"credentials.{name} holds a lone surrogate, which UTF-8 cannot carry", argument=name
        )
    return secret


def _secret(value: object, name: str) -> Secret | None:
    if value is None or isinstance(value, Secret):
        return value
    raise InvalidTypeError(f"credentials.{name} must be a str, not {kind_of(value)}", argument=name)


def open_text(value: object, name: str) -> str | None:
    """A field that is no secret: text that a header can carry.

    Raises:
        InvalidArgumentError: It is empty, or holds characters that are not printable.
        InvalidTypeError: Not a str.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidTypeError(f"credentials.{name} must be a str, not {kind_of(value)}", argument=name)
    text = value.strip()
    if not text:
        raise InvalidArgumentError(f"credentials.{name} is empty", argument=name)
    if not text.isprintable():
        raise InvalidArgumentError(f"credentials.{name} holds characters that are not printable", argument=name)
    return text


def proxy_secrets(value: object) -> Mapping[str, Secret | None] | None:
    """Proxies by scheme, with each address wrapped, as it may hold a password.

    Raises:
        InvalidTypeError: Not a mapping of str to str.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidTypeError(
            f"credentials.proxies must be a dict such as {{'https': 'http://proxy.example:3128'}}, not {kind_of(value)}",
            argument="proxies",
        )
    for name, address in value.items():
        if not isinstance(name, str) or not (address is None or isinstance(address, Secret)):
            raise InvalidTypeError(
                f"credentials.proxies[{name!r}] must be a str, not {kind_of(address)}", argument="proxies"
            )
    return dict(value)
