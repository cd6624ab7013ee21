"""Drives another client in its own virtual environment: many rankings, so many at a time, by its own defaults.

In, on standard input:   {"url", "ca_file", "calls", "workers", "texts"}
Out, on standard output: {"version", "lost", "why": {class of exception: count}, "seconds", "strayed": [host]}
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata


def ibm(task):
    """Make the call by ``Rerank.generate`` of ibm-watsonx-ai, in threads."""
    from ibm_watsonx_ai import Credentials
    from ibm_watsonx_ai.foundation_models import Rerank

    url = task["url"]
    credentials = Credentials(
        url=url,
        api_key="made-up",
        auth_url=url + "/identity/token",
        platform_url=url,
        verify=task["ca_file"],
    )
    client = Rerank(model_id="canned", credentials=credentials, project_id="p")
    return lambda number: client.generate(query=str(number), inputs=task["texts"])["results"]


def litellm(task):
    """Make the call by ``arerank`` of LiteLLM."""
    import litellm as library

    os.environ["WATSONX_IAM_URL"] = task["url"] + "/identity/token"
    library.ssl_verify = task["ca_file"]

    async def call(number):
        answer = await library.arerank(
            model="watsonx/canned",
            query=str(number),
            documents=task["texts"],
            api_base=task["url"],
            api_key="made-up",
            project_id="p",
            return_documents=False,
        )
        return answer.results

    return call


def cohere(task):
    """Make the call by ``rerank`` of Cohere's asynchronous client, whose wire the server speaks too."""
    import cohere as library
    import httpx

    client = library.AsyncClientV2(
        "made-up",
        base_url=task["url"],
        httpx_client=httpx.AsyncClient(verify=task["ca_file"], timeout=60),
    )

    async def call(number):
        answer = await client.rerank(model="canned", query=str(number), documents=task["texts"])
        return answer.results

    return call


CLIENTS = {"ibm": ("ibm-watsonx-ai", ibm), "litellm": ("litellm", litellm), "cohere": ("cohere", cohere)}


async def load(call, calls, workers):
    """Make all calls; count the classes of what they raise, and of answers that lack results."""
    lost = Counter()
    left = iter(range(calls))
    threads = None if asyncio.iscoroutinefunction(call) else ThreadPoolExecutor(workers)

    async def worker():
        for number in left:
            try:
                if threads is None:
                    results = await call(number)
                else:
                    results = await asyncio.get_running_loop().run_in_executor(threads, call, number)
                lost["incomplete"] += len(results) != 10
            except Exception as exc:  # noqa: BLE001 - whatever a client raises is a lost call
                lost[type(exc).__name__] += 1

    await asyncio.gather(*(worker() for _ in range(workers)))
    return +lost


def main():
    """Run the task, and report."""
    strayed = set()

    def watch(event, arguments):
        """Refuse what is not this machine."""
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        elif event == "socket.getaddrinfo":
            host = arguments[0]
        else:
            return
        if host not in {None, "", "127.0.0.1", "::1", "localhost", b"127.0.0.1"}:
            strayed.add(str(host))
            raise OSError(f"{host} is not this machine")

    sys.addaudithook(watch)
    task = json.load(sys.stdin)
    distribution, maker = CLIENTS[sys.argv[1]]
    with contextlib.redirect_stdout(sys.stderr):  # clients print as they please
        call = maker(task)
        began_at = time.monotonic()
        why = asyncio.run(load(call, task["calls"], task["workers"]))
        seconds = time.monotonic() - began_at
    version = f"{distribution} {metadata.version(distribution)}"
    said = {"version": version, "lost": why.total(), "why": why, "seconds": seconds, "strayed": sorted(strayed)}
    json.dump(said, sys.stdout)


main()
