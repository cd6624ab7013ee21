"""The server's side of TLS: a certificate and its key from two PEM files, or a context that the caller made."""

from __future__ import annotations

import os
import ssl
from typing import Final

Path = str | os.PathLike[str]

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"  # of every kind: PKCS#8, RSA, EC
# The reasons OpenSSL 3 gives for a key of another certificate; the last if it is also of another kind (RSA, EC).
_MISMATCHES: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_ENCRYPTED: Final = b"ENCRYPTED"  # both "ENCRYPTED PRIVATE KEY" and "Proc-Type: 4,ENCRYPTED"


def server_context(
    tls_cert: Path | None,
    tls_key: Path | None,
    ssl_context: ssl.SSLContext | None = None,
    *,
    names: tuple[str, str] = ("tls_cert", "tls_key"),
) -> ssl.SSLContext | None:
    """Give the context that a server listens with; None for plain HTTP.

    Args:
        tls_cert: A PEM file: the server's certificate first, then those of the authorities between it and the root.
        tls_key: A PEM file: the private key of that certificate, without a passphrase. May be the same file.
        ssl_context: Instead of both; for everything else, such as a key with a passphrase.
        names: What the messages call the two files.

    Raises:
        ValueError: One file without the other, or beside a context; a file that is missing, that cannot be read, that
            is not PEM or holds something else; a key that does not fit the certificate; a client's context.
        TypeError: A path that is none, or a context that is none.
    """
    if ssl_context is not None:
        _check_context(ssl_context, alone=tls_cert is None and tls_key is None)
        return ssl_context
    if tls_cert is None and tls_key is None:
        return None
    cert, key = names
    if tls_key is None:
        raise ValueError(f"{cert} needs {key}, the PEM file of its private key (the same file, if it holds both)")
    if tls_cert is None:
        raise ValueError(f"{key} needs {cert}, the PEM file of the certificate that it belongs to")
    _check_certificate(_content(tls_cert, cert, "a certificate"), f"{cert} {os.fspath(tls_cert)!r}", names)
    _check_key(_content(tls_key, key, "a private key"), f"{key} {os.fspath(tls_key)!r}")
    return _loaded(tls_cert, tls_key, f"{cert} {os.fspath(tls_cert)!r} and {key} {os.fspath(tls_key)!r}")


def _check_context(context: object, *, alone: bool) -> None:
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context is an ssl.SSLContext, not {type(context).__name__}")
    if not alone:
        raise ValueError("ssl_context is given beside tls_cert or tls_key: it brings its own certificate")
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(
            "ssl_context is a client's: make one with ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) "
            "and load_cert_chain"
        )


def _content(path: Path, name: str, wanted: str) -> bytes:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} is the path of a PEM file, not {type(path).__name__}")
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any os.PathLike will do
            return file.read()
    except OSError as exc:
        raise ValueError(
            f"{name} {os.fspath(path)!r} cannot be read: {exc.strerror or exc}; a PEM file with {wanted} was expected"
        ) from exc


def _check_certificate(content: bytes, what: str, names: tuple[str, str]) -> None:
    if _CERTIFICATE in content:
        return
    if _KEY in content:
        raise ValueError(
            f"{what} holds a private key and no certificate; are {' and '.join(names)} the wrong way round?"
        )
    raise ValueError(f"{what} is no PEM file with a certificate: it has no line {_CERTIFICATE.decode()!r}")


def _check_key(content: bytes, what: str) -> None:
    if _KEY in content:
        # Without this check OpenSSL would ask for the passphrase on the terminal and wait.
        if _ENCRYPTED in content:
            raise ValueError(f"{what} has a passphrase: give a key without one, or an ssl_context that has loaded it")
        return
    if _CERTIFICATE in content:
        raise ValueError(f"{what} holds a certificate and no private key")
    raise ValueError(f"{what} is no PEM file with a private key: it has no line '-----BEGIN PRIVATE KEY-----'")


def _loaded(tls_cert: Path, tls_key: Path, files: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls_cert, tls_key)
    except ssl.SSLError as exc:
        if exc.reason in _MISMATCHES:
            raise ValueError(f"{files} do not belong together: the key is that of another certificate") from exc
        raise ValueError(f"{files} cannot be used, one of them is damaged: {_words(exc)}") from exc
    return context


def _words(exc: ssl.SSLError) -> str:
    return (exc.reason or str(exc)).replace("_", " ").lower()
