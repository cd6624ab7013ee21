"""From IBM's `Rerank` to `AsyncRerank`: one import, one `async with`, one `await`.

With ibm-watsonx-ai the same ranking is:

    from ibm_watsonx_ai import Credentials
    from ibm_watsonx_ai.foundation_models import Rerank

    reranker = Rerank(model_id=MODEL, params=PARAMS, credentials=Credentials(url=..., api_key=...), project_id=...)
    response = reranker.generate(query=QUERY, inputs=INPUTS)
    for result in response["results"]:
        print(result["index"], result["score"], result["input"]["text"])

Arguments have the same names in the same order, dicts are taken where IBM takes them, and the response reads like
IBM's dict. What changes: lists may be longer than 1,000, a 429 is waited for, and results always come best first.
"""

import asyncio

from rerank_async import AsyncRerank, Credentials
from rerank_async.server import serve

MODEL = "lexical"  # at the service for example "cross-encoder/ms-marco-minilm-l-12-v2"
PARAMS = {"truncate_input_tokens": 100, "return_options": {"top_n": 2, "inputs": True}}
QUERY = "how long do eggs boil"
INPUTS = [
    "Water the seedlings every morning.",
    "An egg keeps for about a month.",
    "Eggs boil for ten minutes until they are hard.",
]


async def main() -> None:
    async with serve() as server:
        credentials = Credentials(url=server.url, api_key=server.api_key)  # your url, your key
        project_id = server.project_id  # your project
        async with AsyncRerank(
            model_id=MODEL, params=PARAMS, credentials=credentials, project_id=project_id
        ) as reranker:
            response = await reranker.generate(query=QUERY, inputs=INPUTS)

    for result in response["results"]:  # as with IBM's dict
        print(result["index"], result["score"], result["input"]["text"])
    best = response.results[0]  # the same, typed
    print("best:", best.index, best.score, best.input)


if __name__ == "__main__":
    asyncio.run(main())
