"""Where the platform of a service is: the API that knows projects and spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rerank_async.values.urls import host_of

PLATFORM_HOSTS: Final[Mapping[str, str]] = {
    "us-south.ml.cloud.ibm.com": "api.dataplatform.cloud.ibm.com",
    "eu-de.ml.cloud.ibm.com": "api.eu-de.dataplatform.cloud.ibm.com",
    "eu-gb.ml.cloud.ibm.com": "api.eu-gb.dataplatform.cloud.ibm.com",
    "jp-tok.ml.cloud.ibm.com": "api.jp-tok.dataplatform.cloud.ibm.com",
    "au-syd.ml.cloud.ibm.com": "api.au-syd.dai.cloud.ibm.com",
    "ca-tor.ml.cloud.ibm.com": "api.ca-tor.dai.cloud.ibm.com",
    "ap-south-1.aws.wxai.ibm.com": "api.ap-south-1.aws.data.ibm.com",
}
"""Source: IBM's API documentation of watsonx.ai, "Endpoint URLs", and ``PLATFORM_URL_MAPPINGS`` of IBM's Node SDK."""


def platform_url(service_url: str) -> str | None:
    """The platform of a service; None: none is known for this host of IBM Cloud, such as a private endpoint.

    A Cloud Pak, and a server on this machine, are their own platform.
    """
    host = host_of(service_url)
    if host in PLATFORM_HOSTS:
        return f"https://{PLATFORM_HOSTS[host]}"
    is_ibms = host.endswith((".cloud.ibm.com", ".wxai.ibm.com", ".ibmforusgov.com"))
    return None if is_ibms else service_url
