"""A folder of an exported model: which files it has, and what they say of the model. Needs no library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import attrs

from rerank_async.server.scoring import ModelUnavailableError

_EXPECTED: Final = "expected model.onnx (or onnx/model.onnx), tokenizer.json and, if there is one, config.json"
_LFS_POINTER: Final = b"version https://git-lfs"
_PYTORCH: Final = ("model.safetensors", "pytorch_model.bin")
# Their positions are counted from behind the padding token, so the table has as many rows more than the text may have
# tokens. Source: create_position_ids_from_input_ids of the transformers library's modeling_roberta.
_SHIFTED: Final = frozenset({"camembert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"})
_PLAIN_MODULES: Final = frozenset({"Transformer", "Pooling", "Normalize"})


@attrs.frozen(kw_only=True)
class ModelFolder:
    """What is read of a folder before the model itself.

    Attributes:
        path: The folder.
        model: The ONNX file.
        tokenizer: The bytes of ``tokenizer.json``.
        config: ``config.json``; empty if there is none.
    """

    path: Path
    model: Path
    tokenizer: bytes = attrs.field(repr=False)
    config: Mapping[str, Any] = attrs.field(repr=False)

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read a folder.

        Raises:
            ModelUnavailableError: The folder or a file is missing, unreadable or of the wrong kind.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            found = "is a file, not a folder" if path.exists() else "does not exist"
            raise ModelUnavailableError(f"The model folder {path} {found}; {_EXPECTED} in a folder")
        return cls(
            path=path, model=_model(path), tokenizer=_content(path / "tokenizer.json"), config=_config(path) or {}
        )

    @property
    def model_id(self) -> str:
        """The ``_name_or_path`` of ``config.json`` unless that is missing or a local path; then the folder's name."""
        name = self.config.get("_name_or_path")
        if isinstance(name, str) and name and not name.startswith((".", "/", "~")) and "\\" not in name:
            return name.strip("/")
        return self.path.resolve().name

    def max_positions(self) -> int | None:
        """Give the tokens that ``config.json`` lets a text or pair have; None: it does not say.

        Raises:
            ModelUnavailableError: It says something that is not such a number.
        """
        positions = self.config.get("max_position_embeddings")
        if positions is None:
            return None
        if isinstance(positions, bool) or not isinstance(positions, int) or positions < 1:
            raise self._odd("max_position_embeddings", positions, "a whole number above 0")
        if self.config.get("model_type") not in _SHIFTED:
            return positions
        padding = self.config.get("pad_token_id", 1)
        if isinstance(padding, bool) or not isinstance(padding, int) or not 0 <= padding < positions - 1:
            raise self._odd("pad_token_id", padding, "the id of the padding token")
        return positions - padding - 1

    def pooling(self) -> Literal["mean", "cls"]:
        """Give how a sentence's vector is made of its tokens' vectors: as sentence-transformers noted it, else the mean.

        Raises:
            ModelUnavailableError: In a way that is not offered.
        """
        self._check_modules()
        file = self.path / "1_Pooling" / "config.json"
        said = _json(file) if file.exists() else {"pooling_mode_mean_tokens": True}
        if not isinstance(said, dict):
            raise ModelUnavailableError(f"{file} is not a JSON object")
        on = sorted(name for name, value in said.items() if name.startswith("pooling_mode_") and value is True)
        if on == ["pooling_mode_mean_tokens"]:
            return "mean"
        if on == ["pooling_mode_cls_token"]:
            return "cls"
        found = " and ".join(on) or "no pooling_mode"
        raise ModelUnavailableError(
            f"{file} has {found}; expected pooling_mode_mean_tokens or pooling_mode_cls_token alone. A model with an "
            "output sentence_embedding, which pools by itself, can be served too"
        )

    def _check_modules(self) -> None:
        file = self.path / "modules.json"
        if not file.exists():
            return
        listed = _json(file)
        kinds = [str(each.get("type")).rpartition(".")[2] for each in listed if isinstance(each, dict)]
        other = [kind for kind in kinds if kind not in _PLAIN_MODULES]
        if other:
            raise ModelUnavailableError(
                f"{file} lists {', '.join(other)} behind the transformer, which its last_hidden_state has not been "
                "through; expected Transformer, Pooling and Normalize, or a model with an output sentence_embedding"
            )

    def _odd(self, name: str, value: object, expected: str) -> ModelUnavailableError:
        return ModelUnavailableError(f"{self.path / 'config.json'} has {value!r} as {name}, expected {expected}")


def _model(path: Path) -> Path:
    for file in (path / "model.onnx", path / "onnx" / "model.onnx"):
        if file.exists():
            _check_file(file)
            return file
    weights = next((name for name in _PYTORCH if (path / name).exists()), None)
    hint = f". It has {weights}: export that to ONNX first" if weights else ""
    raise ModelUnavailableError(f"The model folder {path} has no model.onnx; {_EXPECTED}{hint}")


def _config(path: Path) -> dict[str, Any] | None:
    file = path / "config.json"
    if not file.exists():
        return None
    config = _json(file)
    if not isinstance(config, dict):
        raise ModelUnavailableError(f"{file} is not a JSON object, as the config.json of a model is")
    return config


def _json(file: Path) -> Any:
    try:
        return json.loads(_content(file))
    except ValueError as exc:
        raise ModelUnavailableError(f"{file} is not JSON: {exc}") from exc


def _content(file: Path) -> bytes:
    if not file.exists():
        raise ModelUnavailableError(f"The model folder {file.parent} has no {file.name}; {_EXPECTED}")
    _check_file(file)
    return file.read_bytes()


def _check_file(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_LFS_POINTER))
    except OSError as exc:
        raise ModelUnavailableError(f"{file} cannot be read: {exc.strerror}") from exc
    if start == _LFS_POINTER:
        raise ModelUnavailableError(
            f"{file} is a pointer of Git LFS and not the file itself; fetch it with: git lfs pull"
        )
    if not start:
        raise ModelUnavailableError(f"{file} is empty")
