"""A rerank request, from bytes to a checked value; whatever is wrong with it becomes a documented error body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, TypeVar

import attrs

from rerank_async.server.bodies import Refusal
from rerank_async.values import contract

T = TypeVar("T")

_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORDS: Final[Mapping[type, str]] = {str: "a string", bool: "a boolean", int: "an integer", dict: "an object"}


@attrs.frozen(kw_only=True)
class RerankRequest:
    """What one request asks for.

    Attributes:
        model_id: The model.
        query: The query.
        texts: The texts of the inputs, in the order of the request; at least one.
        project_id: The project, or None.
        space_id: The space, or None; a project goes before a space, as IBM's SDKs send it.
        truncate: ``truncate_input_tokens``, at least 1, or None.
        top_n: At least 1, or None for all; more than there are inputs gives all.
        echo_inputs: Whether the results carry their text.
        echo_query: Whether the answer carries the query.
    """

    model_id: str
    query: str
    texts: tuple[str, ...]
    project_id: str | None
    space_id: str | None
    truncate: int | None
    top_n: int | None
    echo_inputs: bool
    echo_query: bool


def check_version(version: str | None) -> None:
    """Check the ``version`` query parameter, which is mandatory: a date, however old.

    Raises:
        Refusal: It is missing or no date.
    """
    if version is None:
        message = "The query parameter 'version' is required"
        raise Refusal(400, contract.INVALID_ARGUMENT, message, ("parameter", "version"))
    if not _is_date(version):
        message = "The query parameter 'version' must be a date of the form YYYY-MM-DD"
        raise Refusal(400, contract.INVALID_ARGUMENT, message, ("parameter", "version"))


def read_rerank(body: bytes, max_inputs: int) -> RerankRequest:
    """Read the body of a rerank request. Unknown fields pass; null is the same as missing.

    Args:
        body: The bytes of the body.
        max_inputs: The most inputs that one request may carry.

    Raises:
        Refusal: The body is not the documented one; the target names the first field that is wrong.
    """
    value = _decoded(body)
    parameters = _field(value, "parameters", dict) or {}
    options = _field(parameters, "return_options", dict, "parameters.") or {}
    crypto = _field(value, "crypto", dict)
    if crypto is not None:
        _required(crypto, "key_ref", str, "crypto.")
    request = RerankRequest(
        model_id=_required(value, "model_id", str),
        query=_required(value, "query", str),
        texts=_texts(value, max_inputs),
        project_id=_field(value, "project_id", str),
        space_id=_field(value, "space_id", str),
        truncate=_at_least_one(parameters, "truncate_input_tokens", "parameters."),
        top_n=_at_least_one(options, "top_n", "parameters.return_options."),
        echo_inputs=bool(_field(options, "inputs", bool, "parameters.return_options.")),
        echo_query=bool(_field(options, "query", bool, "parameters.return_options.")),
    )
    if request.project_id is None and request.space_id is None:
        message = "Either 'project_id' or 'space_id' has to be given"
        raise Refusal(400, contract.JSON_VALIDATION, message, ("field", "project_id"))
    _check_encodable(request)
    return request


def _check_encodable(request: RerankRequest) -> None:
    try:
        "".join((request.query, *request.texts)).encode()
    except UnicodeEncodeError as exc:
        message = "The query or a text holds half of a surrogate pair, which no encoding of text can carry"
        raise Refusal(400, contract.INVALID_REQUEST, message) from exc


def _is_date(words: str) -> bool:
    # Since Python 3.11, fromisoformat also takes "20241018" and "2024-W42-5".
    if not _VERSION.fullmatch(words):
        return False
    try:
        date.fromisoformat(words)
    except ValueError:
        return False
    return True


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refusal(400, contract.INVALID_REQUEST, "The request body is not valid JSON") from exc
    if not isinstance(value, dict):
        raise Refusal(400, contract.JSON_TYPE, "The request body must be a JSON object")
    return value


def _field(value: Mapping[str, Any], name: str, kind: type[T], where: str = "") -> T | None:
    found = value.get(name)
    if found is None:
        return None
    # A JSON true is an int to Python, and not an integer to the service.
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise _mistyped(where + name, _WORDS[kind])
    return found


def _required(value: Mapping[str, Any], name: str, kind: type[T], where: str = "") -> T:
    found = _field(value, name, kind, where)
    if found is None:
        message = f"The field '{where}{name}' is required"
        raise Refusal(400, contract.JSON_VALIDATION, message, ("field", where + name))
    return found


def _at_least_one(value: Mapping[str, Any], name: str, where: str) -> int | None:
    found = _field(value, name, int, where)
    if found is not None and found < 1:
        message = f"The field '{where}{name}' must be at least 1, not {found}"
        raise Refusal(400, contract.INVALID_ARGUMENT, message, ("field", where + name))
    return found


def _texts(value: Mapping[str, Any], max_inputs: int) -> tuple[str, ...]:
    inputs = value.get("inputs")
    if inputs is None:
        raise Refusal(400, contract.JSON_VALIDATION, "The field 'inputs' is required", ("field", "inputs"))
    if not isinstance(inputs, list):
        raise _mistyped("inputs", "a list of objects")
    if not inputs:
        message = "The field 'inputs' must hold at least one input"
        raise Refusal(400, contract.JSON_VALIDATION, message, ("field", "inputs"))
    if len(inputs) > max_inputs:
        message = f"The field 'inputs' holds {len(inputs)} inputs, more than the maximum of {max_inputs}"
        raise Refusal(400, contract.INVALID_ARGUMENT, message, ("field", "inputs"))
    return tuple(_text(item, index) for index, item in enumerate(inputs))


def _text(item: object, index: int) -> str:
    if not isinstance(item, dict):
        raise _mistyped(f"inputs[{index}]", "an object with a 'text'")
    text = item.get("text")
    if text is None:
        name = f"inputs[{index}].text"
        raise Refusal(400, contract.JSON_VALIDATION, f"The field '{name}' is required", ("field", name))
    if not isinstance(text, str):
        raise _mistyped(f"inputs[{index}].text", "a string")
    return text


def _mistyped(name: str, wanted: str) -> Refusal:
    return Refusal(400, contract.JSON_TYPE, f"The field '{name}' must be {wanted}", ("field", name))
