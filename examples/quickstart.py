"""Rank three passages against a question, on the local server.

For the service itself leave out the two lines marked "local" and change the three marked "your", for example to
`MODEL = "cross-encoder/ms-marco-minilm-l-12-v2"`,
`credentials={"url": "https://us-south.ml.cloud.ibm.com", "api_key": "..."}` and `project_id="..."`.
"""

import asyncio
from importlib.util import find_spec

from rerank_async import AsyncRerank
from rerank_async.server import serve  # local

# The real model comes with the extra `local`; the other one counts words and is always there.
MODEL = "sentence-transformers/all-minilm-l6-v2" if find_spec("onnxruntime") else "lexical"  # your model
PASSAGES = [
    "Bees collect nectar and turn it into honey.",
    "The bridge was closed for repairs until spring.",
    "Trains over the river are diverted while the crossing is being mended.",
]


async def main() -> None:
    async with (
        serve() as server,  # local
        AsyncRerank(
            MODEL,
            credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
            project_id=server.project_id,  # your project
        ) as client,
    ):
        response = await client.generate(query="Why was the bridge closed?", inputs=PASSAGES)
        for result in response.results:
            print(f"{result.score:6.3f}  {PASSAGES[result.index]}")


if __name__ == "__main__":
    asyncio.run(main())
