"""Which proxy a request takes: the one of ``proxies=``, or that of the environment."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
from yarl import URL

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.checks import suggestion
from rerank_async.values.secret import Secret, kind_of
from rerank_async.values.urls import is_loopback

_SCHEMES = ("http", "https")
_KEYS = (*_SCHEMES, "all")
_EXAMPLE = "http://proxy.example:3128"


@attrs.frozen(eq=False)
class Proxy:
    """A proxy.

    Attributes:
        url: Its address, without name and password.
        authorization: The value of the Proxy-Authorization header; None: it was given without name and password.
        source: Where it was read, for messages: ``proxies['https']``, or a variable of the environment.
    """

    url: URL
    authorization: Secret | None
    source: str

    def wants_credentials(self) -> str:
        """What to do about a 407."""
        how = f"{self.url.scheme}://USER:PASSWORD@{self.url.host}:{self.url.port}"
        wrong = "its name or password is wrong" if self.authorization else f"give them in {self.source}, as {how}"
        return f"the proxy {self.url} ({self.source}) asks for a name and password (407): {wrong}"


@attrs.frozen(eq=False)
class Proxies:
    """The proxies of one client.

    Attributes:
        by_scheme: By the scheme of the target; a str is why the one that was found cannot be used.
        exceptions: The value of ``NO_PROXY``; None: there are no exceptions, not even loopback.
    """

    by_scheme: Mapping[str, Proxy | str]
    exceptions: str | None
    _known: dict[tuple[str, str | None, int | None], Proxy | None] = attrs.field(factory=dict, init=False, repr=False)

    def of(self, url: URL) -> Proxy | None:
        """The proxy for a request; None: it goes without one.

        Raises:
            InvalidArgumentError: What the environment names cannot be used.
        """
        key = (url.scheme, url.host, url.port)
        if key not in self._known:
            self._known[key] = self._found(url)
        return self._known[key]

    def _found(self, url: URL) -> Proxy | None:
        found = self.by_scheme.get(url.scheme)
        if found is None or self._is_excepted(url):
            return None
        if isinstance(found, str):
            raise InvalidArgumentError(f"{found}, or pass trust_env=False", argument="trust_env")
        return found

    def _is_excepted(self, url: URL) -> bool:
        if self.exceptions is None:
            return False
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # noqa: PLC0415 - as below

        host = url.host or ""
        return is_loopback(host) or bool(proxy_bypass_environment(f"{host}:{url.port}", {"no": self.exceptions}))


def sealed_proxies(proxies: Any) -> Any:
    """Proxies as the caller gave them, with each address wrapped, as it may hold a password. Never raises."""
    if not isinstance(proxies, Mapping):
        return Secret.of(proxies)
    return {name: Secret.of(value) for name, value in proxies.items()}


def proxies_for(proxies: Any, *, trust_env: bool) -> Proxies | None:
    """The proxies of a client; None: there are none.

    Args:
        proxies: Sealed; None: those of the environment, if it is trusted.
        trust_env: Whether to read ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case.

    Raises:
        InvalidArgumentError: ``proxies`` holds an unknown name or no address of a proxy.
        InvalidTypeError: It is not a mapping of str to str.
    """
    if proxies is not None:
        return _given(proxies)
    return _of_environment() if trust_env else None


def _given(proxies: Any) -> Proxies | None:
    if not isinstance(proxies, Mapping):
        raise InvalidTypeError(
            f"proxies must be a dict such as {{'https': {_EXAMPLE!r}}}, not {kind_of(proxies)}", argument="proxies"
        )
    found: dict[str, Proxy] = {}
    for name, value in proxies.items():
        if name not in _KEYS:
            raise InvalidArgumentError(
                f"proxies: unknown name {name!r}; {suggestion(str(name), _KEYS)}", argument="proxies"
            )
        if value is None:
            continue
        if not isinstance(value, Secret):
            raise InvalidTypeError(f"proxies[{name!r}] must be a str, not {kind_of(value)}", argument="proxies")
        proxy = _parsed(value, f"proxies[{name!r}]")
        if isinstance(proxy, str):
            raise InvalidArgumentError(proxy, argument="proxies")
        found[name] = proxy
    by_scheme = {scheme: found.get(scheme, found.get("all")) for scheme in _SCHEMES if proxies.get(scheme, True)}
    return _unless_empty(by_scheme, None)


def _of_environment() -> Proxies | None:
    from urllib.request import getproxies_environment  # noqa: PLC0415 - slow to import

    # Sealed at once: this frame is under every constructor that fails later.
    said = {name: Secret(value) for name, value in getproxies_environment().items()}
    exceptions = said.pop("no", Secret("")).reveal()
    by_scheme = {}
    for scheme in _SCHEMES:
        name = scheme if scheme in said else "all"
        by_scheme[scheme] = _parsed(said[name], f"{name.upper()}_PROXY") if name in said else None
    return _unless_empty(by_scheme, exceptions)


def _unless_empty(by_scheme: Mapping[str, Proxy | str | None], exceptions: str | None) -> Proxies | None:
    used = {scheme: proxy for scheme, proxy in by_scheme.items() if proxy is not None}
    return Proxies(used, exceptions) if used else None


def _parsed(given: Secret, source: str) -> Proxy | str:
    """The proxy, or what is wrong with it: nothing is raised from a frame that holds a password."""
    text = given.reveal().strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        return f"{source} holds characters that an address cannot have (write those of a password as %XX)"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        return f"{source} is not an address such as {_EXAMPLE} (write special characters of a password as %XX)"
    if parts.scheme not in _SCHEMES:
        return f"{source} is a {parts.scheme} proxy; only http:// and https:// proxies can be used: give such a one"
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = Secret("Basic " + b64encode(pair.encode()).decode())
    return Proxy(URL.build(scheme=parts.scheme, host=host, port=port), authorization, source)
