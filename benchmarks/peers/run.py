"""Three clients from PyPI beside ours: 240 calls at a limit of 8/s, and 500 calls of which 20 % meet a fault.

Usage: ``python benchmarks/peers/run.py NAME=INTERPRETER ...``; `make bench-peers` makes the environments and does it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import trustme

sys.path.insert(0, str(Path(__file__).parents[1]))

from door import FAULTS
from harness import Place, bench_server, client, crowd, outcomes, passages
from report import Figure, table

from rerank_async import LimitOptions

WORKERS, RATE, LATENCY = 32, 8, 0.05
TEXTS = passages(10)
SCENES: Mapping[str, tuple[int, dict[str, Any]]] = {
    "240 calls at 8/s": (240, {"rate": RATE, "text": True}),
    "500 calls, 20 % faults": (500, {"faults": FAULTS}),
}
# Only what a client needs: no proxies, no settings of whoever runs this, no price list from the network.
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


async def theirs(name: str, python: str, task: Mapping[str, Any], home: str) -> dict[str, Any]:
    """What a driver reports."""
    command = (python, str(Path(__file__).with_name("drive.py")), name)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env={**ENVIRONMENT, "HOME": home}
    )
    out, err = await process.communicate(json.dumps(task).encode())
    if process.returncode:
        words = " ".join(err.decode(errors="replace").split())[-200:]
        return {"version": name, "lost": float("nan"), "why": {"it ended with": words}, "seconds": 0.0, "strayed": []}
    report: dict[str, Any] = json.loads(out)
    return report


async def ours(url: str, calls: int, rate: float, ca_file: str) -> dict[str, Any]:
    """The same by our client."""
    async with client(url, limits=LimitOptions(requests_per_second=rate), verify=ca_file) as found:
        began_at = time.monotonic()
        why: Counter[str] = await crowd(lambda number: found.generate(str(number), TEXTS), calls, WORKERS)
        seconds = time.monotonic() - began_at
    return {"version": "rerank_async", "lost": why.total(), "why": why, "seconds": seconds, "strayed": []}


async def compare(interpreters: Mapping[str, str]) -> list[Figure]:
    """Every client in every scene, one after the other."""
    figures = []
    with tempfile.TemporaryDirectory() as room, bench_server() as control_url:
        authority, ca_file, certificate = trustme.CA(), f"{room}/ca.pem", f"{room}/server.pem"
        authority.cert_pem.write_to_path(ca_file)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        async with aiohttp.ClientSession() as session:
            place = Place("bucket", False, session, 0, control_url)
            for scene, (calls, settings) in SCENES.items():
                ideal = (calls - RATE) / RATE + LATENCY
                for name in ("ours", *interpreters):
                    door = await place.open(base=LATENCY, certificate=certificate, **settings)
                    if name == "ours":
                        found = await ours(door.url, calls, RATE if "rate" in settings else float("inf"), ca_file)
                    else:
                        texts = {"texts": TEXTS, "calls": calls, "workers": WORKERS}
                        task = {"url": door.url, "ca_file": ca_file, **texts}
                        found = await theirs(name, interpreters[name], task, room)
                    log = outcomes(await door.log())
                    context = f"{found['seconds']:.1f} s, {log.total()} requests, {log['limited']} 429s of the limit"
                    context += "".join(f", {kind} {count}" for kind, count in found["why"].items())
                    context += f", reached for {', '.join(found['strayed'])}" if found["strayed"] else ""
                    what, bound = f"{scene}: {found['version']}", 0 if name == "ours" else None
                    figures.append(
                        Figure(point="peers", what=f"{what}: lost", value=found["lost"], bound=bound, context=context)
                    )
                    if "rate" in settings:
                        ratio = found["seconds"] / ideal
                        figures.append(Figure(point="peers", what=f"{what}: wall / ideal", value=ratio))
    return figures


if __name__ == "__main__":
    print(table(asyncio.run(compare(dict(argument.split("=", 1) for argument in sys.argv[1:])))))
