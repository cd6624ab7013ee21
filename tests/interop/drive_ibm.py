"""Drives ``Rerank`` of ibm-watsonx-ai with an API key, as its documentation does.

``platform_url`` and ``auth_url`` are fields of its ``Credentials``: the first makes it take an unknown host for IBM
Cloud instead of Cloud Pak, the second names the token endpoint. The CA file is ``verify``.
"""

from driving import drive


def ranker(ca_file):
    """Rank by ``Rerank.generate``."""
    from ibm_watsonx_ai import Credentials
    from ibm_watsonx_ai.foundation_models import Rerank

    def rank(call):
        url = call["url"]
        credentials = Credentials(
            url=url, api_key=call["api_key"], auth_url=call["token_url"], platform_url=url, verify=ca_file
        )
        client = Rerank(model_id=call["model_id"], credentials=credentials, project_id=call["project_id"])
        params = None if call["top_n"] is None else {"return_options": {"top_n": call["top_n"]}}
        answer = client.generate(query=call["query"], inputs=call["texts"], params=params)
        return [(result["index"], result["score"]) for result in answer["results"]]

    return rank


drive(["ibm-watsonx-ai"], ranker)
