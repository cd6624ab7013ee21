"""Options that several commands have, and arguments that name something, which are never empty."""

from __future__ import annotations

from typing import Any

import click

from rerank_async.values.models import RerankModels

SERVICE_MODEL = RerankModels.MS_MARCO_MINILM_L_12_V2.value
"""What the service ranks with if no model is named."""

LOCAL_MODEL = RerankModels.ALL_MINILM_L6_V2.value
"""The same for this machine."""


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

model_option = click.option(
    "--model", type=NAME, metavar="ID", help=f"The model.  [default: {SERVICE_MODEL}; with --local: {LOCAL_MODEL}]"
)
url_option = click.option("--url", type=NAME, help="The service's address.  [default: WATSONX_URL]")
project_option = click.option(
    "--project-id", type=NAME, metavar="ID", help="The project.  [default: WATSONX_PROJECT_ID]"
)
space_option = click.option(
    "--space-id", type=NAME, metavar="ID", help="The space, instead of a project.  [default: WATSONX_SPACE_ID]"
)
