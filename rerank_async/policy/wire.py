"""The wire: what a request says, and an answer's status, headers and body to a value or a typed error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

from rerank_async.errors import DecodeError, IntegrityError, InvalidArgumentError, InvalidTypeError
from rerank_async.policy.json_codec import codec
from rerank_async.policy.merging import BatchResult, Envelope
from rerank_async.policy.wire_errors import described, error_of, trace_of
from rerank_async.values.made import made
from rerank_async.values.parameters import Crypto, RerankParameters
from rerank_async.values.response import ServiceWarning

_OWN_FIELDS = ("inputs", "query", "model_id", "project_id", "space_id", "crypto")
_OWN_PARAMETERS = ("truncate_input_tokens", "return_options")
_NOT_JSON: Any = object()
_RESULT_FIELDS = frozenset({"index", "score", "input"})
_PLAIN_RESULT = 2  # fields: index and score
_TEXT_FIELDS = ("model_id", "model_version", "created_at", "query")
_PLAIN_FIELDS = frozenset({"model_id", "model_version", "created_at", "results", "input_token_count", "query"})


def request_head(
    *,
    model_id: str,
    query: str,
    project_id: str | None,
    space_id: str | None,
    parameters: RerankParameters,
    crypto: Crypto | None,
    extra_body: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The body without ``inputs`` and ``top_n``, which differ from batch to batch. What is None is left out.

    Echoes are answered from the caller's data and not asked for, except with ``crypto`` (docs/decisions.md, 3).

    Raises:
        InvalidArgumentError: ``extra_body`` sets a field that an argument sets.
    """
    head: dict[str, Any] = {"model_id": model_id, "query": query}
    if project_id is not None:
        head["project_id"] = project_id
    if space_id is not None:
        head["space_id"] = space_id
    settings: dict[str, Any] = {}
    if parameters.truncate_input_tokens is not None:
        settings["truncate_input_tokens"] = parameters.truncate_input_tokens
    wanted = parameters.return_options
    if crypto is not None:
        head["crypto"] = {"key_ref": crypto.key_ref}
        if wanted is not None and (wanted.inputs or wanted.query):
            settings["return_options"] = {name: True for name in ("inputs", "query") if getattr(wanted, name)}
    if extra_body:
        _add(head, settings, extra_body)
    if settings:
        head["parameters"] = settings
    return head


def _add(head: dict[str, Any], settings: dict[str, Any], extra_body: Mapping[str, Any]) -> None:
    if not isinstance(extra_body, Mapping):
        raise InvalidTypeError(f"extra_body must be a dict, not {type(extra_body).__name__}", argument="extra_body")
    for name, value in extra_body.items():
        if name in _OWN_FIELDS:
            raise InvalidArgumentError(
                f"extra_body sets {name!r}, which has an argument of its own", argument="extra_body"
            )
        if name != "parameters":
            head[name] = value
            continue
        if not isinstance(value, Mapping):
            raise InvalidTypeError(
                f"extra_body['parameters'] must be a dict, not {type(value).__name__}", argument="extra_body"
            )
        for own in _OWN_PARAMETERS:
            if own in value:
                raise InvalidArgumentError(
                    f"extra_body['parameters'] sets {own!r}, which params= sets", argument="extra_body"
                )
        settings.update(value)
    _check_json(extra_body)


def _check_json(extra_body: Mapping[str, Any]) -> None:
    try:
        codec().dumps(extra_body)
    except (TypeError, ValueError, RecursionError) as exc:
        reason = f"{type(exc).__name__}: {exc}" if not isinstance(exc, UnicodeError) else "a lone surrogate"
    else:
        return
    raise InvalidArgumentError(f"extra_body holds what JSON cannot carry ({reason})", argument="extra_body")


def encode_body(head: Mapping[str, Any], texts: Sequence[str], top_n: int | None) -> bytes:
    """One request's body: UTF-8 JSON.

    Args:
        head: From `request_head`.
        texts: The batch.
        top_n: What `planning.pushed_top_n` says; None: all scores.
    """
    if top_n is not None:
        settings = head.get("parameters", {})
        options = {**settings.get("return_options", {}), "top_n": top_n}
        head = {**head, "parameters": {**settings, "return_options": options}}
    return codec().body(head, texts)


def decode_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    url: str,
    count: int,
    top_n: int | None = None,
    echo: bool = False,
) -> BatchResult:
    """One answer to one batch, checked.

    Args:
        status: The HTTP status.
        headers: By lower-case name.
        body: The answer's bytes.
        url: For messages.
        count: Texts in the request.
        top_n: The ``top_n`` that was sent; None: none.
        echo: Whether the service was asked to echo the texts.

    Raises:
        StatusError: The status is not 200: the class says what it means.
        DecodeError: The body is not the JSON of a rerank answer.
        IntegrityError: Its indices or scores cannot be right.
    """
    if status != 200:
        raise error_of(status, headers, body, url)
    try:
        data = codec().loads(body)
    except ValueError:
        data = _NOT_JSON  # the exception holds the whole body, so it is left behind here
    if data is _NOT_JSON:
        raise DecodeError(
            f"{url} answered 200 with a body that is not JSON {described(headers, body)}: cut off, or not the service's "
            "own answer. Check the URL",
            url=url,
            trace=trace_of(headers, None),
        )
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        raise DecodeError(f"{url} answered JSON without a list of 'results'", url=url, trace=trace_of(headers, None))
    try:
        return _checked(data, results, count, count if top_n is None else min(top_n, count), echo=echo)
    except (IntegrityError, DecodeError) as exc:
        exc.args = (f"{url} answered with {exc}",)
        exc.url, exc.trace = url, trace_of(headers, data)
        raise


def _checked(data: dict[str, Any], results: list[Any], count: int, expected: int, *, echo: bool) -> BatchResult:
    indices: list[int] = []
    scores: list[float] = []
    plain = not echo
    try:
        for result in results:  # one pass: this runs for every passage
            index, score = result["index"], result["score"]
            if type(index) is not int:  # exact types, so that true is not taken for 1
                raise IntegrityError("an index that is not a whole number")
            if type(score) is not float:
                score = _as_float(score)
            if len(result) != _PLAIN_RESULT:
                plain = False
            indices.append(index)
            scores.append(score)
    except (TypeError, KeyError):
        raise IntegrityError("a result that is not an object with 'index' and 'score'") from None
    if not isfinite(sum(scores)) and not all(map(isfinite, scores)):  # the sum alone may overflow
        raise IntegrityError("a score that is not a finite number")
    # A service that does not cut is as good as one that does: the cut is made again after the merge.
    if sorted(indices) != list(range(count)):
        _check_cut(indices, count, expected)
    if plain:
        return made(BatchResult, (indices, scores, None, None, _envelope(data)))
    echoes = {result["index"]: text for result in results if (text := _echo(result)) is not None} if echo else None
    return BatchResult(indices, scores, echoes, _extras(results), _envelope(data))


def _check_cut(indices: list[int], count: int, expected: int) -> None:
    """Raises an IntegrityError unless these are so many different ones of all."""
    if len(set(indices)) != len(indices):
        raise IntegrityError("the same index twice")
    if indices and not (min(indices) >= 0 and max(indices) < count):
        raise IntegrityError(f"an index that is not one of 0 to {count - 1}")
    if len(indices) != expected:
        raise IntegrityError(f"{len(indices)} results where {expected} were asked for")


def _as_float(score: Any) -> float:
    try:
        return float(score) if type(score) in {int, float} else nan
    except OverflowError:
        return nan


def _echo(result: dict[str, Any]) -> str | None:
    # The documented form is {"text": ...}; a bare string has been seen by other clients.
    given = result.get("input")
    text = given.get("text") if isinstance(given, dict) else given
    return text if isinstance(text, str) else None


def _extras(results: list[dict[str, Any]]) -> dict[int, dict[str, Any]] | None:
    extras = {}
    for result in results:
        unknown = {name: value for name, value in result.items() if name not in _RESULT_FIELDS}
        if unknown:
            extras[result["index"]] = unknown
    return extras or None


def _envelope(data: dict[str, Any]) -> Envelope:
    said = data.get
    model_id, model_version, created_at, query = map(said, _TEXT_FIELDS)
    system, tokens = said("system"), said("input_token_count")
    return made(
        Envelope,
        (
            model_id if type(model_id) is str else None,
            model_version if type(model_version) is str else None,
            created_at if type(created_at) is str else None,
            tokens if type(tokens) is int else None,
            query if type(query) is str else None,
            _warnings(system) if isinstance(system, dict) else (),
            None if data.keys() <= _PLAIN_FIELDS else _unknown(data, system),
        ),
    )


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _unknown(data: dict[str, Any], system: Any) -> dict[str, Any] | None:
    unknown = {name: value for name, value in data.items() if name not in _PLAIN_FIELDS and name != "system"}
    if isinstance(system, dict) and not system.keys() <= {"warnings"}:
        unknown["system"] = {name: value for name, value in system.items() if name != "warnings"}
    return unknown or None


def _warnings(system: dict[str, Any]) -> tuple[ServiceWarning, ...]:
    given = system.get("warnings")
    warnings = []
    for each in given if isinstance(given, list) else []:
        if isinstance(each, dict) and isinstance(each.get("message"), str):
            more = each.get("additional_properties")
            warnings.append(
                ServiceWarning(
                    each["message"],
                    _text(each.get("id")),
                    _text(each.get("more_info")),
                    more if isinstance(more, dict) else None,
                )
            )
    return tuple(warnings)
