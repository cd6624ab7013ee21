"""Who asks, and where: `Credentials`, and what the environment says of them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import attrs

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.checks import check_encodable, suggestion
from rerank_async.values.hosts import service_url, token_endpoint_url
from rerank_async.values.secret import Sealed, Secret, kind_of
from rerank_async.values.secret_fields import header_secret, open_text, password_secret, proxy_secrets

if TYPE_CHECKING:
    import ssl

FLOWS = ("iam", "bearer", "function", "trusted_profile", "cp4d", "cp4d_iam", "zen", "mcsp")
"""The ways in, as ``Credentials(flow=...)`` names them."""

TokenFunction = Callable[..., Any]
AsyncTokenFunction = Callable[..., Awaitable[Any]]

_ADDRESSES = ("url", "auth_url", "bedrock_url")  # keys are given inside of them
_SECRETS = ("api_key", "token", "password", "token_function", "atoken_function")  # tokens are given as functions, too
_OTHER_SERVICES = frozenset(
    {"name", "projects_token", "development", "flight_url", "flight_service_location", "flight_service_port"}
    | {"FLIGHT_SERVICE_LOCATION", "FLIGHT_SERVICE_PORT"}
)
"""What IBM's SDK takes for services that have nothing to do with reranking."""


@attrs.frozen(kw_only=True, init=False, repr=False)
class Credentials:
    """Where the service is and how to authenticate there, with the names of IBM's SDK.

    Which way in is taken, unless ``flow`` says: a token that was given; a token function; for a host that is none of
    IBM Cloud's, Cloud Pak for Data; for one on AWS, its own exchange of an API key; a trusted profile; IBM Cloud's IAM
    by an API key. A loopback ``url``, and an ``auth_url`` with an API key and no user name, mean IAM whatever the host.

    Attributes:
        url: The service, such as ``https://us-south.ml.cloud.ibm.com``.
        api_key: An API key. It is exchanged for a token, which is shared and renewed.
        token: A bearer token from elsewhere. It is used as it is and cannot be renewed here. Beside a key it wins, as
            in IBM's SDK, unless a trusted profile is named.
        username: For Cloud Pak for Data, with a password or an API key.
        password: For Cloud Pak for Data.
        auth_url: The whole address of the token endpoint, where it is not the default one. The default is chosen by
            the host of ``url``; for loopback it is the same server.
        trusted_profile_id: The profile of IBM Cloud to act as, with an API key or a token of who may.
        account_id: The account, for a Cloud Pak with several.
        bedrock_url: The address of the Cloud Pak's foundational services, which have the user names if the IAM
            integration is on. It is guessed from ``url`` if it is not given; the guess may fail without harm.
        version: The release of the Cloud Pak, such as ``"5.1"``: the guess of ``bedrock_url`` depends on it.
        token_function: A function of your own that returns a token, a ``str`` or a pair of a ``str`` and its expiry: a
            datetime, a timedelta from now, or a Unix time. It is called in a thread, without an argument, or with None
            where it wants one.
        atoken_function: The same as a coroutine function, called in the event loop. With both, this one is used.
        flow: One of `FLOWS`: the way in, where the choice above is not right.
        instance_id: Taken so that credentials of IBM's SDK work unchanged; without effect, as there.
        iam_serviceid_crn: Likewise; IBM's SDK uses it to make spaces.
        proxies: The proxy by the scheme of the target, such as ``{"https": "http://user:password@proxy:3128"}``.
        verify: How TLS certificates are checked: True or None: by the default trust store; a path: by that CA file or
            folder; an ``ssl.SSLContext``; False: not at all. The ``verify`` argument of a client wins over it.
        project_id: The project, where a client is not given one.
        space_id: The deployment space instead.

    Raises:
        InvalidArgumentError: A URL is not one, or a known mistake; a secret is empty or cannot be sent.
        InvalidTypeError: A field has the wrong type.
    """

    url: str
    api_key: Secret | None
    token: Secret | None
    username: str | None
    password: Secret | None
    auth_url: str | None
    trusted_profile_id: str | None
    account_id: str | None
    bedrock_url: str | None
    version: str | None
    token_function: TokenFunction | None
    atoken_function: AsyncTokenFunction | None
    flow: str | None
    instance_id: str | None
    iam_serviceid_crn: str | None
    proxies: Mapping[str, Secret | None] | None = attrs.field(hash=False)
    verify: bool | str | os.PathLike[str] | ssl.SSLContext | None
    project_id: str | None
    space_id: str | None

    def __init__(
        self,
        url: str,
        api_key: str | Secret | None = None,
        token: str | Secret | None = None,
        *,
        username: str | None = None,
        password: str | Secret | None = None,
        auth_url: str | None = None,
        trusted_profile_id: str | None = None,
        account_id: str | None = None,
        bedrock_url: str | None = None,
        version: str | None = None,
        token_function: TokenFunction | None = None,
        atoken_function: AsyncTokenFunction | None = None,
        flow: str | None = None,
        instance_id: str | None = None,
        iam_serviceid_crn: str | None = None,
        proxies: Mapping[str, str | Secret | None] | None = None,
        verify: bool | str | os.PathLike[str] | ssl.SSLContext | None = None,
        project_id: str | None = None,
        space_id: str | None = None,
    ) -> None:
        # First of all, so that no frame that can raise holds a secret in the clear.
        api_key, token, password = Secret.of(api_key), Secret.of(token), Secret.of(password)  # type: ignore[assignment]
        token_function, atoken_function = Secret.of(token_function), Secret.of(atoken_function)  # type: ignore[assignment]
        url, auth_url, bedrock_url = Secret.of(url), Secret.of(auth_url), Secret.of(bedrock_url)  # type: ignore[assignment]
        proxies = _sealed_proxies(proxies)
        self.__attrs_init__(
            url=service_url(url, "credentials.url", any_region=auth_url is not None),
            api_key=header_secret(api_key, "api_key"),
            token=header_secret(token, "token"),
            username=open_text(username, "username"),
            password=password_secret(password, "password"),
            auth_url=None if auth_url is None else token_endpoint_url(auth_url, "credentials.auth_url"),
            trusted_profile_id=open_text(trusted_profile_id, "trusted_profile_id"),
            account_id=open_text(account_id, "account_id"),
            bedrock_url=None if bedrock_url is None else service_url(bedrock_url, "credentials.bedrock_url"),
            version=_checked_version(version),
            token_function=_callable(token_function, "token_function"),
            atoken_function=_callable(atoken_function, "atoken_function"),
            flow=_checked_flow(flow),
            instance_id=open_text(instance_id, "instance_id"),
            iam_serviceid_crn=open_text(iam_serviceid_crn, "iam_serviceid_crn"),
            proxies=proxy_secrets(proxies),
            verify=verify,
            project_id=open_text(project_id, "project_id"),
            space_id=open_text(space_id, "space_id"),
        )

    def __repr__(self) -> str:
        # Tracebacks with locals show objects whose constructor failed half-way.
        shown = {name: getattr(self, name, None) for name in FIELDS}
        return f"Credentials({', '.join(f'{name}={value!r}' for name, value in shown.items() if value is not None)})"

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Credentials:
        """From a mapping with the names of the fields; ``apikey`` is taken for ``api_key``.

        Names that IBM's SDK takes for its other services (``name``, ``projects_token``, ``flight_url`` and the like)
        are passed over.

        Raises:
            InvalidArgumentError: A name is unknown, ``url`` is missing, or both spellings of the key are given.
        """
        fields = sealed(fields)
        if not isinstance(fields, Mapping):
            raise InvalidTypeError(
                f"credentials must be a Credentials or a dict, not {kind_of(fields)}", argument="credentials"
            )
        values = {name: value for name, value in fields.items() if name not in _OTHER_SERVICES}
        if "apikey" in values:
            if values.get("api_key") is not None:
                raise InvalidArgumentError("credentials: both 'api_key' and 'apikey' are given", argument="credentials")
            values["api_key"] = values.pop("apikey")
        for name in values:
            if name not in FIELDS:
                raise InvalidArgumentError(
                    f"credentials: unknown name {name!r}; {suggestion(str(name), FIELDS)}", argument="credentials"
                )
        if values.get("url") is None:
            found = ", ".join(name for name, value in values.items() if value is not None) or "nothing"
            raise InvalidArgumentError(f"credentials: 'url' is missing; found: {found}", argument="credentials")
        return cls(**values)

    @classmethod
    def from_env(cls, url: str | None = None) -> Credentials:
        """From ``WATSONX_URL`` and what else the environment says.

        ``WATSONX_APIKEY`` or ``WATSONX_API_KEY``, ``WATSONX_TOKEN``, ``WATSONX_USERNAME``, ``WATSONX_PASSWORD`` and
        ``WATSONX_INSTANCE_ID`` are read. A key or password wins over a token, as in IBM's SDK: only with them a token
        can be renewed. Empty variables count as none.

        Args:
            url: The address, instead of ``WATSONX_URL``.

        Raises:
            InvalidArgumentError: Something is missing; the message names what was looked for and what was found.
        """
        url = Secret.of(url)  # type: ignore[assignment]
        api_key, token, password = _lookup(*_KEY_NAMES), _lookup("WATSONX_TOKEN"), _lookup("WATSONX_PASSWORD")
        address = _lookup("WATSONX_URL") if url is None else url
        username = os.environ.get("WATSONX_USERNAME") or None
        enough = api_key is not None or token is not None or (username is not None and password is not None)
        if not address or not enough:
            wanted = "give credentials=, or set " + ("" if url else "WATSONX_URL and ")
            found = [name for name in _ENVIRONMENT if os.environ.get(name)]
            raise InvalidArgumentError(
                f"No credentials: {wanted}one of WATSONX_APIKEY, WATSONX_API_KEY, WATSONX_TOKEN, or WATSONX_USERNAME "
                f"with WATSONX_PASSWORD. Found in the environment: {', '.join(found) or 'none of them'}",
                argument="credentials",
            )
        renewable = api_key is not None or (username is not None and password is not None)
        return cls(
            address,  # type: ignore[arg-type]
            api_key,
            None if renewable else token,
            username=username,
            password=password if username is not None else None,
            instance_id=os.environ.get("WATSONX_INSTANCE_ID") or None,
        )


FIELDS = tuple(field.name for field in attrs.fields(Credentials))

_KEY_NAMES = ("WATSONX_APIKEY", "WATSONX_API_KEY")
_ENVIRONMENT = (
    "WATSONX_URL",
    *_KEY_NAMES,
    "WATSONX_TOKEN",
    "WATSONX_USERNAME",
    "WATSONX_PASSWORD",
    "WATSONX_INSTANCE_ID",
)


def _lookup(*names: str) -> Secret | None:
    for name in names:
        if os.environ.get(name):
            return Secret(os.environ[name])
    return None


def _checked_version(version: object) -> str | None:
    text = open_text(version, "version")
    if text is None:
        return None
    numbers = text.split(".")
    if len(numbers) < 2 or not all(part.isdecimal() and part.isascii() for part in numbers[:2]):
        raise InvalidArgumentError(
            f"credentials.version must be the release of a Cloud Pak for Data such as '5.1', not {text!r}; the date of "
            "the REST API is api_version= of a client",
            argument="version",
        )
    return text


def _checked_flow(flow: object) -> str | None:
    text = open_text(flow, "flow")
    if text is not None and text not in FLOWS:
        raise InvalidArgumentError(f"credentials.flow: unknown {text!r}; {suggestion(text, FLOWS)}", argument="flow")
    return text


def _callable(value: object, name: str) -> Any:
    if value is None or callable(value):
        return value
    raise InvalidTypeError(f"credentials.{name} must be a function, not {kind_of(value)}", argument=name)


def _is_open(name: object) -> TypeGuard[str]:
    return name in FIELDS and name not in _SECRETS and name not in _ADDRESSES


def _sealed_proxies(proxies: Any) -> Any:
    if isinstance(proxies, Mapping):
        return {name: Secret.of(value) for name, value in proxies.items()}
    return Secret.of(proxies)


def sealed(credentials: Any) -> Any:
    """Credentials as the caller gave them, with what may be a secret wrapped. Never raises.

    A function that was handed a dict calls this first and keeps only what it returns, so that its frame shows no secret
    in a traceback with locals.
    """
    if isinstance(credentials, list | tuple | set):
        return Sealed(type(credentials).__name__)
    if not isinstance(credentials, Mapping):
        return Secret.of(credentials)
    return {
        name: _sealed_proxies(value) if name == "proxies" else value if _is_open(name) else Secret.of(value)
        for name, value in credentials.items()
    }


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
