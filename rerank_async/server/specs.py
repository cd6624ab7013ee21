"""The model specs: what is listed of each scorer, the filter grammar, and the pages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from rerank_async.server.bodies import Refusal
from rerank_async.server.scoring import Scorer
from rerank_async.values import contract

Spec = Mapping[str, Any]

_FILTERS: Final = (
    "modelid",
    "provider",
    "source",
    "input_tier",
    "output_tier",
    "tier",
    "task",
    "lifecycle",
    "function",
)
_TERM: Final = re.compile(rf"(?P<negated>!?)(?P<kind>{'|'.join(_FILTERS)})_(?P<value>.+)")
_MAX_LIMIT: Final = 200
_DEFAULT_LIMIT: Final = 100


def is_available(scorer: Scorer) -> bool:
    """Say whether a model can be loaded here, as far as its scorer knows without loading it."""
    return bool(getattr(scorer, "available", True))


def spec_of(model_id: str, scorer: Scorer) -> dict[str, Any]:
    """Describe a scorer as the service describes a model.

    ``model_limits`` is there only if the scorer knows one: the service's own entry of its cross-encoder has none.
    """
    provider, _, label = model_id.rpartition("/")
    functions: Sequence[str] = getattr(scorer, "functions", ("rerank",))
    spec: dict[str, Any] = {
        "model_id": model_id,
        "label": label,
        "provider": provider or "local",
        "source": provider or "local",
        "functions": [{"id": function} for function in functions],
        "input_tier": "class_c1",
        "output_tier": "class_c1",
        "lifecycle": [{"id": "available", "start_date": "2024-09-17"}],
    }
    if scorer.max_sequence_length is not None:
        spec["model_limits"] = {"max_sequence_length": scorer.max_sequence_length}
    return spec


@attrs.frozen
class _Term:
    kind: str
    value: str
    negated: bool

    def matches(self, spec: Spec) -> bool:
        return (self.value in _values(spec, self.kind)) is not self.negated


@attrs.frozen
class Filter:
    """A parsed ``filters`` parameter: terms joined by ``and`` or ``or``."""

    terms: tuple[_Term, ...]
    every: bool

    def matches(self, spec: Spec) -> bool:
        """Say whether a model passes; no term lets every model pass."""
        join = all if self.every or not self.terms else any
        return join(term.matches(spec) for term in self.terms)


def parse_filter(words: str) -> Filter:
    """Read ``tfilter[,tfilter][:(or|and)]``, where a term is ``[!]kind_value``; without a suffix, ``or``.

    Source: IBM's documentation of the foundation model specs.

    Raises:
        Refusal: A term of an unknown kind, or without a value.
    """
    body, colon, joint = words.rpartition(":")
    if not colon or joint not in {"and", "or"}:
        body, joint = words, "or"
    terms = []
    for word in filter(None, body.split(",")):
        found = _TERM.fullmatch(word)
        if found is None:
            message = f"The filter '{word}' is not [!]kind_value with a kind of: {', '.join(_FILTERS)}"
            raise Refusal(400, contract.INVALID_ARGUMENT, message, ("parameter", "filters"))
        terms.append(_Term(found["kind"], found["value"], bool(found["negated"])))
    return Filter(tuple(terms), joint == "and")


def _values(spec: Spec, kind: str) -> set[str]:
    if kind in {"function", "task", "lifecycle"}:
        listed = spec.get("lifecycle" if kind == "lifecycle" else f"{kind}s", ())
        return {entry["id"] for entry in listed}
    names = {"modelid": ("model_id",), "tier": ("input_tier", "output_tier")}.get(kind, (kind,))
    return {spec[name] for name in names if name in spec}


def specs_page(specs: Sequence[Spec], query: Mapping[str, str], path: str) -> dict[str, Any]:
    """Give one page of the models that pass the filter.

    Args:
        specs: All models, in the order in which they are listed.
        query: The query parameters: ``filters``, ``limit``, ``start``; the others are carried on in ``next``.
        path: The URL without its query, for ``first`` and ``next``.

    Raises:
        Refusal: A parameter that makes no sense.
    """
    limit = _limit(query.get("limit"))
    at = _start(query.get("start"))
    wanted = parse_filter(query.get("filters", ""))
    found = [spec for spec in specs if wanted.matches(spec)]
    carried = {name: value for name, value in query.items() if name != "start"} | {"limit": str(limit)}
    page: dict[str, Any] = {
        "limit": limit,
        "first": {"href": f"{path}?{urlencode(carried)}"},
        "total_count": len(found),
        "resources": list(found[at : at + limit]),
    }
    if at + limit < len(found):
        page["next"] = {"href": f"{path}?{urlencode(carried | {'start': _start_token(at + limit)})}"}
    return page


def _limit(words: str | None) -> int:
    if words is None:
        return _DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,3}", words) or not 1 <= int(words) <= _MAX_LIMIT:
        message = f"The query parameter 'limit' must be an integer from 1 to {_MAX_LIMIT}"
        raise Refusal(400, contract.INVALID_ARGUMENT, message, ("parameter", "limit"))
    return int(words)


def _start_token(at: int) -> str:
    return base64.urlsafe_b64encode(f"at:{at}".encode()).decode().rstrip("=")


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        words = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        found = re.fullmatch(r"at:([0-9]{1,9})", words)
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        message = "The query parameter 'start' is not one that this service gave out"
        raise Refusal(400, contract.INVALID_ARGUMENT, message, ("parameter", "start"))
    return int(found[1])
