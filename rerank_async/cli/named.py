"""Arguments that name something, and so are never empty."""

from __future__ import annotations

from typing import Any

import click


class _Name(click.types.StringParamType):
    """A text that is not empty. `-o "$OUT"` where OUT is not set is a mistake, and must not mean the default."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As the base class does it.

        Raises:
            BadParameter: It is empty.
        """
        if value == "":
            self.fail("it is empty; if it comes from a variable of the shell, that is not set", param, ctx)
        return super().convert(value, param, ctx)


NAME = _Name()
