"""The command line in a process of its own."""

import asyncio
import os
import shlex
import signal
import sys

CLI = (sys.executable, "-W", "error", "-m", "rerank_async.cli")


PERSONAL = frozenset({"NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONUNBUFFERED"})
"""Variables that somebody may have set, and that change what a command writes or when."""


class Ran:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.decode(), err.decode()

    @property
    def rows(self):
        return [line.split("\t") for line in self.out.splitlines()]


def environment(server=None, **more):
    found = {name: value for name, value in os.environ.items() if name not in PERSONAL}
    if server is not None:
        found |= {
            "WATSONX_URL": server.url,
            "WATSONX_APIKEY": server.api_key,
            "WATSONX_PROJECT_ID": server.project_id,
        }
    return found | more


async def start(*args, server=None, command=CLI, **more):
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *command,
        *args,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=environment(server, **more),
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c():
    """A shell that runs the suite in the background has it ignore SIGINT, and every child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def run(*args, stdin=b"", server=None, command=CLI, **more):
    process = await start(*args, server=server, command=command, **more)
    out, err = await process.communicate(stdin)
    return Ran(process.returncode, out, err)


def one_sentence(ran):
    assert ran.err.startswith("rerank-async: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return ran.err


async def serving(*args, **more):
    """Starts ``serve`` on a free port; gives the process and what it says until it is ready."""
    process = await start("serve", "--port", "0", *args, **more)
    said = ""
    while "Ctrl-C" not in said:
        line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        said += line.decode()
    return process, said


def exported(said):
    line = next(line for line in said.splitlines() if "export" in line)
    return dict(word.split("=", 1) for word in shlex.split(line)[1:])
