"""A string that shows itself only when asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn


class Secret:
    """Holds a secret string behind a masked repr, so that it shows in no log, message or traceback with locals.

    It neither pickles nor formats; `reveal` is the only way to the value, and is called where the bytes go out.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def of(cls, value: object) -> object:
        """Wraps a str, and bytes as a `Sealed`; passes anything else (None, a Secret, a number) on as it is."""
        if isinstance(value, bytes | bytearray):
            return Sealed("bytes")
        return cls(value) if isinstance(value, str) else value

    def reveal(self) -> str:
        """The value itself. Use it inline: a local variable would show in tracebacks."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret does not pickle; pass the credentials by the environment and read them there")


class Sealed:
    """Stands for what was given in place of a str or a dict. It is not kept: the error needs only the name of its type."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


def kind_of(value: object) -> str:
    """The name of the type of what was given, for messages."""
    if isinstance(value, Sealed):
        return value.kind
    return "str" if isinstance(value, Secret) else type(value).__name__


class SealedHeaders(Mapping[str, str]):
    """Headers of which some are secret. Its repr shows the names alone."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str | Secret]) -> None:
        self._values = {name: value if isinstance(value, Secret) else Secret(value) for name, value in values.items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name].reveal()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"SealedHeaders({', '.join(map(str, self._values))})"


def sealed_headers(headers: Any) -> Any:
    """Headers as the caller gave them, with each value wrapped, as it may be a key. Never raises."""
    if isinstance(headers, Mapping):
        return SealedHeaders(headers)
    return Sealed(type(headers).__name__) if isinstance(headers, list | tuple | set) else Secret.of(headers)
