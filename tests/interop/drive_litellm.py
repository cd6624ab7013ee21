"""Drives ``arerank`` of LiteLLM with an API key.

The token endpoint is the variable ``WATSONX_IAM_URL``; the CA file is ``litellm.ssl_verify``.
"""

import asyncio
import os

from driving import drive


def ranker(ca_file):
    """Rank by ``litellm.arerank``."""
    import litellm

    if ca_file is not None:
        litellm.ssl_verify = ca_file

    def rank(call):
        os.environ["WATSONX_IAM_URL"] = call["token_url"]
        answer = asyncio.run(
            litellm.arerank(
                model=f"watsonx/{call['model_id']}",
                query=call["query"],
                documents=call["texts"],
                top_n=call["top_n"],
                api_base=call["url"],
                api_key=call["api_key"],
                project_id=call["project_id"],
                return_documents=False,
            )
        )
        return [(result["index"], result["relevance_score"]) for result in answer.results]

    return rank


drive(["litellm"], ranker)
