"""A local server with the service's wire contract: a real model, real rate limits, named faults."""

from rerank_async.server.faults import FAULTS, Fault, FaultKind
from rerank_async.server.lexical import LexicalScorer
from rerank_async.server.minilm import MiniLMScorer
from rerank_async.server.onnx_scorer import OnnxScorer
from rerank_async.server.options import Latency, RateLimit
from rerank_async.server.record import Arrival, Counts
from rerank_async.server.scoring import ModelOutputError, ModelUnavailableError, OverlengthError, Scored, Scorer
from rerank_async.server.serving import Server, serve

__all__ = [
    "FAULTS",
    "Arrival",
    "Counts",
    "Fault",
    "FaultKind",
    "Latency",
    "LexicalScorer",
    "MiniLMScorer",
    "ModelOutputError",
    "ModelUnavailableError",
    "OnnxScorer",
    "OverlengthError",
    "RateLimit",
    "Scored",
    "Scorer",
    "Server",
    "serve",
]
