"""Addresses that are often given by mistake are corrected in words, and good ones pass."""

import pytest

from rerank_async import Credentials
from rerank_async.errors import InvalidArgumentError
from rerank_async.values.hosts import Cloud, cloud_of, service_url, token_endpoint_url

DALLAS = "'https://us-south.ml.cloud.ibm.com'"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        # The console and the platform
        ("https://cloud.ibm.com", "is the console of IBM Cloud"),
        ("https://cloud.ibm.com/resources", DALLAS),
        ("https://console.cloud.ibm.com", "is the console of IBM Cloud"),
        ("https://dataplatform.cloud.ibm.com/wx/home?context=wx", "is the address of the platform and its web pages"),
        ("https://eu-de.dataplatform.cloud.ibm.com", "'https://eu-de.ml.cloud.ibm.com'"),
        ("https://api.dataplatform.cloud.ibm.com", DALLAS),
        ("https://api.jp-tok.dataplatform.cloud.ibm.com", "'https://jp-tok.ml.cloud.ibm.com'"),
        ("https://private.api.au-syd.dai.cloud.ibm.com", "'https://au-syd.ml.cloud.ibm.com'"),
        ("https://api.ap-south-1.aws.data.ibm.com", "'https://ap-south-1.aws.wxai.ibm.com'"),
        # The documentation
        ("https://cloud.ibm.com/apidocs/watsonx-ai", "is a page of the documentation"),
        ("https://cloud.ibm.com/docs/watsonx", "is a page of the documentation"),
        ("https://www.ibm.com/docs/en/watsonx", "is a page of the documentation"),
        ("https://ibm.github.io/watsonx-ai-python-sdk", DALLAS),
        # The token endpoint
        ("https://iam.cloud.ibm.com", "which is auth_url"),
        ("https://iam.cloud.ibm.com/identity/token", "which is auth_url"),
        ("https://private.iam.cloud.ibm.com", "which is auth_url"),
        ("https://iam.test.cloud.ibm.com", "which is auth_url"),
        # The path of a request
        ("https://us-south.ml.cloud.ibm.com/ml/v1/text/rerank", f"give {DALLAS}"),
        ("https://us-south.ml.cloud.ibm.com/ml/v1/text/rerank?version=2024-10-18", f"give {DALLAS}"),
        ("https://us-south.ml.cloud.ibm.com/ml/v1", f"give {DALLAS}"),
        ("https://cpd.example.com/base/ml/v1/text/rerank", "give 'https://cpd.example.com/base'"),
        # A wrong region
        ("https://ml.cloud.ibm.com", "lacks its region"),
        ("https://us-east.ml.cloud.ibm.com", f"did you mean {DALLAS}?"),
        ("https://us-south-1.ml.cloud.ibm.com", f"did you mean {DALLAS}?"),
        ("https://frankfurt.ml.cloud.ibm.com", "did you mean 'https://eu-de.ml.cloud.ibm.com'?"),
        ("https://eu-central.ml.cloud.ibm.com", "did you mean 'https://eu-de.ml.cloud.ibm.com'?"),
        ("https://jp-tk.ml.cloud.ibm.com", "did you mean 'https://jp-tok.ml.cloud.ibm.com'?"),
        ("https://private.eu-dee.ml.cloud.ibm.com", "did you mean 'https://private.eu-de.ml.cloud.ibm.com'?"),
        ("https://xyz.ml.cloud.ibm.com", "Known: us-south, eu-de, eu-gb, jp-tok, au-syd, ca-tor"),
        ("https://ap-south-1.ml.cloud.ibm.com", "did you mean 'https://ap-south-1.aws.wxai.ibm.com'?"),
        ("https://us-east-2.aws.wxai.ibm.com", "did you mean 'https://us-east-1.aws.wxai.ibm.com'?"),
        # No scheme
        ("us-south.ml.cloud.ibm.com", f"did you mean {DALLAS}?"),
        ("eu-de.ml.cloud.ibm.com/", "did you mean 'https://eu-de.ml.cloud.ibm.com"),
    ],
)
def test_a_known_mistake_is_corrected(url, words):
    with pytest.raises(InvalidArgumentError) as raised:
        Credentials(url, "k")
    assert words in str(raised.value)
    assert str(raised.value).startswith("credentials.url ")
    assert raised.value.argument == "credentials.url"


@pytest.mark.parametrize(
    "url",
    [
        "https://us-south.ml.cloud.ibm.com",
        "https://private.ca-tor.ml.cloud.ibm.com",
        "https://yp-qa.ml.cloud.ibm.com",
        "https://us-south.ml.test.cloud.ibm.com",
        "https://private.ap-south-1.aws.wxai.ibm.com",
        "https://test.aws.wxai.ibm.com",
        "https://wxai.ibmforusgov.com",
        "https://cpd-zen.apps.example.com/base",
        "https://gateway.example.com/watsonx",
        "https://my-ml.example.com/ml",
        "http://127.0.0.1:8000",
    ],
)
def test_a_good_address_passes(url):
    assert service_url(url, "url") == url


def test_a_region_that_is_too_new_passes_with_its_token_endpoint():
    given = Credentials("https://in-che.ml.cloud.ibm.com", "k", auth_url="https://iam.cloud.ibm.com/identity/token")
    assert given.url == "https://in-che.ml.cloud.ibm.com"
    with pytest.raises(InvalidArgumentError, match="If it is a new one, give auth_url= too"):
        Credentials("https://in-che.ml.cloud.ibm.com", "k")


@pytest.mark.parametrize(
    ("auth_url", "words"),
    [
        ("https://iam.cloud.ibm.com", "did you mean 'https://iam.cloud.ibm.com/identity/token'?"),
        ("https://iam.cloud.ibm.com/", "did you mean 'https://iam.cloud.ibm.com/identity/token'?"),
        ("https://private.iam.cloud.ibm.com/identity", "'https://private.iam.cloud.ibm.com/identity/token'?"),
        ("https://us-south.ml.cloud.ibm.com", "is the service, not a token endpoint"),
        ("https://iam.example.com/token?tenant=hunter2", "'https://iam.example.com/token' is given with a query"),
        ("iam.cloud.ibm.com/identity/token", "did you mean 'https://iam.cloud.ibm.com/identity/token'?"),
    ],
)
def test_a_token_endpoint_that_is_not_one_is_corrected(auth_url, words):
    with pytest.raises(InvalidArgumentError) as raised:
        Credentials("https://us-south.ml.cloud.ibm.com", "k", auth_url=auth_url)
    assert words in str(raised.value)
    assert raised.value.argument == "credentials.auth_url"
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["https://iam.cloud.ibm.com/identity/token", "https://iam.example.com", "http://[::1]:1"]
)
def test_a_good_token_endpoint_passes(url):
    assert token_endpoint_url(url, "auth_url") == url


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("us-south.ml.cloud.ibm.com", Cloud.IBM),
        ("us-south.ml.test.cloud.ibm.com", Cloud.IBM),
        ("ap-south-1.aws.wxai.ibm.com", Cloud.AWS),
        ("wxai.prep.ibmforusgov.com", Cloud.GOV),
        ("localhost", Cloud.LOOPBACK),
        ("::1", Cloud.LOOPBACK),
        ("cpd.example.com", Cloud.OTHER),
        ("evilcloud.ibm.com", Cloud.OTHER),
        ("us-south.ml.cloud.ibm.com.example", Cloud.OTHER),
        ("eviibmforusgov.com", Cloud.OTHER),
    ],
)
def test_the_cloud_of_a_host(host, cloud):
    assert cloud_of(host) is cloud
