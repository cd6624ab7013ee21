"""Drives ``WatsonxRerank`` of langchain-ibm as a retriever does, through ``compress_documents``.

Its own arguments have no place for the token endpoint, so it is handed an ``APIClient`` (``watsonx_client=``).
"""

from driving import drive


def ranker(ca_file):
    """Rank by ``WatsonxRerank.compress_documents``."""
    from ibm_watsonx_ai import APIClient, Credentials
    from langchain_core.documents import Document
    from langchain_ibm import WatsonxRerank

    def rank(call):
        url = call["url"]
        credentials = Credentials(
            url=url, api_key=call["api_key"], auth_url=call["token_url"], platform_url=url, verify=ca_file
        )
        params = None if call["top_n"] is None else {"return_options": {"top_n": call["top_n"]}}
        client = WatsonxRerank(
            model_id=call["model_id"],
            project_id=call["project_id"],
            params=params,
            watsonx_client=APIClient(credentials),
        )
        documents = [Document(text, metadata={"index": index}) for index, text in enumerate(call["texts"])]
        ranked = client.compress_documents(documents, call["query"])
        return [(document.metadata["index"], document.metadata["relevance_score"]) for document in ranked]

    return rank


drive(["langchain-ibm", "ibm-watsonx-ai", "langchain-core"], ranker)
