"""Ask the Python standard library: its docstrings, ranked for a dozen questions at once by a real model."""

import asyncio
import sys
from textwrap import shorten

from stdlib_docstrings import passages

from rerank_async import AsyncRerank, LimitOptions, Merged, RerankModels
from rerank_async.server import ModelUnavailableError, RateLimit, serve

try:
    from rich import box, console, progress, table
except ImportError:
    sys.exit("this example needs: pip install '.[cli,local]' in a checkout of rerank_async")

QUESTIONS = """run a coroutine with a timeout; create a temporary directory that is removed afterwards; compress a file;
parse command line arguments; copy a whole folder to another place; split a shell command into words; find all files
that match a pattern; run another program and capture its output; remember the results of an expensive function;
generate a random password or token; replace part of an object during a test; compare two texts line by line"""


async def main() -> None:
    texts, questions = passages(), " ".join(QUESTIONS.split()).split("; ")
    out, terminal = console.Console(markup=False, highlight=False), console.Console(stderr=True)
    out.print(f"{len(texts)} docstrings, {len(questions)} questions, a local server that admits 2 requests a second:")
    with progress.Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("questions answered", total=len(questions))
        async with (
            serve(limit=RateLimit(requests=2), preload=[RerankModels.ALL_MINILM_L6_V2]) as server,
            AsyncRerank(
                RerankModels.ALL_MINILM_L6_V2,
                params={"truncate_input_tokens": 128, "return_options": {"top_n": 5, "inputs": True}},
                credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
                project_id=server.project_id,  # your project
                limits=LimitOptions(requests_per_second=2),
                observer=lambda event: bar.advance(task) if isinstance(event, Merged) else None,
            ) as client,
        ):
            answers = await asyncio.gather(*(client.generate(question, texts) for question in questions))
    for question, answer in zip(questions, answers, strict=True):
        best = table.Table("score", "passage", title=f"\n{question}", title_justify="left", box=box.SIMPLE_HEAD)
        for result in answer.results:
            best.add_row(f"{result.score:.3f}", shorten(result.input or "", 66, placeholder=" ..."))
        out.print(best)
    stats = [answer.stats for answer in answers]
    requests, waited = sum(one.requests for one in stats), sum(one.waited for one in stats)
    out.print(f"{requests} requests, {sum(one.throttled for one in stats)} of them answered with a 429")
    out.print(
        f"{max(one.seconds for one in stats):.0f} s in all; a request waited {waited / requests:.1f} s on average"
    )
    out.print(f"for the limiter, {waited:.0f} s added up over requests that waited side by side")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ModelUnavailableError as error:
        sys.exit(f"this example needs the real model: {error}")
