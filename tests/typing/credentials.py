"""A typed use of credentials and token stores. mypy checks it; it is never run."""

# mypy: warn-unused-ignores

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from rerank_async import AsyncAPIClient, Credentials, MemoryTokenStore, Token, TokenStore


class Store:
    """A store of one's own."""

    def get(self, key: str) -> Token | None:
        return None

    def put(self, key: str, token: Token) -> None: ...

    def drop(self, key: str, token: Token) -> None: ...


def give() -> str:
    return "t"


async def give_later() -> tuple[str, timedelta]:
    return "t", timedelta(hours=1)


def right() -> None:
    credentials = Credentials("https://h", username="u", password="p", bedrock_url="https://b", version="5.1")
    assert_type(credentials.username, str | None)
    assert_type(credentials.flow, str | None)
    assert_type(Credentials.from_env("https://h"), Credentials)
    Credentials("https://h", token_function=give, proxies={"https": "http://proxy:3128", "http": None})
    Credentials("https://h", atoken_function=give_later, project_id="p", verify=False)
    stores: list[TokenStore] = [MemoryTokenStore(), Store()]
    for store in stores:
        AsyncAPIClient(credentials, "p", tokens=store)


def wrong() -> None:
    Credentials("https://h", token_function="t")  # type: ignore[arg-type]
    Credentials("https://h", atoken_function=give)  # type: ignore[arg-type]
    Credentials("https://h", flow=5)  # type: ignore[arg-type]
    Credentials("https://h", proxies="http://proxy:3128")  # type: ignore[arg-type]
    AsyncAPIClient(tokens={})  # type: ignore[arg-type]
