"""`make bench-bulk`: bulk jobs against servers on this machine. Name parts to run only them: cpu kills limit plan.

cpu: 1,000,000 pairs (10,000 queries by 100) out of a corpus of 1,000,000 passages, through the command line, beside two
things on the same requests: `generate_many` alone, in a process that runs, with the texts in memory; and a program of a
few lines that reads the requests, texts included, from JSON Lines and hands them to `generate_many`. kills: kill -9 at 50 random moments of 2,000 queries. limit: how much of 8
requests/s a job uses, a kill and a resume included. plan: the dry run beside what happens, at 2, 8 and 20 requests/s.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from bare_server import bare_server

from rerank_async import AsyncRerank, BatchOptions, Credentials, LimitOptions
from rerank_async.bulk.source import Source
from rerank_async.server import RateLimit, serve
from rerank_async.values.requests import RerankRequest

PASSAGES, QUERIES, DEPTH, LENGTH = 1_000_000, 10_000, 100, 300
HELPING = 500  # queries that `generate_many` alone is given at once, so that their texts fit into memory
KILLS, KILLED_QUERIES, IN_FLIGHT = 50, 2_000, 16
WORDS = ["some", "words", "that", "a", "passage", "of", "a", "usual", "length", "may", "have", "and", "the", "next"]
CLI = (sys.executable, "-m", "rerank_async.cli", "bulk")


def environment(url: str, key: str = "made-up", project: str = "p") -> dict[str, str]:
    return os.environ | {"WATSONX_URL": url, "WATSONX_TOKEN": key, "WATSONX_PROJECT_ID": project}


# CPU and memory


def make_collection(folder: Path) -> dict[str, str]:
    """A corpus of random words, queries, and a run of random candidates: the files by option."""
    draw = random.Random(1)
    with (folder / "corpus.jsonl").open("w") as file:
        for number in range(PASSAGES):
            text = f"passage {number} {' '.join(draw.choices(WORDS, k=80))}"[:LENGTH]
            file.write(json.dumps({"_id": f"doc{number}", "title": "", "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w") as queries, (folder / "first.run").open("w") as run:
        for number in range(QUERIES):
            queries.write(json.dumps({"_id": f"q{number}", "text": f"what does passage {number} say"}) + "\n")
            for rank, document in enumerate(draw.sample(range(PASSAGES), DEPTH), start=1):
                run.write(f"q{number} Q0 doc{document} {rank} {30 - rank / 8:.4f} first\n")
    return {name: str(folder / f"{name}.jsonl") for name in ("corpus", "queries")} | {"run": str(folder / "first.run")}


def client_of(url: str) -> AsyncRerank:
    return AsyncRerank(
        "canned",
        credentials=Credentials(url, token="made-up"),
        project_id="p",
        limits=LimitOptions(requests_per_second=math.inf),
        batching=BatchOptions(adaptive=False),  # as a job does
    )


def write_requests(files: dict[str, str], path: Path) -> str:
    """The requests of the run with their texts."""
    source = Source(None, **files)
    source.open()
    with path.open("w") as file:
        for item in source.items(lambda _at, _query: False):
            file.write(json.dumps({"id": item.id, "query": item.query, "inputs": item.inputs}) + "\n")
    source.close()
    return str(path)


async def by_hand(url: str, path: str) -> None:
    """What a program without bulk jobs does: read, rank, and keep nothing."""

    def requests() -> Iterator[RerankRequest]:
        with Path(path).open("rb") as file:
            for line in file:
                value = orjson.loads(line)
                yield RerankRequest(value["query"], value["inputs"], value["id"])

    async with client_of(url) as client, client.generate_many(requests()) as outcomes:
        async for outcome in outcomes:
            assert outcome.error is None


def run_by_hand(url: str, path: str) -> float:
    """CPU seconds of that program, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, __file__, "by-hand", url, path], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def alone(url: str, files: dict[str, str]) -> float:
    """CPU seconds of `generate_many` on the requests of the run; reading them is not counted."""
    source = Source(None, **files)
    source.open()
    items = source.items(lambda _at, _query: False)
    used = 0.0
    async with client_of(url) as client:
        while helping := [item for _, item in zip(range(HELPING), items, strict=False)]:
            requests = (RerankRequest(item.query, item.inputs, item.id) for item in helping)
            started = time.process_time()
            async with client.generate_many(requests) as outcomes:
                async for outcome in outcomes:
                    assert outcome.error is None
            used += time.process_time() - started
    source.close()
    return used


def run_job(url: str, files: dict[str, str], output: Path) -> tuple[float, float, list[float], dict[str, float]]:
    """The command line on the whole run: CPU seconds, peak and course of RSS in MB, the summary."""
    names = [word for name, file in files.items() for word in (f"--{name}", file)]
    command = [*CLI, *names, "-o", str(output), "--overwrite", "--json", "--model", "canned"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [*command, "--requests-per-second", "inf"], env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    course: list[float] = []

    def watch() -> None:
        while process.poll() is None:
            try:
                text = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            course.extend(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))
            time.sleep(0.5)

    watching = threading.Thread(target=watch)
    watching.start()
    out, err = process.communicate()
    watching.join()
    if process.returncode:
        sys.exit(err.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, max(course), course, json.loads(out)


def cpu(folder: Path) -> None:
    files = make_collection(folder)
    with bare_server(DEPTH) as url:
        _, _, _, built = run_job(url, {**files, "run": short(files["run"], folder)}, folder / "short.run")
        requests = write_requests(files, folder / "requests.jsonl")
        rows = []
        for _ in range(3):  # in turns, so that all meet the same noise
            base, by_hand_used = asyncio.run(alone(url, files)), run_by_hand(url, requests)
            rows.append((base, by_hand_used, *run_job(url, files, folder / "out.run")))
    print("| bulk, CPU s | generate_many alone | ratio | program by hand | ratio | peak RSS MB | RSS at 25, 50, 75 % |")
    print("|---|---|---|---|---|---|---|")
    for base, by_hand_used, used, peak, course, _ in rows:
        quarters = ", ".join(f"{course[len(course) * part // 4]:.0f}" for part in (1, 2, 3))
        ratios = f"{base:.1f} | **{used / base:.2f}** | {by_hand_used:.1f} | **{used / by_hand_used:.2f}**"
        print(f"| {used:.1f} | {ratios} | {peak:.0f} | {quarters} |")
    summary = rows[-1][-1]
    print(
        f"{summary['done']} queries, {summary['inputs']} pairs; the index was built before, in {built['index_seconds']} s"
    )


def short(run: str, folder: Path) -> str:
    """The first query of the run: its job builds the index."""
    path = folder / "short.first.run"
    with Path(run).open() as file:
        path.write_text("".join(line for _, line in zip(range(DEPTH), file, strict=False)))
    return str(path)


# kill -9


def write_queries(path: Path, count: int) -> Path:
    draw = random.Random(2)
    with path.open("w") as file:
        for number in range(count):
            inputs = [{"id": f"d{place}", "text": " ".join(draw.choices(WORDS, k=8))} for place in range(5)]
            file.write(json.dumps({"id": number, "query": " ".join(draw.choices(WORDS, k=3)), "inputs": inputs}) + "\n")
    return path


async def kills(folder: Path) -> None:
    source, draw = write_queries(folder / "q.jsonl", KILLED_QUERIES), random.Random(3)
    async with serve() as server:

        async def start(out: Path) -> asyncio.subprocess.Process:
            options = ("--resume", "--ordered", "--max-in-flight", str(IN_FLIGHT))
            return await asyncio.create_subprocess_exec(
                *(*CLI, str(source), "-o", str(out), "--model", "lexical", "--requests-per-second", "inf", *options),
                env=environment(server.url, server.issue_token(), server.project_id or ""),
                stderr=asyncio.subprocess.DEVNULL,
            )

        await (await start(folder / "undisturbed.jsonl")).wait()
        sent, started, out = server.counts.rerank, time.perf_counter(), folder / "killed.jsonl"
        for number in range(KILLS):
            process = await start(out)
            target = server.counts.rerank + draw.randint(0, KILLED_QUERIES // KILLS // 2)
            while server.counts.rerank <= target and process.returncode is None:  # noqa: ASYNC110 - it has no events
                await asyncio.sleep(0.001)
            await asyncio.sleep(draw.random() / 100)
            if process.returncode is not None:
                sys.exit(f"the job ended before kill {number + 1}")
            process.kill()
            await process.wait()
            if number % 2:
                with out.with_name("killed.jsonl.journal").open("ab") as file:
                    file.write(b'{"at":17,"id":17,"resul')
        code = await (await start(out)).wait()
        again = server.counts.rerank - sent - KILLED_QUERIES
        same = out.read_bytes() == (folder / "undisturbed.jsonl").read_bytes()
    print(
        "| kill -9 | exit code | equal, byte for byte | queries sent again | at most | s |\n|---|---|---|---|---|---|"
    )
    print(f"| {KILLS} | {code} | {same} | {again} | {IN_FLIGHT * KILLS} | {time.perf_counter() - started:.0f} |")
    if not same or again > IN_FLIGHT * KILLS:
        sys.exit("a query was lost, or too many were sent again")


# The limit


async def limit(folder: Path) -> None:
    rate, count = 8, 480
    source = write_queries(folder / "q.jsonl", count)
    async with serve(limit=RateLimit(requests=rate)) as server:
        command = (*CLI, str(source), "-o", str(folder / "l.jsonl"), "--model", "lexical", "--resume")
        env = environment(server.url, server.issue_token(), server.project_id or "")
        process = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.DEVNULL)
        while server.counts.rerank < count // 2:  # noqa: ASYNC110 - it has no events
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        killed = time.monotonic()
        process = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.DEVNULL)
        await process.wait()
        times = [(arrival.arrived_at, arrival.status) for arrival in server.requests]
        throttled = server.counts.throttled
    admitted = sorted(at for at, status in times if status == 200)
    gap = min(at for at in admitted if at > killed) - max(at for at in admitted if at < killed)
    middle = admitted[len(admitted) // 10 : len(admitted) * 9 // 10]
    share = (len(middle) - 1) / ((middle[-1] - middle[0]) * rate)
    print("| middle 80 % of a job at 8/s | |\n|---|---|")
    print(f"| share of the limit used, the kill and its gap of {gap:.1f} s included | {share:.1%} |")
    print(f"| the same without the gap | {(len(middle) - 1) / ((middle[-1] - middle[0] - gap) * rate):.1%} |")
    print(f"| answered with a 429 | {throttled} of {len(times)} ({throttled / len(times):.1%}) |")


# The dry run


async def summary_of(env: dict[str, str], *command: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    return json.loads((await process.communicate())[0])  # type: ignore[no-any-return]


async def plan(folder: Path) -> None:
    print("| requests/s | requests planned | sent | s planned | s taken | ratio |\n|---|---|---|---|---|---|")
    for rate in (2, 8, 20):
        source = write_queries(folder / f"p{rate}.jsonl", rate * 12)
        with source.open("a") as file:
            file.write(json.dumps({"id": "copies", "query": "a", "inputs": ["same"] * 3000}) + "\n")
            many = [f"text {number}" for number in range(1001)]
            file.write(json.dumps({"id": "many", "query": "a", "inputs": many}) + "\n")
        async with serve(limit=RateLimit(requests=rate)) as server:
            command = (*CLI, str(source), "--model", "lexical", "--requests-per-second", str(rate), "--json")
            env = environment(server.url, server.issue_token(), server.project_id or "")

            planned = await summary_of(env, *command, "--dry-run")
            done = await summary_of(env, *command, "-o", str(folder / f"p{rate}.out"))
            print(
                f"| {rate} | {planned['requests']} | {server.counts.rerank} | {planned['seconds']:.1f} "
                f"| {done['seconds']:.1f} | {done['seconds'] / planned['seconds']:.2f} |",
                flush=True,
            )


def main(names: list[str]) -> None:
    parts = {"cpu": cpu, "kills": kills, "limit": limit, "plan": plan}
    for name in names or parts:
        folder = Path(tempfile.mkdtemp(prefix="rerank_async-bench-"))
        print(f"### {name}\n", flush=True)
        try:
            found = parts[name](folder)
            if found is not None:
                asyncio.run(found)
        finally:
            shutil.rmtree(folder)
        print(flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["by-hand"]:
        asyncio.run(by_hand(*sys.argv[2:]))
    else:
        main(sys.argv[1:])
