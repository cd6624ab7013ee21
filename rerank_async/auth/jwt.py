"""What a token says of itself, if it is a JWT. Nothing is verified: that is for the service to do."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from math import isfinite
from typing import Any, NamedTuple

from rerank_async.policy.json_codec import codec
from rerank_async.values.secret import Secret


class Claims(NamedTuple):
    """The claims that matter here; None where the token does not say, or is no JWT.

    Attributes:
        expires_at: Unix time, ``exp``.
        issued_at: Unix time, ``iat``.
        kind: IAM's ``sub_type``: ``"Profile"`` for the token of a trusted profile.
    """

    expires_at: float | None = None
    issued_at: float | None = None
    kind: str | None = None


def claims_of(token: Secret) -> Claims:
    """Reads a token; never raises."""
    payload = _payload(token)
    if payload is None:
        return Claims()
    kind = payload.get("sub_type")
    return Claims(number_in(payload, "exp"), number_in(payload, "iat"), kind if isinstance(kind, str) else None)


def is_jwt(token: Secret) -> bool:
    """Whether it has the form of one."""
    return _payload(token) is not None


def _payload(token: Secret) -> dict[str, Any] | None:
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        data = codec().loads(
            urlsafe_b64decode(parts[1].replace("+", "-").replace("/", "_") + "=" * (-len(parts[1]) % 4))
        )
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def number_in(data: dict[str, Any], name: str) -> float | None:
    """A finite number under a name; None: there is none."""
    value = data.get(name)
    if type(value) not in {int, float}:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if isfinite(number) else None
