"""Which way in the credentials mean, in the order of IBM's SDK, and what they lack for it.

Source of the order: ibm-watsonx-ai 1.8.1, ``utils/auth/base_auth/get_auth_method.py`` and ``client.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rerank_async.auth import endpoints
from rerank_async.auth.bearer import GivenToken
from rerank_async.auth.cp4d import CloudPak
from rerank_async.auth.cp4d_iam import CloudPakIam
from rerank_async.auth.function import GivenFunction
from rerank_async.auth.iam import IamApiKey
from rerank_async.auth.mcsp import McspApiKey
from rerank_async.auth.trusted_profile import TrustedProfile, is_of_a_profile
from rerank_async.auth.zen import ZenApiKey
from rerank_async.errors import InvalidArgumentError
from rerank_async.values.credentials import Credentials
from rerank_async.values.hosts import Cloud, cloud_of
from rerank_async.values.secret import Secret
from rerank_async.values.urls import host_of

Flow = GivenToken | ZenApiKey | GivenFunction | IamApiKey | McspApiKey | TrustedProfile | CloudPak | CloudPakIam

_FIELDS = (
    "api_key",
    "token",
    "username",
    "password",
    "trusted_profile_id",
    "account_id",
    "bedrock_url",
    "auth_url",
    "token_function",
    "atoken_function",
)
"""Those that have to do with the way in."""


class _Needs(NamedTuple):
    """What a way in is made of: of each group the first field that is given; ``takes`` are there or not."""

    groups: tuple[tuple[str, ...], ...]
    takes: tuple[str, ...] = ()


_NEEDS: Mapping[str, _Needs] = {
    "iam": _Needs((("api_key",),), ("auth_url",)),
    "bearer": _Needs((("token",),)),
    "function": _Needs((("atoken_function", "token_function"),), ("token_function",)),
    "trusted_profile": _Needs((("trusted_profile_id",), ("api_key", "token")), ("auth_url",)),
    "cp4d": _Needs((("username",), ("api_key", "password")), ("account_id", "auth_url")),
    "cp4d_iam": _Needs((("username",), ("password",), ("bedrock_url",)), ("account_id", "auth_url")),
    "zen": _Needs((("username",), ("api_key",))),
    "mcsp": _Needs((("api_key",),), ("auth_url",)),
}


def choose_flow(credentials: Credentials) -> Flow:
    """The way in for these credentials: what ``flow`` says, else the first of IBM's order that they mean.

    Raises:
        InvalidArgumentError: They lack something for it; the message names what was found and what is missing.
    """
    name = flow_name(credentials)
    lacking = _lacking(credentials, name)
    if lacking:
        raise InvalidArgumentError(_complaint(credentials, name, lacking), argument="credentials")
    return _MAKERS[name](credentials)


def notes_on(credentials: Credentials) -> str | None:
    """What to warn of: fields that say another way in than the one that is taken; None: there are none."""
    name = flow_name(credentials)
    needs = _NEEDS[name]
    used = {_first(credentials, group) for group in needs.groups} | {*needs.takes}
    if name == "cp4d_iam" and credentials.flow is None:
        used.add("api_key")  # of the older sign-in, should the newer one fail
    unused = [field for field in _given(credentials) if field not in used]
    if not unused:
        return None
    words = f"flow {name!r} is used, and {' and '.join(unused)} {'has' if len(unused) == 1 else 'have'} no effect"
    if name == "bearer":
        words += "; the token cannot be renewed: leave it out where the rest can get tokens"
    return f"credentials hold more than one way in: {words}. Leave out what is not meant, or say flow="


def flow_name(credentials: Credentials) -> str:
    """The name of the way in, as ``Credentials(flow=...)`` names it."""
    given = credentials
    if given.flow is not None:
        return given.flow
    if given.token is not None and given.trusted_profile_id is None:
        return "bearer"
    if given.token_function is not None or given.atoken_function is not None:
        return "function"
    cloud = cloud_of(host_of(given.url))
    if _means_iam(given, cloud):
        return "iam" if given.trusted_profile_id is None else "trusted_profile"
    if cloud in {Cloud.OTHER, Cloud.LOOPBACK}:
        return "cp4d_iam" if given.password is not None and _bedrock(given) is not None else "cp4d"
    return "mcsp"


def asked(flow: Flow) -> tuple[str, ...]:
    """The addresses that a way in sends secrets to."""
    if isinstance(flow, CloudPakIam):
        return (flow.url, flow.validate_url, *(() if flow.fallback is None else (flow.fallback.url,)))
    return () if isinstance(flow, GivenToken | ZenApiKey | GivenFunction) else (flow.url,)


def _means_iam(given: Credentials, cloud: Cloud) -> bool:
    by_user = given.username is not None or given.password is not None
    if cloud is Cloud.LOOPBACK:
        return not by_user
    if given.auth_url is not None and not by_user:
        path = urlsplit(given.auth_url).path
        return cloud not in {Cloud.AWS, Cloud.GOV} or not path.endswith("/apikeys/token")
    return cloud is Cloud.IBM


def _bedrock(given: Credentials) -> str | None:
    if given.bedrock_url is not None or given.auth_url is not None:
        return given.bedrock_url
    return endpoints.guessed_bedrock(given.url, given.version)


def _given(credentials: Credentials) -> list[str]:
    return [field for field in _FIELDS if getattr(credentials, field) is not None]


def _first(credentials: Credentials, group: tuple[str, ...]) -> str | None:
    return next((field for field in group if getattr(credentials, field) is not None), None)


def _lacking(credentials: Credentials, name: str) -> list[str]:
    lacking = [group for group in _NEEDS[name].groups if _first(credentials, group) is None]
    if name == "cp4d_iam" and (credentials.auth_url or _bedrock(credentials)):
        lacking = [group for group in lacking if group != ("bedrock_url",)]
    return [" or ".join(group) for group in lacking]


def _complaint(credentials: Credentials, name: str, lacking: list[str]) -> str:
    host = host_of(credentials.url)
    found = ", ".join(_given(credentials)) or "nothing else"
    words = f"credentials for {host} (flow {name!r}) lack {' and '.join(lacking)}; found: {found}"
    if name == "iam" and credentials.flow is None:
        words = f"credentials for {host} hold neither api_key nor token; found: {found}"
    if credentials.flow is not None:
        return words
    if name in {"iam", "trusted_profile", "mcsp"}:
        by_user = credentials.username is not None or credentials.password is not None
        return f"{words}. A user name and password are for Cloud Pak for Data" if by_user else words
    return (
        f"{words}. The host is none of IBM Cloud's, so it is taken for a Cloud Pak for Data: give username with "
        "password or api_key. For an IAM elsewhere give api_key and auth_url=, the whole address of its token "
        "endpoint; or give a token"
    )


def _iam(given: Credentials) -> Flow:
    return IamApiKey(given.auth_url or endpoints.iam_url(given.url), _secret(given.api_key))


def _bearer(given: Credentials) -> Flow:
    return GivenToken(_secret(given.token))


def _function(given: Credentials) -> Flow:
    argument = "token_function" if given.atoken_function is None else "atoken_function"
    function: Callable[..., Any] = getattr(given, argument)
    flow = GivenFunction(argument, function, argument == "token_function" and not inspect.iscoroutinefunction(function))
    flow.arguments()  # so that one that cannot be called is refused now
    return flow


def _trusted_profile(given: Credentials) -> Flow:
    url = given.auth_url or endpoints.iam_url(given.url)
    if given.api_key is not None:
        return TrustedProfile(url, given.trusted_profile_id or "", IamApiKey(url, given.api_key))
    token = Secret(_secret(given.token).reveal().removeprefix("Bearer ").strip())
    return GivenToken(token) if is_of_a_profile(token) else TrustedProfile(url, given.trusted_profile_id or "", token)


def _cp4d(given: Credentials) -> CloudPak:
    return CloudPak(
        given.auth_url or endpoints.cp4d_url(given.url),
        given.username or "",
        given.api_key,
        given.password if given.api_key is None else None,
        given.account_id,
    )


def _cp4d_iam(given: Credentials) -> Flow:
    return CloudPakIam(
        given.auth_url or endpoints.bedrock_url(_bedrock(given) or ""),
        endpoints.validate_url(given.url),
        given.username or "",
        _secret(given.password),
        given.account_id,
        _cp4d(given) if given.bedrock_url is None and given.flow is None else None,
    )


def _zen(given: Credentials) -> Flow:
    return ZenApiKey(given.username or "", _secret(given.api_key))


def _mcsp(given: Credentials) -> Flow:
    return McspApiKey(given.auth_url or endpoints.mcsp_url(given.url), _secret(given.api_key))


def _secret(value: Secret | None) -> Secret:
    return value or Secret("")


_MAKERS: Mapping[str, Callable[[Credentials], Flow]] = {
    "iam": _iam,
    "bearer": _bearer,
    "function": _function,
    "trusted_profile": _trusted_profile,
    "cp4d": _cp4d,
    "cp4d_iam": _cp4d_iam,
    "zen": _zen,
    "mcsp": _mcsp,
}
