"""The default token endpoints, derived from the address of the service."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from rerank_async.values.contract import IAM_TEST_URL, IAM_URL, TOKEN_PATH
from rerank_async.values.hosts import Cloud, cloud_of
from rerank_async.values.urls import host_of

MCSP_PATH = "/api/2.0/apikeys/token"
MCSP_URL = "https://account-iam.platform.saas.ibm.com" + MCSP_PATH
MCSP_TEST_URL = "https://account-iam.platform.test.saas.ibm.com" + MCSP_PATH
GOV_PATH = "/api/rest/mcsp/apikeys/token"
CP4D_PATH = "/icp4d-api/v1/authorize"
BEDROCK_PATH = "/idprovider/v1/auth/identitytoken"
VALIDATE_PATH = "/v1/preauth/validateAuth"
"""Source of all of them: ibm-watsonx-ai 1.8.1, ``href_definitions.py``."""

_CONSOLE_ROUTE_BEFORE = (5, 1)


def iam_url(service_url: str) -> str:
    """IBM Cloud's IAM. A loopback server is asked itself, so that no key leaves the machine.

    Private service addresses take the public IAM too, as in IBM's SDK.
    """
    host = host_of(service_url)
    if cloud_of(host) is Cloud.LOOPBACK:
        return _same_server(service_url) + TOKEN_PATH
    in_test = cloud_of(host) is Cloud.IBM and not host.endswith(".ml.cloud.ibm.com")
    return IAM_TEST_URL if in_test else IAM_URL


def mcsp_url(service_url: str) -> str:
    """The exchange of API keys of IBM's clouds on AWS."""
    host = host_of(service_url)
    cloud = cloud_of(host)
    if cloud is Cloud.LOOPBACK:
        return _same_server(service_url) + MCSP_PATH
    if cloud is Cloud.GOV:
        # The way for users; the hosts that only IBM's own services reach have another one.
        middle = ".prep" if host.endswith(".prep.ibmforusgov.com") else ""
        return f"https://dai{middle}.ibmforusgov.com{GOV_PATH}"
    return MCSP_TEST_URL if host.removeprefix("private.").startswith(("dev.", "test.")) else MCSP_URL


def cp4d_url(service_url: str) -> str:
    """The sign-in of a Cloud Pak for Data."""
    return service_url + CP4D_PATH


def bedrock_url(bedrock: str) -> str:
    """The sign-in of a Cloud Pak's foundational services."""
    return bedrock + BEDROCK_PATH


def validate_url(service_url: str) -> str:
    """Where a Cloud Pak for Data changes a token of its foundational services for one of its own."""
    return service_url + VALIDATE_PATH


def guessed_bedrock(service_url: str, version: str | None) -> str | None:
    """The likely address of the foundational services of a Cloud Pak for Data; None: there is nothing to guess from.

    The first label of the host is ``cpd-`` and the namespace; the services are at the same, before release 5.1 at
    ``cp-console-`` and the namespace.

    Args:
        service_url: The Cloud Pak's address.
        version: Its release; None: a current one.
    """
    parts = urlsplit(service_url)
    label, _, domain = (parts.hostname or "").partition(".")
    _, dash, namespace = label.partition("-")
    if not dash or not namespace or not domain or _is_address(parts.hostname or "") or parts.scheme != "https":
        return None
    release = tuple(int(number) for number in version.split(".")[:2]) if version else _CONSOLE_ROUTE_BEFORE
    route = "cp-console" if release < _CONSOLE_ROUTE_BEFORE else "cpd"
    return f"https://{route}-{namespace}.{domain}" + (f":{parts.port}" if parts.port else "")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same_server(service_url: str) -> str:
    parts = urlsplit(service_url)
    return f"{parts.scheme}://{parts.netloc}"
