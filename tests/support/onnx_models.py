"""Tiny ONNX folders of random weights: a real attention layer over tokens, types and positions."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "a",
    "market",
    "opens",
    "at",
    "seven",
    "when",
    "does",
    "harbour",
    "lies",
    "behind",
    "bicycles",
    "are",
    "here",
    "file",
]
WORD_COUNT = len(WORDS)
SIZE = 8
POSITIONS = 24
OPSET, IR = 17, 8  # old enough for every onnxruntime that the extra allows


def write_tokenizer(folder, *, roberta=False, **more):
    first, last = ("[CLS]", "[SEP]")
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = [(token, WORDS.index(token)) for token in (first, last)]
    pair = "[CLS] $A [SEP] [SEP] $B [SEP]" if roberta else "[CLS] $A [SEP] $B:1 [SEP]:1"
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair=pair, special_tokens=ids)
    if "truncation" in more:
        tokenizer.enable_truncation(more["truncation"])
    tokenizer.enable_padding(length=12)  # what an export may leave in the file, and what must not be heeded
    tokenizer.save(str(folder / "tokenizer.json"))


def write_model(
    file,
    output="logits",
    *,
    labels=1,
    types=True,
    integer=TensorProto.INT64,
    length="length",
    words=WORD_COUNT,
    extra=None,
    rename=None,
    declared=None,
    nan=False,
):
    """Writes a model with one output: logits, sentence_embedding or last_hidden_state.

    `extra` is one more input; `rename` the output's name and `declared` its shape in the file, instead of the usual.
    """
    random = np.random.default_rng(7)
    weights = {
        "words": random.normal(size=(words, SIZE)),
        "types": random.normal(size=(2, SIZE)),
        "positions": random.normal(size=(POSITIONS, SIZE)),
        # Small, so that attention is spread over the tokens and every one of them counts.
        **{name: random.normal(scale=0.1, size=(SIZE, SIZE)) for name in ("query", "key")},
        "value": random.normal(size=(SIZE, SIZE)),
        "head": random.normal(size=(SIZE, labels)),
    }
    if nan:
        weights["value"] *= np.nan
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants += [
        numpy_helper.from_array(np.array(value), name)
        for name, value in {"axis_1": np.int64(1), "one": np.int64(1), "axes_1": [1], "first": np.int64(0)}.items()
    ]
    constants.append(numpy_helper.from_array(np.array(-10000, np.float32), "far"))
    constants.append(numpy_helper.from_array(np.array(1, np.float32), "whole"))
    node = helper.make_node
    nodes = [
        node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT64),
        node("Cast", ["attention_mask"], ["mask64"], to=TensorProto.INT64),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("CumSum", ["mask64", "axis_1"], ["counted"]),
        node("Sub", ["counted", "one"], ["places"]),
        node("Gather", ["words", "ids"], ["word_rows"]),
        node("Gather", ["positions", "places"], ["place_rows"]),
        node("Add", ["word_rows", "place_rows"], ["untyped"]),
        *(
            [
                node("Cast", ["token_type_ids"], ["kinds"], to=TensorProto.INT64),
                node("Gather", ["types", "kinds"], ["type_rows"]),
                node("Add", ["untyped", "type_rows"], ["rows"]),
            ]
            if types
            else [node("Identity", ["untyped"], ["rows"])]
        ),
        *(node("MatMul", ["rows", name], [f"{name}_rows"]) for name in ("query", "key", "value")),
        node("Transpose", ["key_rows"], ["key_columns"], perm=[0, 2, 1]),
        node("MatMul", ["query_rows", "key_columns"], ["match"]),
        node("Sub", ["whole", "mask"], ["hidden_places"]),
        node("Mul", ["hidden_places", "far"], ["bias"]),
        node("Unsqueeze", ["bias", "axes_1"], ["bias_rows"]),
        node("Add", ["match", "bias_rows"], ["masked"]),
        node("Softmax", ["masked"], ["share"], axis=-1),
        node("MatMul", ["share", "value_rows"], ["mixed"]),
        node("Add", ["rows", "mixed"], ["hidden"]),
        node("Gather", ["hidden", "first"], ["of_first"], axis=1),
    ]
    name = rename or output
    nodes += {
        "logits": [node("MatMul", ["of_first", "head"], [name])],
        "sentence_embedding": [node("Identity", ["of_first"], [name])],
        "last_hidden_state": [node("Identity", ["hidden"], [name])],
    }[output]
    shape = (
        declared
        or {
            "logits": ["batch", labels],
            "sentence_embedding": ["batch", SIZE],
            "last_hidden_state": ["batch", "length", SIZE],
        }[output]
    )
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if types else []), *([extra] if extra else [])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(each, integer, ["batch", length]) for each in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(file))


def write_folder(folder, output="logits", *, config=None, place="model.onnx", **options):
    """Writes a whole folder and gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for_tokenizer = {name: options.pop(name) for name in ("roberta", "truncation") if name in options}
    write_model(folder / place, output, **options)
    write_tokenizer(folder, **for_tokenizer)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder
