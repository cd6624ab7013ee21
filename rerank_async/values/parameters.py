"""What a request may ask for beside query and inputs: `RerankParameters`, `ReturnOptions`, `Crypto`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.checks import check_encodable, integer_from, optional_boolean, suggestion

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class ReturnOptions:
    """What the answer holds.

    Attributes:
        top_n: Only the n best results, at least 1; None: all. More than there are inputs: all.
        inputs: True: each result carries its text as ``result.input``. It comes from the caller's own list, not over
            the network (with ``crypto``: from the service).
        query: True: the response carries the query as ``response.query``.
    """

    top_n: int | None = attrs.field(default=None, validator=integer_from(1, optional=True))
    inputs: bool | None = attrs.field(default=None, validator=optional_boolean)
    query: bool | None = attrs.field(default=None, validator=optional_boolean)


def _return_options(value: Any) -> Any:
    return from_mapping(ReturnOptions, value, "params.return_options") if isinstance(value, Mapping) else value


def _check_return_options(_: Any, __: Any, value: Any) -> None:
    if value is not None and not isinstance(value, ReturnOptions):
        raise InvalidTypeError(
            f"return_options must be a ReturnOptions or a dict, not {type(value).__name__}", argument="return_options"
        )


@attrs.frozen(kw_only=True, repr=False)
class RerankParameters:
    """Parameters of a rerank request, named as on the wire.

    Attributes:
        truncate_input_tokens: Cut each text on the right to this many tokens, at least 1; None: an over-length text is
            an error of the service. A value above the model's length does not help against it.
        return_options: A `ReturnOptions`, or a dict of its fields.
    """

    truncate_input_tokens: int | None = attrs.field(default=None, validator=integer_from(1, optional=True))
    return_options: ReturnOptions | None = attrs.field(
        default=None, converter=_return_options, validator=_check_return_options
    )

    def __repr__(self) -> str:
        # Tracebacks with locals show objects whose constructor failed half-way.
        shown = {name: getattr(self, name, None) for name in ("truncate_input_tokens", "return_options")}
        return f"RerankParameters({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


@attrs.frozen
class Crypto:
    """Encryption by the tenant's own key.

    Attributes:
        key_ref: The reference of the wrapped data key: an IBM Key Protect CRN, ``crn:v1:...:wdek:...``.
    """

    key_ref: str = attrs.field()

    @key_ref.validator
    def _check(self, _: Any, value: Any) -> None:
        if not isinstance(value, str):
            raise InvalidTypeError(f"crypto.key_ref must be a str, not {type(value).__name__}", argument="crypto")
        if not value:
            raise InvalidArgumentError("crypto.key_ref is empty", argument="crypto")
        check_encodable(value, "crypto.key_ref", None)


def from_mapping(cls: type[_T], value: Mapping[str, Any], argument: str) -> _T:
    """Builds a value class from a mapping of its fields.

    Raises:
        InvalidArgumentError: A name is unknown (the nearest known one is suggested), or a value is out of range.
        InvalidTypeError: A value has the wrong type.
    """
    known = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]
    for name in value:
        if name in _NESTED and cls is RerankParameters:
            shown = value[name] if isinstance(value[name], int) else "..."
            raise InvalidArgumentError(
                f'{argument}: {name!r} belongs inside of return_options: {{"return_options": {{"{name}": {shown}}}}}',
                argument=argument,
            )
        if name not in known:
            raise InvalidArgumentError(
                f"{argument}: unknown name {name!r}; {suggestion(str(name), known)}. "
                "For a field that the service knows and this version does not, use extra_body=",
                argument=argument,
            )
    return cls(**value)


def as_parameters(value: RerankParameters | Mapping[str, Any] | None, argument: str = "params") -> RerankParameters:
    """Parameters as the caller gave them (object, dict or None), as an object."""
    if isinstance(value, RerankParameters):
        return value
    if value is None:
        return _NONE
    if isinstance(value, Mapping):
        return from_mapping(RerankParameters, value, argument)
    raise InvalidTypeError(
        f"{argument} must be a RerankParameters or a dict, not {type(value).__name__}", argument=argument
    )


def as_crypto(value: Crypto | Mapping[str, Any] | None) -> Crypto | None:
    """The crypto argument as the caller gave it (object, dict or None), as an object or None."""
    if value is None or isinstance(value, Crypto):
        return value
    if isinstance(value, Mapping):
        if "key_ref" not in value:
            raise InvalidArgumentError("crypto: 'key_ref' is missing", argument="crypto")
        return from_mapping(Crypto, value, "crypto")
    raise InvalidTypeError(f"crypto must be a Crypto or a dict, not {type(value).__name__}", argument="crypto")


_NONE = RerankParameters()
_NESTED = frozenset(field.name for field in attrs.fields(ReturnOptions))
