"""Ways in. Each module builds token requests and parses their answers; nothing here talks or waits."""

from __future__ import annotations

from rerank_async.auth.bearer import GivenToken
from rerank_async.auth.choosing import Flow, asked, choose_flow, flow_name, notes_on
from rerank_async.auth.function import GivenFunction
from rerank_async.auth.iam import IamApiKey
from rerank_async.auth.zen import ZenApiKey

__all__ = [
    "Flow",
    "GivenFunction",
    "GivenToken",
    "IamApiKey",
    "ZenApiKey",
    "asked",
    "choose_flow",
    "flow_name",
    "notes_on",
]
