"""A string that shows itself only when asked to."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds a secret string behind a masked repr, so that it shows in no log, message or traceback with locals.

    It neither pickles nor formats; `reveal` is the only way to the value, and is called where the bytes go out.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def of(cls, value: object) -> object:
        """Wraps a str, and bytes as a `SealedBytes`; passes anything else (None, a Secret, a number) on as it is."""
        if isinstance(value, bytes | bytearray):
            return SealedBytes()
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


class SealedBytes:
    """Stands for bytes that were given where a str belongs. They are not kept: the error needs only their type."""
