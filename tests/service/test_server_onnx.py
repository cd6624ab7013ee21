"""Folders of the user's own: their scores are those of onnxruntime, and bad folders are told apart."""

import asyncio
import json
import signal
import sys

import numpy as np
import pytest
from onnx import TensorProto
from support.clients import client_for
from support.commands import exported, one_sentence, run, serving
from support.onnx_models import POSITIONS, write_folder, write_model

from rerank_async import AsyncRerank
from rerank_async.errors import InputTooLongError, RerankError
from rerank_async.server import (
    LexicalScorer,
    ModelOutputError,
    ModelUnavailableError,
    OnnxScorer,
    OverlengthError,
    serve,
)

onnxruntime = pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")

QUERY = "when does the market open"
TEXTS = ["the harbour lies behind", "the market opens at seven", "bicycles are here", "", "market market a"]
CONFIG = {"_name_or_path": "made-up/tiny", "max_position_embeddings": POSITIONS, "model_type": "bert"}


class Direct:
    """A reading of the folder that shares nothing with the scorer: the libraries alone."""

    def __init__(self, folder, place="model.onnx"):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.session = onnxruntime.InferenceSession(str(folder / place), providers=["CPUExecutionProvider"])

    def run(self, *texts, integer=np.int64):
        encoding = self.tokenizer.encode(*texts)
        given = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        wanted = {each.name for each in self.session.get_inputs()}
        inputs = {name: np.array([ids], integer) for name, ids in given.items() if name in wanted}
        return self.session.run(None, inputs)[0][0], len(encoding.ids)

    def logits(self, query, texts, **options):
        found = [self.run(query, text, **options) for text in texts]
        return [float(logit[0]) for logit, _ in found], sum(count for _, count in found)

    def cosines(self, query, texts, pool):
        def unit(text):
            vector = pool(self.run(text)[0].astype(np.float64))
            return vector / np.sqrt((vector**2).sum())

        return [float((unit(query) * unit(text)).sum()) for text in texts]


def ranked(scores):
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


def by_index(response):
    return [result.score for result in sorted(response.results, key=lambda result: result.index)]


async def test_a_cross_encoder_is_served_with_the_scores_of_onnxruntime(tmp_path):
    folder = write_folder(tmp_path / "tiny", config=CONFIG)
    scorer = OnnxScorer.load(folder)
    async with (
        serve(scorers={scorer.model_id: scorer}) as server,
        client_for(server, "made-up/tiny") as client,
    ):
        response = await client.generate(QUERY, TEXTS)
        (spec,) = await client.api_client.model_specs()
    scores, tokens = Direct(folder).logits(QUERY, TEXTS)
    assert by_index(response) == pytest.approx(scores, abs=1e-6)
    assert min(np.diff(sorted(scores))) > 1e-3  # the weights tell the texts apart
    assert [result.index for result in response.results] == ranked(scores)
    assert response.input_token_count == tokens
    assert (spec.model_id, spec.max_sequence_length, spec.functions) == ("made-up/tiny", POSITIONS, ("rerank",))
    await scorer.close()


@pytest.mark.parametrize(
    ("output", "pooling", "pool"),
    [
        ("last_hidden_state", None, lambda hidden: hidden.mean(axis=0)),
        ("last_hidden_state", "pooling_mode_mean_tokens", lambda hidden: hidden.mean(axis=0)),
        ("last_hidden_state", "pooling_mode_cls_token", lambda hidden: hidden[0]),
        ("sentence_embedding", None, lambda vector: vector),
    ],
)
async def test_a_bi_encoder_is_served_with_the_cosines_of_onnxruntime(tmp_path, output, pooling, pool):
    folder = write_folder(tmp_path / "tiny", output, config=CONFIG)
    if pooling is not None:
        modes = dict.fromkeys(["pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_max_tokens"], False)
        (folder / "1_Pooling").mkdir()
        said = modes | {pooling: True, "word_embedding_dimension": 8}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    scorer = OnnxScorer.load(folder)
    async with serve(scorers={"mine": scorer}) as server, client_for(server, "mine") as client:
        response = await client.generate(QUERY, [*TEXTS, QUERY])
        (spec,) = await client.api_client.model_specs()
    scores = Direct(folder).cosines(QUERY, [*TEXTS, QUERY], pool)
    assert by_index(response) == pytest.approx(scores, abs=1e-6)
    assert response.results[0].index == len(TEXTS)  # the query itself
    assert all(-1 <= score <= 1 for score in by_index(response))
    assert set(spec.functions) == {"embedding", "rerank", "similarity"}
    assert spec.max_sequence_length == POSITIONS
    await scorer.close()


@pytest.mark.parametrize(
    "options",
    [
        {"types": False},
        {"roberta": True, "types": False},
        {"integer": TensorProto.INT32},
        {"place": "onnx/model.onnx"},
        {"rename": "scores"},
        {"rename": "anything"},
        {"declared": ["batch", "labels"]},
    ],
    ids=str,
)
def test_the_ways_of_exporting_make_no_difference(tmp_path, options):
    folder = write_folder(tmp_path / "tiny", **options)
    integer = np.int32 if "integer" in options else np.int64
    scores, tokens = Direct(folder, options.get("place", "model.onnx")).logits(QUERY, TEXTS, integer=integer)
    scored = OnnxScorer.load(folder).score_now(QUERY, TEXTS)
    assert scored.scores == pytest.approx(scores, abs=1e-6)
    assert scored.input_token_count == tokens


async def test_a_score_depends_on_its_pair_alone_to_the_last_bit(tmp_path):
    folder = write_folder(tmp_path / "tiny", config=CONFIG)
    whole = OnnxScorer.load(folder).score_now(QUERY, TEXTS).scores
    scorer = OnnxScorer.load(folder, cache=0, threads=3)
    assert tuple(scorer.score_now(QUERY, [text]).scores[0] for text in TEXTS) == whole
    both = await asyncio.gather(scorer.score(QUERY, TEXTS[::-1] * 2, None), scorer.score(QUERY, TEXTS, None))
    assert (both[0].scores, both[1].scores) == (whole[::-1] * 2, whole)
    await scorer.close()


# Lengths


def test_the_length_of_a_pair_counts_query_text_and_special_tokens(tmp_path):
    scorer = OnnxScorer.load(write_folder(tmp_path / "tiny", config=CONFIG))
    room = POSITIONS - 3 - 5  # three special tokens, five words of the query
    assert scorer.score_now(QUERY, ["file " * room]).input_token_count == POSITIONS
    with pytest.raises(OverlengthError, match=rf"{POSITIONS + 1} > {POSITIONS}"):
        scorer.score_now(QUERY, ["file " * (room + 1)])


async def test_one_pair_too_long_is_refused_before_any_is_worked_out(tmp_path, monkeypatch):
    scorer = OnnxScorer.load(write_folder(tmp_path / "tiny", config=CONFIG))
    ran, embed = [], scorer._encoder.embed
    monkeypatch.setattr(scorer._encoder, "embed", lambda tokens: ran.append(tokens) or embed(tokens))
    async with serve(scorers={"mine": scorer}) as server, client_for(server, "mine") as client:
        with pytest.raises(InputTooLongError, match=rf"{40 + 8} > {POSITIONS}"):
            await client.generate(QUERY, [*TEXTS, "file " * 40])
        assert ran == []
        await client.generate(QUERY, TEXTS)
    assert len(ran) == len(TEXTS)
    await scorer.close()


@pytest.mark.parametrize("roberta", [False, True])
def test_truncation_cuts_the_passage_and_never_the_query(tmp_path, roberta):
    folder = write_folder(tmp_path / "tiny", config=CONFIG, roberta=roberta, types=not roberta)
    scorer, special = OnnxScorer.load(folder), 4 if roberta else 3
    long = "the market opens at seven here " * 8
    words, room = long.split(), POSITIONS - special - 5
    cuts = {1: 1, 2: 2, 5: 5, room: room, room + 1: room, POSITIONS: room}
    for truncate, left in cuts.items():
        scored = scorer.score_now(QUERY, [long, "market"], truncate)
        scores, tokens = Direct(folder).logits(QUERY, [" ".join(words[:left]), "market"])
        assert scored.scores == pytest.approx(scores, abs=1e-6)
        assert scored.input_token_count == tokens
    # Above the model's length nothing is cut, and a query that leaves no room for the text is too long.
    with pytest.raises(OverlengthError):
        scorer.score_now(QUERY, [long], POSITIONS + 1)
    with pytest.raises(OverlengthError):
        scorer.score_now("file " * (POSITIONS - special), ["market market"], 1)


def test_a_bi_encoder_cuts_texts_and_refuses_a_long_query(tmp_path):
    folder = write_folder(tmp_path / "tiny", "last_hidden_state", config=CONFIG)
    scorer, long = OnnxScorer.load(folder), "market opens here " * 20
    for truncate, left in {2: 2, POSITIONS: POSITIONS - 2}.items():
        expected = Direct(folder).cosines(QUERY, [" ".join(long.split()[:left])], lambda hidden: hidden.mean(axis=0))
        assert scorer.score_now(QUERY, [long], truncate).scores == pytest.approx(expected, abs=1e-6)
    with pytest.raises(OverlengthError, match=rf"62 > {POSITIONS}"):
        scorer.score_now(long, ["market"], 2)


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        (None, {}, None),
        ({}, {"truncation": 17}, 17),
        ({"max_position_embeddings": 20}, {"truncation": 17}, 20),
        ({"max_position_embeddings": 22, "model_type": "xlm-roberta", "pad_token_id": 1}, {}, 20),
        ({"max_position_embeddings": 22, "model_type": "roberta"}, {}, 20),
    ],
)
def test_the_length_comes_from_the_config_then_from_the_tokenizer(tmp_path, config, options, expected):
    folder = write_folder(tmp_path / "tiny", config=config, **options)
    assert OnnxScorer.load(folder).max_sequence_length == expected
    assert OnnxScorer.load(folder, max_sequence_length=9).max_sequence_length == 9


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, "tiny"),
        ({"_name_or_path": "a/b"}, "a/b"),
        ({"_name_or_path": "/somewhere/out"}, "tiny"),
        ({"_name_or_path": "./out"}, "tiny"),
        ({"_name_or_path": ""}, "tiny"),
    ],
)
def test_the_id_comes_from_the_config_then_from_the_folder(tmp_path, config, expected):
    folder = write_folder(tmp_path / "tiny", config=config)
    assert OnnxScorer.load(folder).model_id == expected
    assert OnnxScorer.load(folder, model_id="mine").model_id == "mine"


@pytest.mark.parametrize(
    "post_processor",
    [
        None,
        tokenizers.processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
        tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
        tokenizers.processors.ByteLevel(),
    ],
    ids=str,
)
@pytest.mark.parametrize(("truncate", "left"), [(None, 4), (3, 3), (1, 1)])
def test_every_kind_of_template_is_kept_when_a_text_is_cut(tmp_path, post_processor, truncate, left):
    folder = write_folder(tmp_path / "tiny")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = post_processor
    tokenizer.save(str(folder / "tokenizer.json"))
    words = ["bicycles", "are", "here", "file"]
    expected = Direct(folder).logits(QUERY, [" ".join(words[:left])])
    scored = OnnxScorer.load(folder).score_now(QUERY, [" ".join(words)], truncate)
    assert (scored.scores, scored.input_token_count) == (pytest.approx(expected[0], abs=1e-6), expected[1])


# The client leaves


async def test_a_request_whose_client_left_stops_costing_work(tmp_path, monkeypatch):
    scorer = OnnxScorer.load(write_folder(tmp_path / "tiny"), threads=1)
    loop, begun, ran, embed = asyncio.get_running_loop(), asyncio.Event(), [], scorer._encoder.embed

    def slowly(tokens):
        ran.append(1)
        loop.call_soon_threadsafe(begun.set)
        return embed(tokens)

    monkeypatch.setattr(scorer._encoder, "embed", slowly)
    texts = [" ".join(["market"] * (1 + number % 18)) + f" {number}" for number in range(2000)]
    request = asyncio.create_task(scorer.score(QUERY, texts, None))
    await begun.wait()
    request.cancel()
    await asyncio.wait([request])
    await scorer.close()
    assert len(ran) < len(texts)


# Bad folders


def replaced(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def with_model(*args, **options):
    return lambda folder: write_model(folder / "model.onnx", *args, **options)


def pooled(said):
    def spoil(folder):
        write_model(folder / "model.onnx", "last_hidden_state")
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))

    return spoil


def with_modules(*kinds):
    def spoil(folder):
        write_model(folder / "model.onnx", "last_hidden_state")
        (folder / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.models.{k}"} for k in kinds]))

    return spoil


def without_onnx(folder):
    (folder / "model.onnx").unlink()
    (folder / "model.safetensors").write_bytes(b"x")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
BAD = {
    "no model": (lambda folder: (folder / "model.onnx").unlink(), r"has no model\.onnx; expected model\.onnx"),
    "only pytorch": (without_onnx, r"has model\.safetensors: export that to ONNX first"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer\.json; expected"),
    "model a pointer": (replaced("model.onnx", POINTER), r"model\.onnx is a pointer of Git LFS"),
    "tokenizer a pointer": (replaced("tokenizer.json", POINTER), r"tokenizer\.json is a pointer of Git LFS"),
    "model empty": (replaced("model.onnx", b""), r"model\.onnx is empty"),
    "model no ONNX": (replaced("model.onnx", b"no model"), r"model\.onnx is not an ONNX model that onnxruntime"),
    "tokenizer no JSON": (replaced("tokenizer.json", b"{"), r"tokenizer\.json is not a tokenizer\.json of"),
    "tokenizer other JSON": (replaced("tokenizer.json", b'{"a": 1}'), r"tokenizer\.json is not a tokenizer\.json of"),
    "tokenizer no text": (replaced("tokenizer.json", b"\xff\xfe"), r"tokenizer\.json is not a tokenizer\.json of"),
    "config no JSON": (replaced("config.json", b"{'a': 1}"), r"config\.json is not JSON"),
    "config no object": (replaced("config.json", b"[1]"), r"config\.json is not a JSON object"),
    "positions no number": (
        replaced("config.json", b'{"max_position_embeddings": "512"}'),
        r"config\.json has '512' as max_position_embeddings, expected a whole number above 0",
    ),
    "two labels": (with_model(labels=2), r"gives logits of shape \(1, 2\) for one pair; expected logits of shape"),
    "other output": (
        with_model("last_hidden_state", rename="odd"),
        r"gives odd of shape \(batch, length, 8\); expected logits",
    ),
    "flat hidden state": (
        with_model("sentence_embedding", rename="last_hidden_state"),
        r"gives last_hidden_state of shape \(1, 8\) for one text; expected",
    ),
    "input of floats": (
        with_model("sentence_embedding", integer=TensorProto.FLOAT),
        r"as tensor\(float\), expected int64 or",
    ),
    "other input": (with_model(extra="position_ids"), r"wants the input position_ids; expected input_ids"),
    "fixed length": (with_model(length=128), r"takes nothing but 128 tokens as input_ids"),
    "fewer words": (with_model(words=3), r"does not take what tokenizer\.json makes of a text"),
    "two poolings": (
        pooled({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}),
        "pooling_mode_cls_token and pooling_mode_mean_tokens; expected",
    ),
    "other pooling": (pooled({"pooling_mode_max_tokens": True}), "pooling_mode_max_tokens; expected"),
    "pooling no object": (pooled([1]), "is not a JSON object"),
    "dense layer": (with_modules("Transformer", "Pooling", "Dense"), r"modules\.json lists Dense behind"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_with_a_file_missing_or_of_the_wrong_kind_is_told_apart(tmp_path, name):
    spoil, words = BAD[name]
    folder = write_folder(tmp_path / "tiny")
    assert OnnxScorer.load(folder).score_now("a", ["a"])  # sound until it is spoilt
    spoil(folder)
    with pytest.raises(ModelUnavailableError, match=words) as caught:
        OnnxScorer.load(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_none_is_told_apart(tmp_path):
    with pytest.raises(ModelUnavailableError, match=r"gone does not exist; expected model\.onnx"):
        OnnxScorer.load(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailableError, match="file is a file, not a folder"):
        OnnxScorer.load(tmp_path / "file")


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_a_length_that_is_none_is_refused(tmp_path, value):
    with pytest.raises((TypeError, ValueError), match="max_sequence_length"):
        OnnxScorer.load(write_folder(tmp_path / "tiny"), max_sequence_length=value)


@pytest.mark.parametrize("output", ["logits", "sentence_embedding"])
async def test_a_score_that_is_no_number_is_an_error_in_words(tmp_path, output):
    folder = write_folder(tmp_path / "tiny", output, nan=True)
    scorer = OnnxScorer.load(folder)
    with pytest.raises(ModelOutputError, match="gave the score nan for the text at index 0"):
        scorer.score_now(QUERY, TEXTS)
    async with serve(scorers={"mine": scorer}) as server, client_for(server, "mine") as client:
        with pytest.raises(RerankError, match="gave the score nan for the text at index 0"):
            await client.generate(QUERY, TEXTS)
        assert server.counts.statuses[500] == server.counts.rerank
    await scorer.close()


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for module in ("encoder", "network", "cross_encoder"):
        monkeypatch.delitem(sys.modules, f"rerank_async.server.{module}", raising=False)
    with pytest.raises(ModelUnavailableError, match=r"needs onnxruntime: pip install '\.\[local\]'"):
        OnnxScorer.load(folder)


# The command line


async def test_model_dirs_are_served_by_the_command_and_ranked_by_it_and_by_the_client(tmp_path):
    cross = write_folder(tmp_path / "cross", config=CONFIG)
    bi = write_folder(tmp_path / "bi", "sentence_embedding")
    process, said = await serving("--model-dir", f"mine/cross={cross}", "--model-dir", str(bi))
    given = exported(said)
    models = next(line for line in said.splitlines() if line.startswith("Models: "))
    assert models.removeprefix("Models: ").split(", ")[:2] == ["mine/cross", "bi"]
    assert models.endswith(f", {LexicalScorer.model_id}")
    scores, _ = Direct(cross).logits(QUERY, TEXTS[:3])
    listed = await run("models", "--url", given["WATSONX_URL"])
    assert ["mine/cross", "mine", str(POSITIONS), "rerank"] in [row[:4] for row in listed.rows]
    stdin = "\n".join(TEXTS[:3]).encode()
    ran = await run("rank", QUERY, "-", "--model", "mine/cross", stdin=stdin, **given)
    assert [int(row[2]) - 1 for row in ran.rows] == ranked(scores)
    credentials = {"url": given["WATSONX_URL"], "api_key": given["WATSONX_APIKEY"]}
    async with AsyncRerank("mine/cross", None, credentials, given["WATSONX_PROJECT_ID"]) as client:
        assert by_index(await client.generate(QUERY, TEXTS[:3])) == pytest.approx(scores, abs=1e-6)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0


async def test_a_model_dir_that_cannot_be_served_is_a_sentence_and_exit_code_2(tmp_path):
    folder = write_folder(tmp_path / "tiny")
    other = write_folder(tmp_path / "more" / "tiny")
    (tmp_path / "empty").mkdir()
    said = {
        (str(tmp_path / "empty"),): "has no model.onnx; expected model.onnx",
        (str(tmp_path / "gone"),): "does not exist",
        (f"id={tmp_path / 'gone'}",): "does not exist",
        (f"={folder}",): "expected FOLDER, or ID=FOLDER",
        (str(folder), str(other)): "are both the model 'tiny'",
    }
    for values, words in said.items():
        options = [word for value in values for word in ("--model-dir", value)]
        ran = await run("serve", "--port", "0", *options)
        assert (ran.code, ran.out) == (2, "")
        assert words in one_sentence(ran)


async def test_a_folder_may_have_an_equals_sign_and_may_replace_a_built_in(tmp_path):
    folder = write_folder(tmp_path / "a=b")
    from rerank_async.cli.model_dirs import scorers_of

    assert "a=b" in scorers_of((str(folder),))
    scorers = scorers_of((f"lexical={folder}",))
    assert isinstance(scorers["lexical"], OnnxScorer)
    assert next(iter(scorers)) == "lexical"
