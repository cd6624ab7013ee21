"""The advice in errors, which names arguments of Python, put in what a command can be told."""

from __future__ import annotations

import re
from typing import Final

_FOR_COMMANDS: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\bcredentials\.url\b", "the address"),
        (r"pass verify='/path/to/ca\.pem'", "set SSL_CERT_FILE=/path/to/ca.pem"),
        (r"give credentials=, or set ", "set "),
        (
            r"If it is a new one, give auth_url= too, the whole address of its token endpoint",
            "If it is a new one, only a Python program can use it yet, by Credentials(auth_url=...)",
        ),
        (
            r"give username with password or api_key\. For an IAM elsewhere give api_key and auth_url=, .*; or give a token",
            "set WATSONX_USERNAME with WATSONX_PASSWORD or WATSONX_APIKEY; or WATSONX_TOKEN",
        ),
        (r", and are attached to this error", ""),
        (r", or allow_http_hosts=\(.*?\) where the network in between is your own", ""),
        (r", or pass trust_env=False", ", or unset it"),
        (r"; `await client\.model_specs\(\)` lists what this service can rerank with", ""),  # `exits` says how
        (r"set params=\{'truncate_input_tokens': n\}", "cut them with --truncate N"),
        (r", or raise max_bytes", ""),
        (r" \(Timeouts\.\w+\)", ""),
        (r"\b(?:Batch|Retry)Options\.\w+ = ", "the limit of "),
    )
)


def for_commands(message: str) -> str:
    """The message without what only a Python program could follow."""
    for pattern, words in _FOR_COMMANDS:
        message = pattern.sub(words, message)
    return message
