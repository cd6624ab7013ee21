"""The server's tokens: issued for an API key, good for a while, revocable. Pure: the caller gives the time."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, Literal

Standing = Literal["valid", "expired", "unknown"]


def _segment(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def dead_token(unix_now: float) -> str:
    """Give a token whose own words say that it expired an hour before `unix_now`. No issuer knows it."""
    return TokenIssuer(0).issue(0, unix_now - 3600)


class TokenIssuer:
    """Remembers the tokens that it issued, with their end on a monotonic clock.

    Args:
        lifetime: Seconds for which a token is good unless `issue` is told otherwise.
        zen_pair: A Cloud Pak's user name and API key, which are a token by themselves; None: there is no such one.
    """

    # A test that lets tokens expire thousands of times should not grow without end; a forgotten token is "unknown".
    _REMEMBERED: Final = 10_000

    def __init__(self, lifetime: float, zen_pair: tuple[str, str] | None = None) -> None:
        self.lifetime = lifetime
        self._zen_pair = zen_pair
        self._expires_at: dict[str, float] = {}

    def issue(
        self, now: float, unix_now: float, lifetime: float | None = None, claims: Mapping[str, Any] | None = None
    ) -> str:
        """Make a token.

        Args:
            now: Seconds on the monotonic clock that `standing` is asked with.
            unix_now: Seconds since 1970, for the token's own ``iat`` and ``exp``.
            lifetime: Seconds; None: the issuer's; 0: expired at once.
            claims: Further fields of the payload.

        Returns:
            Three segments joined by dots, as a JWT: IBM's Python SDK sends a token without dots as ``Basic``.
        """
        life = self.lifetime if lifetime is None else lifetime
        payload = {
            "iss": "local",
            "sub": "local-user",
            "iat": int(unix_now),
            "exp": int(unix_now + life),
            **(claims or {}),
        }
        token = f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(payload)}.{secrets.token_urlsafe(16)}"
        self._expires_at[token] = now + life
        while len(self._expires_at) > self._REMEMBERED:
            del self._expires_at[next(iter(self._expires_at))]
        return token

    def standing(self, token: str, now: float) -> Standing:
        """Say whether a token is good at `now`."""
        expires_at = self._expires_at.get(token)
        if expires_at is None:
            return "unknown"
        return "valid" if now < expires_at else "expired"

    def is_zen_key(self, token: str) -> bool:
        """Say whether this is ``base64("user:key")`` of the pair."""
        if self._zen_pair is None:
            return False
        ours = base64.b64encode(":".join(self._zen_pair).encode()).decode()
        return hmac.compare_digest(token.encode("utf-8", "replace"), ours.encode())

    def revoke(self, now: float) -> None:
        """Let every token that is out expire now."""
        self._expires_at = {token: min(end, now) for token, end in self._expires_at.items()}
