"""The words of the wire: paths, headers, error codes and documented bounds of the watsonx.ai service, each with its source."""

from __future__ import annotations

from typing import Final

API_VERSION: Final = "2024-10-18"
"""The ``version`` query parameter. Source: the date that IBM's documentation of text rerank shows."""

RERANK_PATH: Final = "/ml/v1/text/rerank"
"""Source: IBM's Node SDK, ``src/config/endpoints.ts``, ``RERANK``."""

MODEL_SPECS_PATH: Final = "/ml/v1/foundation_model_specs"
"""Needs no token. Source: IBM's Java SDK, ``foundation-model-service.md``."""

TOKEN_PATH: Final = "/identity/token"  # noqa: S105 - a path, not a password
"""IAM's exchange of an API key for a token. Source: cloud.ibm.com, ``iamtoken_from_apikey``."""

IAM_URL: Final = "https://iam.cloud.ibm.com" + TOKEN_PATH
IAM_TEST_URL: Final = "https://iam.test.cloud.ibm.com" + TOKEN_PATH
"""For ``*.cloud.ibm.com`` hosts that are not one of the known regions. Source: ibm-watsonx-ai 1.8.1."""

APIKEY_GRANT_TYPE: Final = "urn:ibm:params:oauth:grant-type:apikey"

REGIONS: Final = ("us-south", "eu-de", "eu-gb", "jp-tok", "au-syd", "ca-tor")
"""Hosts are ``[private.]{region}.ml.cloud.ibm.com``. Source: IBM's Java SDK, ``CloudRegion``."""

MAX_INPUTS: Final = 1000
"""Inputs in one request. Source: IBM's Java SDK, ``rerank-service.md``: "You can specify up to 1,000 inputs per call"."""

DEFAULT_RATE: Final = 8.0
"""Requests a second of a ``v2-standard`` instance. Source: a live 429, quoted in IBM/unitxt#1215."""

LIMIT_HEADER: Final = "x-requests-limit-rate"
REMAINING_HEADER: Final = "x-requests-limit-remaining"
"""Read by ibm-watsonx-ai 1.8.1 for other endpoints; whether rerank sends them is unknown, so both are optional."""

TRANSACTION_HEADER: Final = "X-Global-Transaction-Id"
"""Sent by IBM's Java SDK, and given back by IBM Cloud: the id of a request that support asks for."""

RERANK_SPECS_FILTER: Final = "function_rerank,!lifecycle_withdrawn:and"
"""The filter of ibm-watsonx-ai's ``get_rerank_model_specs()``."""

# Codes of ``errors[].code``. Sources: live answers quoted in public threads (IBM/unitxt#1215, lancedb#1535,
# litellm#9219) and the tests and documentation of IBM's Java SDK.
RATE_LIMITED: Final = "rate_limit_reached_requests"
POOL_FULL: Final = "consumption_limit_reached"
QUOTA_REACHED: Final = "token_quota_reached"  # seen as 403, documented as 429
TOKEN_EXPIRED: Final = "authentication_token_expired"  # noqa: S105 - an error code
TOKEN_NOT_VALID: Final = "authentication_token_not_valid"  # noqa: S105 - an error code
INVALID_ARGUMENT: Final = "invalid_input_argument"
INVALID_REQUEST: Final = "invalid_request_entity"
JSON_TYPE: Final = "json_type_error"
JSON_VALIDATION: Final = "json_validation_error"
MODEL_NOT_SUPPORTED: Final = "model_not_supported"
MODEL_NO_FUNCTION: Final = "model_no_support_for_function"
NOT_AUTHORIZED: Final = "authorization_rejected"
USER_NOT_AUTHORIZED: Final = "user_authorization_failed"
NO_INSTANCE: Final = "no_associated_service_instance"
BACKEND_FAILED: Final = "downstream_request_failed"
