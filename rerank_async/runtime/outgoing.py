"""What a request is made of on its way out. Here secrets are revealed, in frames that never wait."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from random import Random
from typing import Any

from multidict import CIMultiDict, istr

from rerank_async.runtime.proxies import Proxy
from rerank_async.values.contract import TRANSACTION_HEADER
from rerank_async.values.secret import Secret

_TRANSACTION, _AUTHORIZATION = istr(TRANSACTION_HEADER), istr("Authorization")  # compared without lowering them again

_ids = Random()  # noqa: S311 - they are to be told apart, not to be hard to guess
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)

_STREAM_FROM = 2**20  # bytes; aiohttp warns of larger bodies given as bytes


def whole_headers(headers: Mapping[str, str], authorization: Secret | None, proxy: Proxy | None) -> CIMultiDict[str]:
    """The headers with an id, the token and what a forwarding proxy wants. Called inline: no frame that waits holds it."""
    whole = CIMultiDict(headers)
    if _TRANSACTION not in whole:
        whole[_TRANSACTION] = _ids.randbytes(16).hex()
    if authorization is not None:
        whole[_AUTHORIZATION] = authorization.reveal()
    if proxy is not None and proxy.authorization is not None:
        whole["Proxy-Authorization"] = proxy.authorization.reveal()
    return whole


def proxy_headers(proxy: Proxy) -> dict[str, str]:
    """Name and password for the proxy, as a header: aiohttp's ``proxy_auth`` would show in the repr of its errors."""
    return {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization.reveal()}


def payload(body: bytes | Secret | None) -> Any:
    """The body as aiohttp takes it."""
    if isinstance(body, bytes):
        return body if len(body) < _STREAM_FROM else io.BytesIO(body)
    return None if body is None else body.reveal().encode()


def without_frames(exc: BaseException) -> BaseException:
    """The exception and what led to it without their frames, which hold secrets: headers that were sent, or a token."""
    link: BaseException | None = exc
    seen = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return exc
