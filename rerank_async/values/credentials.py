"""Who asks, and where: `Credentials`, and what the environment says of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.checks import check_encodable, suggestion
from rerank_async.values.secret import SealedBytes, Secret
from rerank_async.values.urls import normal_url

if TYPE_CHECKING:
    import ssl

_FIELDS = ("url", "api_key", "token", "auth_url", "verify")
_OPEN = frozenset({"url", "auth_url", "verify"})
_URL_NAMES = ("WATSONX_URL",)
_KEY_NAMES = ("WATSONX_APIKEY", "WATSONX_API_KEY")
_TOKEN_NAMES = ("WATSONX_TOKEN",)


@attrs.frozen(kw_only=True, init=False, repr=False)
class Credentials:
    """Where the service is and how to authenticate there.

    Attributes:
        url: The service, such as ``https://us-south.ml.cloud.ibm.com``.
        api_key: An IBM Cloud API key. It is exchanged for a token, which is shared and renewed.
        token: A bearer token from elsewhere. It is used as it is and cannot be renewed here. With both, the token
            wins, as in IBM's SDK.
        auth_url: The whole address of the token endpoint, where it is not the default one. The default is IBM Cloud's
            IAM; for a loopback ``url`` it is ``/identity/token`` on the same server.
        verify: How TLS certificates are checked: True or None: by the default trust store; a path: by that CA file or
            folder; an ``ssl.SSLContext``; False: not at all. The ``verify`` argument of a client wins over it.

    Raises:
        InvalidArgumentError: The URL is not one, or a secret is empty.
        InvalidTypeError: A field has the wrong type.
    """

    url: str
    api_key: Secret | None
    token: Secret | None
    auth_url: str | None
    verify: bool | str | os.PathLike[str] | ssl.SSLContext | None

    def __init__(
        self,
        url: str,
        api_key: str | Secret | None = None,
        token: str | Secret | None = None,
        *,
        auth_url: str | None = None,
        verify: bool | str | os.PathLike[str] | ssl.SSLContext | None = None,
    ) -> None:
        # First of all, so that no frame that can raise holds a secret in the clear.
        api_key, token = Secret.of(api_key), Secret.of(token)  # type: ignore[assignment]
        self.__attrs_init__(
            url=normal_url(url, "credentials.url"),
            api_key=_secret(api_key, "api_key"),
            token=_secret(token, "token"),
            auth_url=None if auth_url is None else normal_url(auth_url, "credentials.auth_url"),
            verify=verify,
        )

    def __repr__(self) -> str:
        # Tracebacks with locals show objects whose constructor failed half-way.
        shown = {name: getattr(self, name, None) for name in _FIELDS}
        return f"Credentials({', '.join(f'{name}={value!r}' for name, value in shown.items() if value is not None)})"

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Credentials:
        """From a mapping with the names of the fields; ``apikey`` is taken for ``api_key``.

        Raises:
            InvalidArgumentError: A name is unknown, ``url`` is missing, or both spellings of the key are given.
        """
        fields = sealed(fields)
        if not isinstance(fields, Mapping):
            raise InvalidTypeError(
                f"credentials must be a Credentials or a dict, not {type(fields).__name__}", argument="credentials"
            )
        values = dict(fields)
        if "apikey" in values:
            if values.get("api_key") is not None:
                raise InvalidArgumentError("credentials: both 'api_key' and 'apikey' are given", argument="credentials")
            values["api_key"] = values.pop("apikey")
        for name in values:
            if name not in _FIELDS:
                raise InvalidArgumentError(
                    f"credentials: unknown name {name!r}; {suggestion(str(name), _FIELDS)}", argument="credentials"
                )
        if values.get("url") is None:
            raise InvalidArgumentError("credentials: 'url' is missing", argument="credentials")
        return cls(**values)

    @classmethod
    def from_env(cls) -> Credentials:
        """From ``WATSONX_URL`` and one of ``WATSONX_APIKEY``, ``WATSONX_API_KEY``, ``WATSONX_TOKEN``.

        A key from the environment wins over a token from the environment, as in IBM's SDK: only the key can be renewed.

        Raises:
            InvalidArgumentError: Something is missing; the message names what was looked for and what was found.
        """
        url, api_key, token = _lookup(_URL_NAMES), _lookup(_KEY_NAMES), _lookup(_TOKEN_NAMES)
        if url is None or (api_key is None and token is None):
            names = _URL_NAMES + _KEY_NAMES + _TOKEN_NAMES
            found = [name for name in names if os.environ.get(name)]
            raise InvalidArgumentError(
                "No credentials: give credentials=, or set WATSONX_URL and one of WATSONX_APIKEY, WATSONX_API_KEY, "
                f"WATSONX_TOKEN. Found in the environment: {', '.join(found) or 'none of them'}",
                argument="credentials",
            )
        return cls(url.reveal(), api_key, None if api_key is not None else token)


def _lookup(names: tuple[str, ...]) -> Secret | None:
    for name in names:
        if os.environ.get(name):
            return Secret(os.environ[name])
    return None


def _secret(value: object, name: str) -> Secret | None:
    if value is None:
        return None
    if not isinstance(value, Secret):
        kind = "bytes" if isinstance(value, SealedBytes) else type(value).__name__
        raise InvalidTypeError(f"credentials.{name} must be a str, not {kind}", argument=name)
    stripped = Secret(value.reveal().strip())  # keys are often read from files that end with a newline
    if not stripped:
        raise InvalidArgumentError(f"credentials.{name} is empty", argument=name)
    if not stripped.reveal().isascii() or not stripped.reveal().isprintable():
        raise InvalidArgumentError(
            f"credentials.{name} holds characters that cannot be sent in a header", argument=name
        )
    return stripped


def sealed(credentials: Any) -> Any:
    """Credentials as the caller gave them, with each secret of a dict wrapped. Never raises.

    A function that was handed a dict calls this first and keeps only what it returns, so that its frame shows no secret
    in a traceback with locals.
    """
    if not isinstance(credentials, Mapping):
        return credentials
    return {name: value if name in _OPEN else Secret.of(value) for name, value in credentials.items()}


def project_or_space(project_id: str | None, space_id: str | None) -> tuple[str | None, str | None]:
    """The one of project and space that holds; neither argument given: from the environment.

    Raises:
        InvalidArgumentError: Both, or neither.
        InvalidTypeError: Not a str.
    """
    given = ("project_id", "space_id")
    if project_id is None and space_id is None:
        given = ("WATSONX_PROJECT_ID", "WATSONX_SPACE_ID")
        project_id, space_id = (os.environ.get(name) or None for name in given)
        if project_id is None and space_id is None:
            raise InvalidArgumentError(
                "Neither project_id nor space_id is given: pass one of them, "
                "or set WATSONX_PROJECT_ID or WATSONX_SPACE_ID",
                argument="project_id",
            )
    for name, value in zip(("project_id", "space_id"), (project_id, space_id), strict=True):
        if value is not None and not isinstance(value, str):
            raise InvalidTypeError(f"{name} must be a str, not {type(value).__name__}", argument=name)
        if value is not None and not value.strip():
            raise InvalidArgumentError(f"{name} is empty", argument=name)
        if value is not None:
            check_encodable(value, name, None)
    if project_id is not None and space_id is not None:
        raise InvalidArgumentError(f"Both {given[0]} and {given[1]} are given; keep one of them", argument="space_id")
    return project_id, space_id
