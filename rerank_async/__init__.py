"""Async client SDK for the text rerank API of IBM watsonx.ai.

    async with AsyncRerank(model_id, credentials=..., project_id=...) as client:
        response = await client.generate(query=query, inputs=passages)
        for result in response.results:
            print(result.index, result.score)

The errors are in `rerank_async.errors`, the local server in `rerank_async.server`.
"""

from rerank_async import errors
from rerank_async.api_client import AsyncAPIClient
from rerank_async.client import AsyncRerank
from rerank_async.errors import RerankError
from rerank_async.many import RerankMany
from rerank_async.streaming import RerankStream
from rerank_async.values.credentials import Credentials
from rerank_async.values.events import Answered, Event, Failed, Merged, Observer, Queued, Retried, Sent, Throttled
from rerank_async.values.models import RerankModels
from rerank_async.values.options import DEFAULT, BatchOptions, LimitOptions, RetryOptions, Timeouts
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions
from rerank_async.values.requests import RerankOutcome, RerankRequest
from rerank_async.values.response import (
    BatchFailure,
    LimitStatus,
    ModelSpec,
    Plan,
    RerankResponse,
    RerankResult,
    ResponseStats,
    ServiceWarning,
)
from rerank_async.values.version import VERSION as __version__  # noqa: N811 - the name that tools look for

__all__ = [
    "DEFAULT",
    "Answered",
    "AsyncAPIClient",
    "AsyncRerank",
    "BatchFailure",
    "BatchOptions",
    "Credentials",
    "Crypto",
    "Event",
    "Failed",
    "LimitOptions",
    "LimitStatus",
    "Merged",
    "ModelSpec",
    "Observer",
    "Plan",
    "Queued",
    "RerankError",
    "RerankMany",
    "RerankModels",
    "RerankOutcome",
    "RerankParameters",
    "RerankRequest",
    "RerankResponse",
    "RerankResult",
    "RerankStream",
    "ResponseStats",
    "Retried",
    "RetryOptions",
    "ReturnOptions",
    "Sent",
    "ServiceWarning",
    "Throttled",
    "Timeouts",
    "__version__",
    "errors",
]
