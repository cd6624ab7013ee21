"""The FastAPI example in a process of its own, with warnings as errors, and what it says at its end."""

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
BY_UVICORN = ("-m", "uvicorn", "examples.fastapi_app:app", "--port", "0")
BY_ITSELF = ("examples/fastapi_app.py",)


class WebApp:
    """A running example.

    Attributes:
        session: Speaks to it; each request by a path alone.
        said: The lines of its standard error so far.
        code: Its exit code; None while it runs.
    """

    def __init__(self, process):
        self._process = process
        self.session = None
        self.said = []
        self.code = None

    async def rank(self, query="bread", passages=("a mill", "bread and salt"), **body):
        """Status, body and headers of an answer."""
        body = {"query": query, "passages": list(passages)} | body
        async with self.session.post("/rerank", json=body) as answer:
            return answer.status, await answer.json(), answer.headers

    async def health(self):
        async with self.session.get("/health") as answer:
            return answer.status, await answer.json()

    async def healthy(self, **values):
        """Waits until the health endpoint says this."""
        async with asyncio.timeout(60):
            while not values.items() <= (await self.health())[1].items():  # noqa: ASYNC110 - over HTTP there is no event
                await asyncio.sleep(0.01)

    async def stop(self, number=signal.SIGINT):
        """Sends the signal, waits for the end, and gives the lines of standard error that are no INFO."""
        self._process.send_signal(number)
        async for line in self._process.stderr:
            self.said.append(line.decode().rstrip())
        self.code = await self._process.wait()
        return [line for line in self.said if not line.startswith("INFO: ")]

    async def listening(self):
        """Waits for the line that names the port; gives the address."""
        async for line in self._process.stderr:
            self.said.append(line.decode().rstrip())
            if found := re.search(r"running on (http://\S+)", self.said[-1]):
                return found[1]
        raise AssertionError("it ended before it listened:\n" + "\n".join(self.said))


def _environment(server, settings):
    service = {"URL": server.url, "APIKEY": server.api_key, "PROJECT_ID": server.project_id}
    ours = {"RERANK_MODEL": "lexical"} | {f"WATSONX_{name}": value for name, value in service.items()} | settings
    return os.environ | {"PYTHONWARNINGS": "error", "PORT": "0"} | {name: str(value) for name, value in ours.items()}


async def start(server, command=BY_UVICORN, **settings):
    """Starts it for a local server; settings are environment variables, which win over what the server says."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,  # uvicorn's access log
        stderr=asyncio.subprocess.PIPE,
        env=_environment(server, settings),
    )


@asynccontextmanager
async def web_app(server, command=BY_UVICORN, **settings):
    """The example while it runs; ended here if the test did not."""
    process = await start(server, command, **settings)
    app = WebApp(process)
    try:
        url = await app.listening()
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
            app.session = session
            yield app
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ending(server, command=BY_UVICORN, **settings):
    """The exit code and standard error of a start that fails."""
    process = await start(server, command, **settings)
    _, err = await process.communicate()
    return process.returncode, err.decode()
