"""The tree of errors: what is drawn is what there is, and every class survives a process pool."""

import builtins
import inspect
import pickle
import re

import pytest

from rerank_async import errors
from rerank_async.errors import (
    BadAnswerError,
    ConnectionFailedError,
    InvalidArgumentError,
    NoAnswerError,
    OverloadedError,
    RerankError,
    ServiceError,
    StatusError,
)
from rerank_async.values.events import Answered
from rerank_async.values.response import ResponseStats

CLASSES = [getattr(errors, name) for name in errors.__all__]
_LINE = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)(?: +\((?P<builtin>\w+)\))? {2,}\S")


def drawn():
    """The tree in the docstring: name to (parent's name, builtin's name)."""
    tree, path = {}, []
    for line in errors.__doc__.splitlines():
        if found := _LINE.match(line):
            depth = len(found["indent"]) // 4
            del path[depth - 1 :]
            tree[found["name"]] = (path[-1] if path else None, found["builtin"])
            path.append(found["name"])
    return tree


def made(kind):
    """An error of this class with every attribute set."""
    if issubclass(kind, InvalidArgumentError):
        error = kind("words", argument="inputs", index=3)
    elif issubclass(kind, StatusError):
        error = kind("words", status=418, code="a_code", trace="f00", url="https://h.example/x", retry_after=1.5)
    elif issubclass(kind, BadAnswerError):
        error = kind("words", url="https://h.example/x", trace="f00")
    elif issubclass(kind, ConnectionFailedError):
        error = kind("words", url="https://h.example/x", refused=True)
    elif issubclass(kind, NoAnswerError):
        error = kind("words", url="https://h.example/x")
    elif issubclass(kind, OverloadedError):
        error = kind("words", queued=65)
    else:
        error = kind("words")
    error.scored = ((0, 0.5), (7, -1.25))
    error.others = (ServiceError("other", status=502),)
    error.attempts = 4
    answered = Answered(1, 1000.5, 0, 10, 503, 0.25, "f00")
    error.stats = ResponseStats(requests=4, retries=3, waited=1.5, seconds=2.0, exchanges=(answered,))
    return error


def test_the_tree_as_drawn_is_the_tree_as_built():
    built = {}
    for kind in CLASSES:
        ours = [base.__name__ for base in kind.__bases__ if issubclass(base, RerankError)]
        theirs = [base.__name__ for base in kind.__bases__ if not issubclass(base, RerankError)]
        if kind is RerankError:
            theirs = []
        assert len(ours) <= 1, f"{kind.__name__} has two parents of ours"
        assert len(theirs) <= 1, f"{kind.__name__} has two builtin parents"
        built[kind.__name__] = (ours[0] if ours else None, theirs[0] if theirs else None)
    assert drawn() == built


def test_the_drawing_names_every_class_of_the_module_and_all_of_them_are_public():
    defined = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == errors.__name__
    }
    assert set(drawn()) == defined == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidArgumentError", ValueError),
        ("InvalidTypeError", TypeError),
        ("InvalidTypeError", ValueError),
        ("ClientClosedError", RuntimeError),
        ("EventLoopError", RuntimeError),
        ("ConnectionFailedError", ConnectionError),
        ("CertificateError", ConnectionError),
        ("RequestTimeoutError", TimeoutError),
        ("DeadlineExceededError", TimeoutError),
        ("BadRequestError", ValueError),
        ("InputTooLongError", ValueError),
        ("ModelNotSupportedError", ValueError),
        ("PermissionDeniedError", PermissionError),
    ],
)
def test_an_error_is_also_the_builtin_that_it_means(name, builtin):
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("AuthenticationError", PermissionError),
        ("QuotaExceededError", PermissionError),
        ("RateLimitError", ConnectionError),
        ("BadAnswerError", ValueError),
    ],
)
def test_an_error_is_no_builtin_that_it_does_not_mean(name, builtin):
    assert not issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_pickles_with_everything_it_says(kind, protocol):
    error = made(kind)
    error.args = (error.args[0] + " (gave up after 4 attempts)",)  # as the call does before it raises
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is kind
    assert str(copy) == str(error) == "words (gave up after 4 attempts)"
    others, copied = dict(vars(error)), dict(vars(copy))
    assert [str(other) for other in copied.pop("others")] == ["other"]
    assert copy.others[0].status == 502
    del others["others"]
    assert copied == others


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_attributes_are_there_when_nothing_was_said(kind):
    error = kind("words")
    assert str(error) == "words"
    assert (error.scored, error.others, error.attempts, error.stats) == ((), (), 0, None)
    for name in re.findall(r"^ {8}(\w+): ", inspect.getdoc(kind) or "", re.MULTILINE):
        assert hasattr(error, name), f"{kind.__name__}.{name} is documented and missing"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_error_is_a_group(kind):
    assert not issubclass(kind, builtins.BaseExceptionGroup)


def test_the_three_branches_of_an_exchange_do_not_overlap():
    branches = (NoAnswerError, StatusError, BadAnswerError)
    for kind in CLASSES:
        assert sum(issubclass(kind, branch) for branch in branches) <= 1, kind
