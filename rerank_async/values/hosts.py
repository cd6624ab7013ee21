"""IBM's hosts: which cloud a service address belongs to, and the addresses that are often given by mistake."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import urlsplit

from rerank_async.errors import InvalidArgumentError
from rerank_async.values.contract import REGIONS
from rerank_async.values.secret import Secret
from rerank_async.values.urls import host_of, is_loopback, normal_url

AWS_REGIONS = ("ap-south-1", "us-east-1")
"""Hosts are ``[private.]{region}.aws.wxai.ibm.com``. Source: ibm-watsonx-ai 1.8.1, ``client.py``."""

_OLD_PLACES = frozenset({"yp-cr", "yp-qa", "wxai-qa"})
"""IBM's own places, which are no regions. Source: as above."""

_AWS_PLACES = frozenset({*AWS_REGIONS, "dev", "test"})

_OTHER_NAMES = {
    "dallas": "us-south",
    "us-east": "us-south",
    "us": "us-south",
    "frankfurt": "eu-de",
    "eu-central": "eu-de",
    "eu": "eu-de",
    "london": "eu-gb",
    "uk": "eu-gb",
    "tokyo": "jp-tok",
    "sydney": "au-syd",
    "toronto": "ca-tor",
}

_SERVICE = re.compile(r"(?P<private>private\.)?(?P<region>[a-z0-9-]+)\.ml\.cloud\.ibm\.com")
_AWS_SERVICE = re.compile(r"(?P<private>private\.)?(?P<region>[a-z0-9-]+)\.aws\.wxai\.ibm\.com")
_CONSOLE = re.compile(r"(?:private\.)?(?:api\.)?(?:(?P<region>[a-z0-9-]+)\.)?(?:dataplatform|dai)\.cloud\.ibm\.com")
_AWS_CONSOLE = re.compile(r"(?:api\.)?(?P<region>[a-z0-9-]+)\.aws\.data\.ibm\.com")
_CONSOLE_HOSTS = frozenset({"cloud.ibm.com", "console.cloud.ibm.com", "console.bluemix.net"})
_DOCS_HOSTS = frozenset({"www.ibm.com", "ibm.com", "ibm.github.io", "developer.ibm.com"})
_TOKEN_HOSTS = re.compile(r"(?:[a-z0-9.-]+\.)?iam(?:\.test)?\.cloud\.ibm\.com")


class Cloud(Enum):
    """Whose machines answer at an address."""

    IBM = "IBM Cloud"
    AWS = "IBM's cloud on AWS"
    GOV = "IBM's cloud for the US government"
    LOOPBACK = "this machine"
    OTHER = "Cloud Pak for Data"


def cloud_of(host: str) -> Cloud:
    """The cloud of a host; one that is none of IBM's is taken for a Cloud Pak, as in IBM's SDK."""
    if is_loopback(host):
        return Cloud.LOOPBACK
    if host.endswith(".cloud.ibm.com"):
        return Cloud.IBM
    if host.endswith(".aws.wxai.ibm.com"):
        return Cloud.AWS
    return Cloud.GOV if host.endswith(".ibmforusgov.com") else Cloud.OTHER


def service_url(url: object, argument: str, *, any_region: bool = False) -> str:
    """The address of a service, as `normal_url`, and none that is often given by mistake.

    Args:
        url: As given.
        argument: Its name, for messages.
        any_region: Whether to let pass the regions of IBM's clouds that this version does not know.

    Raises:
        InvalidArgumentError: It is not an address, or that of the console, the documentation, another endpoint or a
            region that is not known; the message corrects it.
        InvalidTypeError: Not a str.
    """
    url = Secret.of(url)
    address = normal_url(url, argument)
    return _unless(_mistake_in(host_of(address), urlsplit(address).path, any_region), address, argument)


def token_endpoint_url(url: object, argument: str) -> str:
    """The whole address of a token endpoint, as `normal_url`, and none that is often given by mistake.

    Raises:
        InvalidArgumentError: It is not an address, or not a whole one.
        InvalidTypeError: Not a str.
    """
    url = Secret.of(url)
    address = normal_url(url, argument)
    if isinstance(url, Secret) and "?" in url.reveal():
        raise InvalidArgumentError(
            f"{argument} {address!r} is given with a query, which is not sent", argument=argument
        )
    return _unless(_mistake_in_auth_url(host_of(address), urlsplit(address).path), address, argument)


def _unless(mistake: str | None, address: str, argument: str) -> str:
    if mistake is not None:
        raise InvalidArgumentError(f"{argument} {address!r} {mistake}", argument=argument)
    return address


def _mistake_in(host: str, path: str, any_region: bool) -> str | None:
    """In words that follow the address; None: nothing is wrong that is known."""
    words = _page(host, path) or _platform(host)
    if words is None and _TOKEN_HOSTS.fullmatch(host):
        words = f"is the host of the token endpoint, which is auth_url; as url give the service's: {_like('us-south')}"
    if words is None and "/ml/v" in path + "/":
        base = path[: (path + "/").index("/ml/v")]
        words = f"holds the path of a request, which the client adds by itself; give 'https://{host}{base}'"
    return words or (None if any_region else _wrong_region(host))


def _page(host: str, path: str) -> str | None:
    first = path.split("/")[1:2]
    if host in _DOCS_HOSTS or first == ["apidocs"] or (host in _CONSOLE_HOSTS and first == ["docs"]):
        return f"is a page of the documentation, not the service; {_like('us-south')}"
    if host in _CONSOLE_HOSTS:
        return f"is the console of IBM Cloud, not the service; {_like('us-south')}"
    return None


def _platform(host: str) -> str | None:
    if (found := _CONSOLE.fullmatch(host)) is not None:
        region = found["region"] if found["region"] in REGIONS else "us-south"
        return f"is the address of the platform and its web pages, not of the service; {_like(region)}"
    if (found := _AWS_CONSOLE.fullmatch(host)) is not None:
        service = f"'https://{found['region']}.aws.wxai.ibm.com'"
        return f"is the address of the platform and its web pages, not of the service; that is {service}"
    return None


def _like(region: str) -> str:
    return f"the address of the service is like 'https://{region}.ml.cloud.ibm.com'"


def _wrong_region(host: str) -> str | None:
    if host == "ml.cloud.ibm.com":
        return f"lacks its region: {', '.join(REGIONS)}, as in 'https://us-south.ml.cloud.ibm.com'"
    if (found := _SERVICE.fullmatch(host)) is not None:
        return _correction(found, REGIONS, _OLD_PLACES | {*REGIONS}, "ml.cloud.ibm.com")
    if (found := _AWS_SERVICE.fullmatch(host)) is not None:
        return _correction(found, AWS_REGIONS, _AWS_PLACES, "aws.wxai.ibm.com")
    return None


def _correction(found: re.Match[str], regions: tuple[str, ...], known: frozenset[str], domain: str) -> str | None:
    region = found["region"]
    if region in known:
        return None
    import difflib  # noqa: PLC0415 - only a mistake needs it

    if domain.startswith("ml") and region in AWS_REGIONS:
        return f"has a region of AWS; did you mean 'https://{region}.aws.wxai.ibm.com'?"
    near = _OTHER_NAMES.get(region) or next(iter(difflib.get_close_matches(region, regions, n=1, cutoff=0.4)), "")
    hint = f"did you mean 'https://{found['private'] or ''}{near}.{domain}'? " if near in regions else ""
    return (
        f"names the region {region!r}, which this version does not know; {hint}Known: {', '.join(regions)}. "
        "If it is a new one, give auth_url= too, the whole address of its token endpoint"
    )


def _mistake_in_auth_url(host: str, path: str) -> str | None:
    if _TOKEN_HOSTS.fullmatch(host) and path.rstrip("/") in {"", "/identity"}:
        return f"is not the whole address of the token endpoint; did you mean 'https://{host}/identity/token'?"
    if _SERVICE.fullmatch(host) and path.rstrip("/") == "":
        return "is the service, not a token endpoint; leave auth_url out, or give the endpoint's whole address"
    return None
