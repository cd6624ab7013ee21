"""How certificates are checked: what ``verify`` may be, and the context that it becomes."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from pathlib import Path

from rerank_async.errors import InvalidArgumentError, InvalidTypeError

Verify = bool | str | os.PathLike[str] | ssl.SSLContext | None

_CERTIFICATE_FILE = re.compile(r".*\.(pem|crt|cer)|[0-9a-f]{8}\.[0-9]+", re.IGNORECASE)
"""Names that a folder of CA certificates may have: as people name them, or as OpenSSL's ``c_rehash`` does."""


def checked_verify(verify: Verify) -> Verify:
    """What was given, if it can be used. Files are read later, when a connection needs them.

    Raises:
        InvalidArgumentError: There is no such file or folder.
        InvalidTypeError: Anything else.
    """
    if verify is None or isinstance(verify, bool | ssl.SSLContext):
        return verify
    if not isinstance(verify, str | os.PathLike):
        raise InvalidTypeError(
            f"verify must be True, False, a path or an ssl.SSLContext, not {type(verify).__name__}", argument="verify"
        )
    if not Path(verify).exists():
        raise InvalidArgumentError(
            f"verify: there is no file or folder {os.fspath(verify)!r}; give a CA file (PEM) or a folder of them",
            argument="verify",
        )
    return verify


def ssl_of(verify: Verify) -> ssl.SSLContext | bool:
    """The value for a connector.

    Raises:
        InvalidArgumentError: A file that is not a CA file, or a folder without one.
    """
    if verify is None or isinstance(verify, bool | ssl.SSLContext):
        return True if verify is None else verify
    path = Path(verify)
    try:
        return _of_folder(path) if path.is_dir() else ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError) as exc:
        raise InvalidArgumentError(
            f"verify: {os.fspath(path)!r} is not a readable CA file (PEM): {exc}", argument="verify"
        ) from exc


def _of_folder(path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(capath=path)
    # OpenSSL looks up nothing in a folder but hashed names; people's own names are read here.
    for file in sorted(path.iterdir()):
        if _CERTIFICATE_FILE.fullmatch(file.name):
            with contextlib.suppress(ssl.SSLError):  # a key, perhaps
                context.load_verify_locations(cafile=file)
    if not context.cert_store_stats()["x509"]:
        raise InvalidArgumentError(
            f"verify: no file in the folder {os.fspath(path)!r} is a CA certificate (PEM, named *.pem, *.crt or *.cer)",
            argument="verify",
        )
    return context
