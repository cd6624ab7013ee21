"""Pages of the service's model specs to `ModelSpec` values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs

from rerank_async.errors import DecodeError
from rerank_async.policy.json_codec import codec
from rerank_async.policy.wire_errors import error_of
from rerank_async.values.response import ModelSpec

if TYPE_CHECKING:
    import cattrs


@attrs.frozen(eq=False)
class _Named:
    id: str


@attrs.frozen(eq=False)
class _Limits:
    max_sequence_length: int | None = None


@attrs.frozen(eq=False)
class _Resource:
    model_id: str
    label: str | None = None
    provider: str | None = None
    functions: tuple[_Named, ...] = ()
    lifecycle: tuple[_Named, ...] = ()
    model_limits: _Limits | None = None


@attrs.frozen(eq=False)
class _Link:
    href: str


@attrs.frozen(eq=False)
class _Page:
    resources: tuple[_Resource, ...]
    next: _Link | None = None


@cache
def _converter() -> cattrs.Converter:
    import cattrs  # noqa: PLC0415 - its hooks are built at first use, not at import

    converter = cattrs.Converter()
    # cattrs would turn null into "None" and 1.5 into 1.
    for kind in (str, int):
        converter.register_structure_hook(kind, _exactly)
    return converter


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"not {kind.__name__}")
    return value


def decode_specs(
    status: int, headers: Mapping[str, str], body: bytes, url: str
) -> tuple[tuple[ModelSpec, ...], str | None]:
    """One page of specs, and the ``start`` of the next one; None: this was the last.

    Raises:
        StatusError: A bad status.
        DecodeError: Not a page of specs; the message has the path of what is wrong.
    """
    if status != 200:
        raise error_of(status, headers, body, url)
    import cattrs  # noqa: PLC0415 - as above

    try:
        data = codec().loads(body)
        page = _converter().structure(data, _Page)
        specs = tuple(_spec(each, raw) for each, raw in zip(page.resources, data["resources"], strict=True))
    except cattrs.BaseValidationError as exc:
        raise DecodeError(f"{url} answered model specs of another shape: {_paths(exc)}", url=url) from None
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise DecodeError(f"{url} answered something that is not a page of model specs", url=url) from exc
    return specs, None if page.next is None else _start_of(page.next.href)


def _spec(resource: _Resource, raw: dict[str, Any]) -> ModelSpec:
    return ModelSpec(
        model_id=resource.model_id,
        label=resource.label,
        provider=resource.provider,
        functions=tuple(each.id for each in resource.functions),
        max_sequence_length=resource.model_limits.max_sequence_length if resource.model_limits else None,
        lifecycle=tuple(each.id for each in resource.lifecycle),
        raw=raw,
    )


def _start_of(href: str) -> str | None:
    starts = parse_qs(urlsplit(href).query).get("start")
    return starts[0] if starts else None


def _paths(exc: cattrs.BaseValidationError) -> str:
    import cattrs  # noqa: PLC0415 - as above

    return "; ".join(cattrs.transform_error(exc))
