"""Who asks, as a digest: tokens are shared by it, and it does not tell the secret."""

from __future__ import annotations

from hashlib import pbkdf2_hmac, sha256

from rerank_async.values.secret import Secret

_ROUNDS = 20_000  # of PBKDF2: some 10 ms once for each client, against guessing passwords from a store that leaked


def digest(*parts: str | Secret) -> str:
    """The same for the same parts in the same order; for keys and tokens, which nobody can guess."""
    whole = sha256()
    for part in parts:
        data = (part if isinstance(part, str) else part.reveal()).encode()
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return whole.hexdigest()


def password_digest(password: Secret, *parts: str) -> str:
    """As `digest`, for a password, which may be guessed: each guess takes its time."""
    salt = digest(*parts).encode()
    return pbkdf2_hmac("sha256", password.reveal().encode(), salt, _ROUNDS).hex()
