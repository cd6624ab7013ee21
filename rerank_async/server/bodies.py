"""The bodies in which the service says no, and the exception that carries one of them to the door."""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal

from rerank_async.server.options import RateLimit
from rerank_async.values import contract

MORE_INFO: Final = "https://cloud.ibm.com/apidocs/watsonx-ai"

TargetType = Literal["field", "parameter", "header"]


class Refusal(Exception):  # noqa: N818 - an answer that was decided on, not a failure of the server
    """A request that gets a documented error body.

    Attributes:
        status: The HTTP status.
        code: The ``errors[].code``.
        message: The ``errors[].message``.
        target: What was wrong, as (type, name), or None.
    """

    def __init__(self, status: int, code: str, message: str, target: tuple[TargetType, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target


def new_trace() -> str:
    """Give an id of 32 hex digits, the form of the service's ``trace``."""
    return secrets.token_hex(16)


def error_body(refusal: Refusal, trace: str) -> dict[str, Any]:
    """Give the canonical error body: ``errors``, ``trace``, ``status_code``.

    Source: live answers quoted in IBM/unitxt#1215 and lancedb#1535; ``ApiErrorResponse`` of IBM's Node SDK.
    """
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "more_info": MORE_INFO}
    if refusal.target is not None:
        error["target"] = {"type": refusal.target[0], "name": refusal.target[1]}
    return {"errors": [error], "trace": trace, "status_code": refusal.status}


def rate_limited(limit: RateLimit, instance_id: str, user_id: str) -> Refusal:
    """Give the 429 of the rate limit, in the words of the service.

    Source: a live answer quoted in IBM/unitxt#1215.
    """
    return Refusal(
        429,
        contract.RATE_LIMITED,
        f"Rate limit of {limit.requests} requests per {limit.window:g}s was reached for instance id {instance_id} "
        f"(user {user_id}, plan v2-standard)",
    )


def overlength(model_id: str, tokens: int, maximum: int) -> Refusal:
    """Give the 400 for a text of more tokens than the model takes.

    Source: a live answer quoted in lancedb/lancedb#1535.
    """
    return Refusal(
        400,
        contract.INVALID_ARGUMENT,
        f"Invalid input argument for Model '{model_id}': Token sequence length is longer than the specified maximum "
        f"sequence length for this model ({tokens} > {maximum}).",
    )


def token_not_valid() -> Refusal:
    """Give the 401 for a token that is missing or is none of ours. Source: ``WatsonxErrorTest`` of IBM's Java SDK."""
    return Refusal(401, contract.TOKEN_NOT_VALID, "Failed to parse and verify token", ("header", "Authorization"))


def token_expired() -> Refusal:
    """Give the 401 for a token that was good once. Source: a live answer quoted in litellm#9219."""
    return Refusal(401, contract.TOKEN_EXPIRED, "Failed to authenticate the request due to an expired token")


def identity_error(code: str, message: str) -> dict[str, Any]:
    """Give a body of the token endpoint, which has a shape of its own. Source: ``Utils`` of IBM's Java SDK."""
    return {
        "errorCode": code,
        "errorMessage": message,
        "context": {
            "requestId": new_trace(),
            "requestType": "incoming.Identity_Token",
            "clusterName": "local",
        },
    }


def platform_error(status: int, code: str, message: str) -> dict[str, Any]:
    """Give an error body of a token route that is not IAM's: ``{code, message}``. Source: ``parseErrorBody`` of IBM's Java SDK."""
    return {"_statusCode_": status, "code": code, "message": message}
