"""The two files of a TLS server: what they must be, and which one an error names."""

import ssl
from pathlib import Path

import pytest
import trustme
from support.certificates import certificate_files

from rerank_async.server.tls import server_context

ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n"
OLD_ENCRYPTED = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIE\n"
    "-----END RSA PRIVATE KEY-----\n"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return certificate_files(tmp_path_factory.mktemp("tls"))


def test_no_file_is_plain_http():
    assert server_context(None, None) is None


@pytest.mark.parametrize("give", [str, Path], ids=["str", "Path"])
def test_two_files_are_a_context_of_a_server(files, give):
    context = server_context(give(files.cert), give(files.key))
    assert context.protocol == ssl.PROTOCOL_TLS_SERVER
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_one_file_may_hold_both(files, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(Path(files.key).read_bytes() + Path(files.cert).read_bytes())
    assert server_context(both, both) is not None


def test_a_context_is_taken_as_it_is():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert server_context(None, None, context) is context


def test_a_certificate_without_its_key_and_a_key_without_its_certificate(files):
    with pytest.raises(ValueError, match=r"^tls_cert needs tls_key, the PEM file of its private key"):
        server_context(files.cert, None)
    with pytest.raises(ValueError, match=r"^tls_key needs tls_cert, the PEM file of the certificate"):
        server_context(None, files.key)


@pytest.mark.parametrize("kind", trustme.KeyType)
def test_a_key_that_does_not_fit_names_both_files(files, tmp_path, kind):
    other = certificate_files(tmp_path, key_type=kind)
    with pytest.raises(ValueError, match="do not belong together") as caught:
        server_context(files.cert, other.key)
    assert repr(files.cert) in str(caught.value)
    assert repr(other.key) in str(caught.value)


@pytest.mark.parametrize("bad", ["cert", "key"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory; a PEM file with a (certificate|private key) was expected"),
        (b"", "is no PEM file with a (certificate|private key): it has no line '-----BEGIN "),
        (b"\x30\x82\x01\x0a\x02", "is no PEM file with a "),
        (b"hello\n", "is no PEM file with a "),
    ],
    ids=["missing", "empty", "DER", "text"],
)
def test_a_file_that_is_missing_or_not_pem_is_named_with_what_was_expected(files, tmp_path, bad, content, words):
    path = tmp_path / "bad file.pem"
    if content is not None:
        path.write_bytes(content)
    given = {"cert": files.cert, "key": files.key} | {bad: path}
    with pytest.raises(ValueError, match=rf"^tls_{bad} '{path}' {words}"):
        server_context(given["cert"], given["key"])


def test_a_folder_is_no_file(files, tmp_path):
    with pytest.raises(ValueError, match=r"^tls_key '.*' cannot be read: Is a directory"):
        server_context(files.cert, tmp_path)


def test_files_the_wrong_way_round_are_recognised(files):
    with pytest.raises(ValueError, match=r"are tls_cert and tls_key the wrong way round\?"):
        server_context(files.key, files.cert)
    with pytest.raises(ValueError, match=r"^tls_key '.*' holds a certificate and no private key"):
        server_context(files.cert, files.ca)


@pytest.mark.parametrize("content", [ENCRYPTED, OLD_ENCRYPTED], ids=["PKCS#8", "traditional"])
def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(files, tmp_path, content):
    path = tmp_path / "locked.pem"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"^tls_key '.*locked.pem' has a passphrase"):
        server_context(files.cert, path)


def test_damaged_pem_is_an_error_that_names_the_files(files, tmp_path):
    path = tmp_path / "cut.pem"
    path.write_bytes(Path(files.cert).read_bytes()[:200])
    with pytest.raises(ValueError, match=r"^tls_cert '.*cut.pem' and tls_key '.*' cannot be used"):
        server_context(path, files.key)


def test_the_names_in_the_messages_can_be_those_of_options(files):
    with pytest.raises(ValueError, match=r"^--tls-cert needs --tls-key"):
        server_context(files.cert, None, names=("--tls-cert", "--tls-key"))


def test_a_wrong_type_and_a_context_beside_files_or_of_a_client(files):
    with pytest.raises(TypeError, match=r"^tls_cert is the path of a PEM file, not int"):
        server_context(7, files.key)
    with pytest.raises(TypeError, match=r"^ssl_context is an ssl.SSLContext, not str"):
        server_context(None, None, files.cert)
    with pytest.raises(ValueError, match=r"^ssl_context is given beside tls_cert or tls_key"):
        server_context(files.cert, files.key, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    with pytest.raises(ValueError, match=r"^ssl_context is a client's"):
        server_context(None, None, ssl.create_default_context())
