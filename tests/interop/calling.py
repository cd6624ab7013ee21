"""Making the calls: with `AsyncRerank` here, with another client in a process of its own virtual environment."""

import asyncio
import json
import os
from importlib import metadata
from pathlib import Path

import attrs

from rerank_async import AsyncRerank, LimitOptions
from rerank_async.errors import RerankError

HERE = Path(__file__).parent
SECONDS = 300.0  # for one driver; the first import of a client compiles it, which takes a busy machine a minute

# Only what a client needs: no proxies, no settings of whoever runs this, no tracing, no price list from the network.
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


class DriverError(Exception):
    """A driver that did not report: it failed, or took too long."""


async def ours(ca_file, calls):
    """Answer the calls with `AsyncRerank`, in the form in which a driver reports."""
    answers = {}
    for call in calls:
        client = AsyncRerank(
            call.model_id,
            None if call.top_n is None else {"return_options": {"top_n": call.top_n}},
            {"url": call.url, "api_key": call.api_key, "auth_url": call.token_url},
            call.project_id,
            verify=ca_file,
            limits=LimitOptions(requests_per_second=1000),
        )
        async with client:
            try:
                response = await client.generate(call.query, call.texts)
            except RerankError as exc:
                answers[call.name] = {"error": f"{type(exc).__name__}: {exc}"}
            else:
                answers[call.name] = {"results": [[result.index, result.score] for result in response.results]}
    return {"versions": {"rerank_async": metadata.version("rerank_async")}, "answers": answers, "strayed": []}


async def theirs(python, driver, ca_file, calls):
    """Answer the calls with another client.

    Args:
        python: The interpreter of the client's virtual environment.
        driver: The driver's file, from this folder.
        ca_file: The CA file that it is told of, or None.
        calls: The calls.

    Returns:
        The driver's report.

    Raises:
        DriverError: With the end of what it said on standard error.
    """
    task = {"ca_file": ca_file, "calls": [attrs.asdict(call) for call in calls]}
    pipe = asyncio.subprocess.PIPE
    environment = {**_ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent"}
    command = (str(python), str(HERE / driver))
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    except OSError as exc:
        raise DriverError(f"cannot start {python}: {exc.strerror}; `make interop` makes that environment") from exc
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(json.dumps(task).encode())
    except TimeoutError:
        raise DriverError(f"{driver} gave no report within {SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DriverError(f"{driver} ended with {process.returncode}:\n{err.decode(errors='replace')[-2000:]}")
    return json.loads(out)
